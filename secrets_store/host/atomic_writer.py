"""The files of a volume, exchanged as a whole by one rename.

Layout, as kubelet's own volumes have it: every visible name is a link to ``..data/<name>``,
``..data`` is a link to a directory named after its time, and a new set of files becomes visible
when a new ``..data`` is renamed over the old. The old set stays a moment for readers on their way.
Everything happens below one held directory and follows no link; what somebody else planted there is
replaced, never followed.

Called with the volume's lock held. Source: driver-behaviour §5 for names and order.
"""

import contextlib
import dataclasses
import datetime
import errno
import os
import random
import re
import shutil
import stat
import time
from collections.abc import Iterator

from secrets_store import errors
from secrets_store.host import syscalls
from secrets_store.model import payload

DATA = "..data"
DATA_TMP = "..data_tmp"
_LINK_TMP = "..link_tmp"
_DIRECTORY = re.compile(r"\.\.\d{4}(_\d\d){5}\.\d+")
_DIRECTORY_MODE, _GROUP_DIRECTORY_MODE = 0o755, 0o2750
_READ_CHUNK_BYTES = 1 << 16
GRACE_S = 0.5
"""So long a replaced set stays at least, if there is room."""


@dataclasses.dataclass(frozen=True, slots=True)
class Outcome:
    """What a write did.

    Attributes:
        changed: False if the volume already held exactly these files.
        retired: A replaced set is still there for readers on their way through it; call `tidy`
            a moment later.
    """

    changed: bool
    retired: bool


def current(root: int) -> str | None:
    """Return the directory that ``..data`` names, None unless it is one of ours in this volume."""
    try:
        name = os.readlink(DATA, dir_fd=root)
    except OSError:
        return None
    if not _DIRECTORY.fullmatch(name) or not _is_directory(root, name):
        return None
    return name


def is_empty(root: int) -> bool:
    """Tell whether a volume holds nothing at all."""
    return not os.listdir(root)


def write(root: int, files: payload.Files, *, group: int | None) -> Outcome:
    """Make a volume hold exactly these files.

    Args:
        root: Descriptor of the volume's root directory.
        files: Checked by `payload.check`.
        group: Numeric group of files and directories; None leaves the process's own.
    Raises: errors.FileFailure: nothing has changed and nothing new is left.
    """
    try:
        kept = tidy(root, grace_s=GRACE_S)
        old = current(root)
        if old is not None and _holds(root, old, files, group):
            _place_links(root, _prepare_links(root, files))
            return Outcome(changed=False, retired=kept)
        while True:
            try:
                _replace(root, old, files, group)
            except OSError as error:
                if error.errno != errno.ENOSPC or not _make_room(root):
                    raise
            else:
                return Outcome(changed=True, retired=kept or old is not None)
    except OSError as error:
        raise errors.FileFailure(
            str(error.filename or "volume"), error.strerror or type(error).__name__
        ) from error


def tidy(root: int, *, grace_s: float = 0.0) -> bool:
    """Remove what no reader needs: replaced sets, and leftovers of a crash.

    Args:
        grace_s: Sets that were replaced so short a time ago stay: a reader that has read ``..data``
            may not have come further yet.
    Returns: Whether any stayed.
    Raises: OSError.
    """
    keep, now_s, kept = current(root), time.time(), False
    for name in os.listdir(root):
        if name == keep or not name.startswith(".."):
            continue
        if _DIRECTORY.fullmatch(name):
            # Nobody is on the way to a set that was never shown: a crash has left it.
            replaced_s = _replaced_s(root, name)
            if replaced_s is not None and 0 <= now_s - replaced_s < grace_s:
                kept = True
            else:
                _remove(root, name)
        elif (
            name.startswith(_LINK_TMP)
            or name == DATA_TMP
            # A ``..data`` that names nothing of ours was planted, or its set is gone.
            or (name == DATA and keep is None)
        ):
            _remove(root, name)
    return kept


