"""What all tests share: the right to mount, and places to mount in."""

import ctypes
import os
import pathlib
import shutil
import tempfile
from collections.abc import Iterator

import pytest

from secrets_store.model import mountinfo

_CAP_SYS_ADMIN = 21
_MNT_DETACH = 2


def missing_right_to_mount() -> str:
    """Return why this process cannot mount; empty if it can.

    Root of a user namespace can, in a mount namespace of its own (``unshare -Urm``).
    """
    if os.geteuid() != 0:
        return "needs root, or root of a user namespace: unshare -Urm"
    status = pathlib.Path("/proc/self/status").read_text(encoding="ascii")
    effective = next(line.split()[1] for line in status.splitlines() if line.startswith("CapEff:"))
    if not int(effective, 16) >> _CAP_SYS_ADMIN & 1:
        return "needs the capability CAP_SYS_ADMIN"
    return ""


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Let a test that mounts run where it can; where CI promises that it can, insist on it."""
    if item.get_closest_marker("root") is None:
        return
    reason = missing_right_to_mount()
    if not reason:
        return
    if os.environ.get("CI") == "true":
        pytest.fail(f"{reason} (a skip is a failure under CI=true)", pytrace=False)
    pytest.skip(reason)


@pytest.fixture
def mount_place() -> Iterator[pathlib.Path]:
    """A short empty directory; whatever is mounted below it is taken away at the end."""
    place = pathlib.Path(tempfile.mkdtemp(prefix="sm", dir="/tmp"))
    yield place
    libc = ctypes.CDLL(None, use_errno=True)
    for mount in reversed(_mounts_below(place)):
        if libc.umount2(os.fsencode(mount.mount_point), ctypes.c_int(_MNT_DETACH)) != 0:
            raise OSError(ctypes.get_errno(), "umount", mount.mount_point)
    # A mount that is still there must not be emptied.
    assert not _mounts_below(place)
    shutil.rmtree(place)


def _mounts_below(place: pathlib.Path) -> list[mountinfo.Mount]:
    with open(
        "/proc/self/mountinfo", encoding="utf-8", errors="surrogateescape", newline="\n"
    ) as lines:
        mounts = mountinfo.parse(lines.read())
    return [mount for mount in mounts if mount.mount_point.startswith(f"{place}/")]


@pytest.fixture
def other_group() -> int:
    """A group that is not the process's own; only real root can give files to one."""
    group = 4242
    own = pathlib.Path("/proc/self/gid_map").read_text(encoding="ascii").split()
    if os.geteuid() != 0 or int(own[2]) <= group:
        pytest.skip("needs real root: a user namespace knows no other group")
    return group
