"""From a target path to descriptors, without ever following a symlink that a pod could plant.

kubelet's root may well be a symlink. What lies below a pod's directory must not be one: whoever can
write there could otherwise turn root's mount, write or delete to another place.
"""

import contextlib
import os
import stat
from collections.abc import Iterator

from secrets_store import errors

DIRECTORY_MODE = 0o750
_HOLD = os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


def split(target: str) -> tuple[str, tuple[str, ...]]:
    """Split an absolute clean path into a trusted base and the parts that may be no symlinks.

    Returns: ``…/pods`` and the parts from the pod's directory on for a path of kubelet's form;
        for any other path all but its last two parts, and these.
    """
    parts = target.split("/")[1:]
    if len(parts) >= 6 and parts[-6] == "pods" and parts[-4:-2] == ["volumes", "kubernetes.io~csi"]:
        cut = len(parts) - 5
    else:
        cut = max(len(parts) - 2, 0)
    return "/" + "/".join(parts[:cut]), tuple(parts[cut:])


@contextlib.contextmanager
def parent(target: str, *, create: bool = False) -> Iterator[tuple[int, str]]:
    """Hold a target's parent directory.

    Args:
        target: Absolute and clean.
        create: Make missing directories above the target, mode 0750.
    Yields: An O_PATH descriptor of the parent, and the target's last name.
    Raises: FileNotFoundError: a directory is missing and not to be made.
        errors.PathRejected: a part that must not be a symlink is one.
        OSError: anything else in the way.
    """
    base, parts = split(target)
    if create:
        _make(base)
    held = os.open(base, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        for part in parts[:-1]:
            if create:
                with contextlib.suppress(FileExistsError):
                    os.mkdir(part, DIRECTORY_MODE, dir_fd=held)
            below = _step(held, part, target)
            os.close(held)
            held = below
        yield held, parts[-1]
    finally:
        os.close(held)


def _make(base: str) -> None:
    """Make a directory and those above it, all of one mode; makedirs gives it to the last alone."""
    if os.path.isdir(base):
        return
    path = ""
    for part in base.split("/")[1:]:
        path = f"{path}/{part}"
        with contextlib.suppress(FileExistsError):
            os.mkdir(path, DIRECTORY_MODE)


def hold(parent_fd: int, name: str, target: str) -> int:
    """Open a directory by its last name as O_PATH; the caller closes it. Raises as `parent`."""
    return _step(parent_fd, name, target)


def _step(held: int, part: str, target: str) -> int:
    try:
        return os.open(part, _HOLD, dir_fd=held)
    except NotADirectoryError:
        if stat.S_ISLNK(os.stat(part, dir_fd=held, follow_symlinks=False).st_mode):
            raise errors.PathRejected(target, f"{part!r} is a symbolic link") from None
        raise