def _make_room(root: int) -> bool:
    """Remove the older half of the replaced sets. Returns: Whether there was one."""
    keep = current(root)
    sets = [x for x in os.listdir(root) if _DIRECTORY.fullmatch(x) and x != keep]
    sets.sort(key=lambda name: _replaced_s(root, name) or 0.0)
    for name in sets[: (len(sets) + 1) // 2]:
        _remove(root, name)
    return bool(sets)


def _replaced_s(root: int, name: str) -> float | None:
    """Return when a set was replaced; None if it never was: a crash has left it half made."""
    info = os.stat(name, dir_fd=root, follow_symlinks=False)
    return info.st_mtime if stat.S_ISDIR(info.st_mode) and info.st_mode & stat.S_ISVTX else None


def _mark_replaced(root: int, name: str) -> None:
    """Note on a set that it was replaced, and when; unmarked it only goes a moment earlier."""
    with contextlib.suppress(OSError):
        os.utime(name, dir_fd=root, follow_symlinks=False)
        mode = os.stat(name, dir_fd=root, follow_symlinks=False).st_mode
        os.chmod(name, stat.S_IMODE(mode) | stat.S_ISVTX, dir_fd=root)


def _replace(root: int, old: str | None, files: payload.Files, group: int | None) -> None:
    """Put a new set in the place of the old one, or leave everything as it is."""
    before = _links(root)
    now = datetime.datetime.now(datetime.UTC)
    new = f"..{now:%Y_%m_%d_%H_%M_%S}.{random.randrange(10**9)}"  # noqa: S311 - a name
    try:
        _fill(root, new, files, group)
        if group is not None:
            _dress(root, group)
        prepared = _swap(root, old, new, files)
    except BaseException:
        _undo(root, new, before)
        raise
    _place_links(root, prepared)


def _holds(root: int, directory: str, files: payload.Files, group: int | None) -> bool:
    """Compare by name, size, mode and group first; contents are read only if all these agree."""
    found = set()
    for path, name, held in _walk(root, directory):
        info = os.stat(name, dir_fd=held, follow_symlinks=False)
        wanted = files.get(path)
        if (
            wanted is None
            or not stat.S_ISREG(info.st_mode)
            or stat.S_IMODE(info.st_mode) != wanted.mode
            or info.st_size != len(wanted.contents)
            or (group is not None and info.st_gid != group)
        ):
            return False
        found.add(path)
    return found == files.keys() and all(
        _same_bytes(held, name, files[path].contents) for path, name, held in _walk(root, directory)
    )


def _walk(root: int, directory: str) -> Iterator[tuple[str, str, int]]:
    """Yield path, last name and held directory of everything that is no directory."""
    for parent, directories, names, held in os.fwalk(directory, dir_fd=root, follow_symlinks=False):
        prefix = parent.removeprefix(directory).lstrip("/")
        # A link to a directory counts among the directories, but is not walked.
        links = [name for name in directories if _link_target(held, name) is not None]
        for name in (*names, *links):
            yield (f"{prefix}/{name}" if prefix else name), name, held


def _same_bytes(directory: int, name: str, contents: bytes) -> bool:
    descriptor = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=directory)
    with open(descriptor, "rb", buffering=0) as file:
        position = 0
        while chunk := file.read(_READ_CHUNK_BYTES):
            if contents[position : position + len(chunk)] != chunk:
                return False
            position += len(chunk)
    return position == len(contents)


def _fill(root: int, name: str, files: payload.Files, group: int | None) -> None:
    os.mkdir(name, 0o700, dir_fd=root)
    way: list[str] = []
    held = [_open_directory(root, name)]
    try:
        # In the order of a walk: only the directories on the way to a file are open.
        for path in sorted(files, key=lambda path: path.split("/")):
            *parents, leaf = path.split("/")
            while way != parents[: len(way)]:
                way.pop()
                os.close(held.pop())
            for part in parents[len(way) :]:
                os.mkdir(part, 0o700, dir_fd=held[-1])
                held.append(_open_directory(held[-1], part))
                way.append(part)
                _dress(held[-1], group)
            _create(held[-1], leaf, files[path], group)
        _dress(held[0], group)
    finally:
        for descriptor in held:
            os.close(descriptor)


