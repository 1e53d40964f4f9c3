"""What a driver does that only knows upstream's way: mounts, writes, status object, unmounts.

Source: driver-behaviour §3.3 (mounts), §4 (unpublish), §5 (writing), §6 (status), as of v1.6.0.
"""

import datetime
import os
import pathlib
import random
import shutil
import subprocess
from collections.abc import Mapping

from secrets_store.model import pod_status
from tests.deploy import manifests

Files = Mapping[str, tuple[bytes, int]]
"""Relative path → contents and mode."""


def is_mounted(target: pathlib.Path) -> bool:
    """Tell what upstream believes: another device than the parent's is a mount."""
    return target.stat().st_dev != target.parent.stat().st_dev


def publish(target: pathlib.Path, files: Files) -> None:
    """Mount without any option and write the first set, unless something is mounted."""
    if target.exists() and is_mounted(target):
        return
    target.mkdir(0o750, parents=True, exist_ok=True)
    subprocess.run(["mount", "-t", "tmpfs", "tmpfs", target], check=True)
    write(target, files)


def unpublish(target: pathlib.Path) -> None:
    """Empty the volume, unmount it, remove its directory."""
    if not target.exists():
        return
    for entry in target.iterdir():
        if entry.is_dir() and not entry.is_symlink():
            shutil.rmtree(entry)
        else:
            entry.unlink()
    if is_mounted(target):
        subprocess.run(["umount", target], check=True)
        assert not is_mounted(target), "something is mounted below"
    target.rmdir()


def write(target: pathlib.Path, files: Files) -> None:
    """Replace the set of files by its eleven steps."""
    for top in {path.partition("/")[0] for path in files}:
        entry = target / top
        if os.path.lexists(entry) and not entry.is_symlink():
            shutil.rmtree(entry) if entry.is_dir() else entry.unlink()
    data = target / "..data"
    old = target / os.readlink(data) if data.is_symlink() else None
    stale = _stale(old, files) if old else set()
    if old and not stale and all(_same(old / path, held[0]) for path, held in files.items()):
        return
    now = datetime.datetime.now(datetime.UTC)
    new = target / f"..{now:%Y_%m_%d_%H_%M_%S}.{random.randrange(10**10)}"
    new.mkdir()
    new.chmod(0o755)
    for path, (contents, mode) in files.items():
        (new / path).parent.mkdir(parents=True, exist_ok=True)
        (new / path).write_bytes(contents)
        (new / path).chmod(mode)
        top = path.partition("/")[0]
        if not os.path.lexists(target / top):
            (target / top).symlink_to(f"..data/{top}")
    # It fails if the name is taken: what another driver left would stop it for good.
    (target / "..data_tmp").symlink_to(new.name)
    (target / "..data_tmp").rename(data)
    for path in stale:
        if "/" not in path:
            (target / path).unlink()
    if old:
        shutil.rmtree(old)


def _stale(old: pathlib.Path, files: Files) -> set[str]:
    """Return the relative paths below the old set that the new one has no use for."""
    kept = set(files)
    for path in files:
        kept |= {str(parent) for parent in pathlib.PurePath(path).parents} - {"."}
    return {str(path.relative_to(old)) for path in old.rglob("*")} - kept


def _same(path: pathlib.Path, contents: bytes) -> bool:
    return path.is_file() and path.read_bytes() == contents


def status(
    pod: manifests.Object, class_name: str, node: str, target: pathlib.Path, versions: Files
) -> manifests.Object:
    """Return the status object as it is written after a mount."""
    meta = pod["metadata"]
    return {
        "apiVersion": pod_status.API_VERSION,
        "kind": pod_status.KIND,
        "metadata": {
            "name": f"{meta['name']}-{meta['namespace']}-{class_name}",
            "namespace": meta["namespace"],
            "labels": {"internal.secrets-store.csi.k8s.io/node-name": node},
            "ownerReferences": [
                {"apiVersion": "v1", "kind": "Pod", "name": meta["name"], "uid": meta["uid"]}
            ],
        },
        "status": {
            "podName": meta["name"],
            "secretProviderClassName": class_name,
            "targetPath": str(target),
            "mounted": True,
            "objects": [{"id": f"secret/{name}", "version": "1"} for name in sorted(versions)],
        },
    }
