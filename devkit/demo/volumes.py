"""What stands in a pod's volume, seen from outside: files, modes, file system, leftovers."""

import dataclasses
import os
import pathlib
import stat

from secrets_store import errors
from secrets_store.host import mount
from secrets_store.model import mountinfo


@dataclasses.dataclass(frozen=True, slots=True)
class File:
    """One visible file of a volume; `mode` has the permission bits."""

    name: str
    mode: int
    contents: bytes


def files(directory: pathlib.Path) -> list[File]:
    """Return the files that a pod sees, by name; empty if there is no volume."""
    if not directory.is_dir():
        return []
    paths = sorted(path for path in directory.iterdir() if not path.name.startswith(".."))
    return [File(path.name, stat.S_IMODE(path.stat().st_mode), path.read_bytes()) for path in paths]


def mounted_at(directory: pathlib.Path) -> mountinfo.Mount | None:
    """Return what is mounted at a directory, None if nothing is."""
    text = pathlib.Path("/proc/self/mountinfo").read_text(errors="surrogateescape")
    found = mountinfo.at(text, os.path.realpath(directory))
    return found[-1] if found else None


def why_no_mounts(scratch: pathlib.Path) -> str:
    """Try to mount as the driver does; return why that is refused, empty if it works."""
    mounter = mount.Mounter(size_bytes=1 << 20, inodes=16)
    try:
        mounter.mount(str(scratch))
    except errors.MountFailure as error:
        return error.reason
    mounter.unmount(str(scratch))
    return ""


def size(contents: bytes) -> str:
    """Write the length of a file for people."""
    count = len(contents)
    return f"{count} B" if count < 1024 else f"{count / 1024:.0f} KiB"