def _open_directory(parent: int, name: str) -> int:
    flags = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
    return os.open(name, flags, dir_fd=parent)


def _dress(directory: int, group: int | None) -> None:
    if group is not None:
        os.chown(directory, -1, group)
    os.chmod(directory, _DIRECTORY_MODE if group is None else _GROUP_DIRECTORY_MODE)


def _create(directory: int, name: str, file: payload.File, group: int | None) -> None:
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    descriptor = os.open(name, flags, 0o600, dir_fd=directory)
    try:
        rest = memoryview(file.contents)
        while rest:
            rest = rest[os.write(descriptor, rest) :]
        if group is not None:
            os.fchown(descriptor, -1, group)
        # After the write, so that the umask has no say; after chown, which drops mode bits.
        os.fchmod(descriptor, file.mode)
    finally:
        os.close(descriptor)


def _swap(root: int, old: str | None, new: str, files: payload.Files) -> dict[str, str]:
    """Let ``..data`` name the new set: the moment at which the files change.

    On a first write the links come before it, so that a ``..data`` which resolves proves a whole
    volume. Later the links of new names come after it and those of removed names go before it:
    no reader ever meets a link that leads nowhere.

    Returns: The links that are to be put in their places now; making them is what could fail.
    """
    tops = _tops(files)
    if old is None:
        _link_absent(root, tops)
    prepared = _prepare_links(root, files)
    os.symlink(new, DATA_TMP, dir_fd=root)
    for name in _links(root) - tops:
        os.unlink(name, dir_fd=root)
    os.rename(DATA_TMP, DATA, src_dir_fd=root, dst_dir_fd=root)
    if old is not None:
        _mark_replaced(root, old)
    return prepared


def _undo(root: int, new: str, links: set[str]) -> None:
    """After a failed write: remove what it has made, and show the names of before again."""
    with contextlib.suppress(FileNotFoundError):
        _remove(root, new)
    tidy(root, grace_s=GRACE_S)
    for name in _links(root) - links:
        os.unlink(name, dir_fd=root)
    _link_absent(root, links)


def _tops(files: payload.Files) -> set[str]:
    return {path.partition("/")[0] for path in files}


def _links(root: int) -> set[str]:
    """Return the visible names that are links of ours."""
    return {
        name
        for name in os.listdir(root)
        if not name.startswith("..") and _link_target(root, name) == f"{DATA}/{name}"
    }


def _link_absent(root: int, tops: set[str]) -> None:
    for name in tops:
        with contextlib.suppress(FileExistsError):
            os.symlink(f"{DATA}/{name}", name, dir_fd=root)


def _prepare_links(root: int, files: payload.Files) -> dict[str, str]:
    """Make the links that top names lack, under other names. Returns: top name → that name."""
    prepared: dict[str, str] = {}
    for name in _tops(files):
        wanted = f"{DATA}/{name}"
        if _link_target(root, name) != wanted:
            prepared[name] = f"{_LINK_TMP}{len(prepared)}"
            os.symlink(wanted, prepared[name], dir_fd=root)
    return prepared


def _place_links(root: int, prepared: dict[str, str]) -> None:
    """Give links their names, replacing whatever else has the name.

    A provider that wrote its files itself until now left plain files and directories: each is
    replaced in one step when the new contents are already there, so that its readers miss nothing.
    """
    for name, waiting in prepared.items():
        if _is_directory(root, name):
            # rename(2) replaces a file by a link but not a directory.
            syscalls.exchange(root, waiting, name)
            _remove(root, waiting)
        else:
            os.rename(waiting, name, src_dir_fd=root, dst_dir_fd=root)


def _link_target(root: int, name: str) -> str | None:
    try:
        return os.readlink(name, dir_fd=root)
    except OSError:
        return None


def _is_directory(root: int, name: str) -> bool:
    try:
        return stat.S_ISDIR(os.stat(name, dir_fd=root, follow_symlinks=False).st_mode)
    except FileNotFoundError:
        return False


def _remove(root: int, name: str) -> None:
    if _is_directory(root, name):
        shutil.rmtree(name, dir_fd=root)
    else:
        os.unlink(name, dir_fd=root)
