"""Pod directories on a real file system."""

import ctypes
import json
import os
import pathlib
from collections.abc import Iterator

import pytest

from devkit.kubelet import pod_dirs

DATA = pod_dirs.VolumeData("store", "csi-1", "drv.io", "node-1", "csi-2")


class Mounts:
    """Stands for the mount table."""

    def __init__(self) -> None:
        self.points: set[str] = set()

    def __call__(self, path: str) -> bool:
        return path in self.points


@pytest.fixture
def mounts() -> Mounts:
    return Mounts()


@pytest.fixture
def dirs(tmp_path: pathlib.Path, mounts: Mounts) -> pod_dirs.PodDirs:
    made = pod_dirs.PodDirs(tmp_path, mounts)
    made.make("u1", DATA)
    return made


def test_make_prepares_all_but_the_mount_directory(
    dirs: pod_dirs.PodDirs, tmp_path: pathlib.Path
) -> None:
    target = tmp_path / "pods/u1/volumes/kubernetes.io~csi/store/mount"
    assert dirs.target("u1", "store") == target
    assert [path.name for path in target.parent.iterdir()] == ["vol_data.json"]
    assert json.loads((target.parent / "vol_data.json").read_text()) == {
        "attachmentID": "csi-2",
        "driverName": "drv.io",
        "nodeName": "node-1",
        "specVolID": "store",
        "volumeHandle": "csi-1",
        "volumeLifecycleMode": "Ephemeral",
    }
    assert target.parent.stat().st_mode & 0o777 == 0o750


def test_make_may_be_repeated_and_is_read_back(dirs: pod_dirs.PodDirs) -> None:
    dirs.make("u1", DATA)
    assert dirs.read("u1", "store") == DATA


def test_removing_a_volume_takes_the_drivers_empty_directory_along(
    dirs: pod_dirs.PodDirs,
) -> None:
    dirs.target("u1", "store").mkdir()
    dirs.remove_volume("u1", "store")
    assert not dirs.volume("u1", "store").exists()
    dirs.remove_volume("u1", "store")


def test_a_mount_point_and_what_tells_of_it_stay(dirs: pod_dirs.PodDirs, mounts: Mounts) -> None:
    target = dirs.target("u1", "store")
    target.mkdir()
    mounts.points.add(str(target))
    dirs.remove_volume("u1", "store")
    assert target.exists()
    assert dirs.read("u1", "store") == DATA


def test_files_in_the_mount_directory_are_never_removed(dirs: pod_dirs.PodDirs) -> None:
    target = dirs.target("u1", "store")
    target.mkdir()
    (target / "secret").touch()
    with pytest.raises(OSError, match="not empty"):
        dirs.remove_volume("u1", "store")
    assert (target / "secret").exists()


def test_an_empty_pod_goes_whole(dirs: pod_dirs.PodDirs, tmp_path: pathlib.Path) -> None:
    dirs.remove_volume("u1", "store")
    dirs.remove_pod("u1")
    assert not (tmp_path / "pods" / "u1").exists()
    dirs.remove_pod("u1")


def test_what_is_left_is_told_and_left(dirs: pod_dirs.PodDirs) -> None:
    inside = dirs.target("u1", "store") / "empty"
    inside.mkdir(parents=True)
    with pytest.raises(pod_dirs.LeftBehind) as caught:
        dirs.remove_pod("u1")
    data = dirs.volume("u1", "store") / "vol_data.json"
    assert caught.value.paths == [inside, data]
    assert str(inside) in str(caught.value)
    assert inside.exists()


@pytest.fixture
def tmpfs(tmp_path: pathlib.Path) -> Iterator[pathlib.Path]:
    """A real tmpfs where the volume's mount directory is."""
    libc = ctypes.CDLL(None, use_errno=True)
    target = pod_dirs.PodDirs(tmp_path).target("u1", "store")
    target.mkdir(parents=True)
    path = os.fsencode(target)
    if libc.mount(b"tmpfs", path, b"tmpfs", 0, b"size=64k") != 0:
        pytest.skip(f"mounting is not allowed here: {os.strerror(ctypes.get_errno())}")
    yield target
    libc.umount2(path, 0)


@pytest.mark.root
def test_a_real_mount_is_seen_and_nothing_in_it_touched(
    tmpfs: pathlib.Path, tmp_path: pathlib.Path
) -> None:
    dirs = pod_dirs.PodDirs(tmp_path)
    dirs.make("u1", DATA)
    (tmpfs / "empty").mkdir()
    dirs.remove_volume("u1", "store")
    assert dirs.read("u1", "store") == DATA
    with pytest.raises(pod_dirs.LeftBehind) as caught:
        dirs.remove_pod("u1")
    assert tmpfs / "empty" in caught.value.paths
    assert os.path.ismount(tmpfs)
