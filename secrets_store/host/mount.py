"""The tmpfs of a volume: made, looked at and taken away by system calls, without any process.

All functions block for well under a millisecond and run in the host executor. They hold the
directory itself, not its name, so that nobody can exchange it between a check and the deed.
"""

import contextlib
import dataclasses
import enum
import errno
import os
from collections.abc import Callable, Iterator

from secrets_store import errors
from secrets_store.host import paths, syscalls
from secrets_store.model import mountinfo

FILE_SYSTEM = "tmpfs"
_ATTRIBUTES = (
    syscalls.MOUNT_ATTR_NOSUID | syscalls.MOUNT_ATTR_NODEV | syscalls.MOUNT_ATTR_NOEXEC
)  # fmt: skip
_FLAGS = syscalls.MS_NOSUID | syscalls.MS_NODEV | syscalls.MS_NOEXEC


class State(enum.Enum):
    """What stands at a target path."""

    ABSENT = "absent"
    PLAIN = "plain directory"
    MOUNTED = "tmpfs"
    FOREIGN = "another file system"


@dataclasses.dataclass(frozen=True, slots=True)
class Usage:
    """What a volume holds and may hold, in bytes and inodes."""

    total_bytes: int
    available_bytes: int
    total_inodes: int
    available_inodes: int


class Mounter:
    """Mounts volumes of one size.

    Args:
        size_bytes: The most that a volume can hold.
        inodes: The most files, directories and links it can hold.
        new_api: Whether the kernel is to be asked for fsopen and its kin; mount(2) otherwise.
        is_mount_root: As `syscalls.is_mount_root`; None lets mountinfo be read.
    """

    def __init__(
        self,
        *,
        size_bytes: int,
        inodes: int,
        new_api: bool = True,
        is_mount_root: Callable[[int], bool | None] = syscalls.is_mount_root,
    ) -> None:
        self._options: dict[str, str] = {
            "size": str(size_bytes),
            "nr_inodes": str(inodes),
            "mode": "0755",
        }
        self._noswap = True
        self._new_api = new_api
        self._is_mount_root = is_mount_root

    def state(self, target: str) -> State:
        """Tell what stands at a target path.

        Raises: errors.PathRejected, errors.MountFailure.
        """
        with self.look(target) as (state, _):
            return state

    @contextlib.contextmanager
    def look(self, target: str) -> Iterator[tuple[State, int]]:
        """Tell what stands at a target path and, if it is a volume, hold its root directory.

        Yields: The state, and a descriptor for reading below it; -1 unless MOUNTED.
        Raises: errors.PathRejected, errors.MountFailure.
        """
        descriptor = -1
        try:
            with paths.parent(target) as (parent, name), _held(parent, name, target) as held:
                state = self._state_of(held, target)
                if state is State.MOUNTED:
                    descriptor = _readable(held)
        except FileNotFoundError:
            state = State.ABSENT
        except OSError as error:
            raise errors.MountFailure(
                "check if target path", target, f"is mount point: {_reason(error)}"
            ) from error
        try:
            yield state, descriptor
        finally:
            if descriptor >= 0:
                os.close(descriptor)

    def mount(self, target: str) -> None:
        """Make the target's directory and mount an empty tmpfs on it.

        The caller holds the volume's lock and knows that nothing is mounted there.

        Raises: errors.PathRejected, errors.MountFailure; then nothing of it is left.
        """
        try:
            with paths.parent(target, create=True) as (parent, name):
                made = True
                try:
                    os.mkdir(name, paths.DIRECTORY_MODE, dir_fd=parent)
                except FileExistsError:
                    made = False
                try:
                    with _held(parent, name, target) as held:
                        self._attach(held)
                except OSError:
                    if made:
                        os.rmdir(name, dir_fd=parent)
                    raise
        except OSError as error:
            raise errors.MountFailure("mount tmpfs at", target, _reason(error)) from error

    @contextlib.contextmanager
    def root(self, target: str) -> Iterator[int]:
        """Hold the root directory of a mounted volume, for reading and writing below it.

        Raises: errors.VolumeAbsent: no tmpfs is mounted there. What was to be written would land
            on the disk below. errors.PathRejected, errors.MountFailure.
        """
        with self.look(target) as (state, descriptor):
            if state is not State.MOUNTED:
                raise errors.VolumeAbsent(f"no volume is mounted at {target}")
            yield descriptor

    def unmount(self, target: str) -> None:
        """Take every tmpfs at the target away and remove its directory.

        Busy is no answer: the mount leaves the tree at once and ends with its last user. Upstream
        could stack several. An absent target is a success.

        Raises: errors.PathRejected. errors.MountFailure: something else is mounted there, or the
            directory is not empty: it is not ours to delete.
        """
        try:
            with paths.parent(target) as (parent, name):
                while self._detach_one(parent, name, target):
                    pass
                os.rmdir(name, dir_fd=parent)
        except FileNotFoundError:
            return
        except OSError as error:
            raise errors.MountFailure("unmount target path", target, _reason(error)) from error

    def usage(self, target: str) -> Usage:
        """Measure a mounted volume. Raises: errors.VolumeAbsent, errors.PathRejected."""
        with self.root(target) as root:
            found = os.fstatvfs(root)
        return Usage(
            total_bytes=found.f_blocks * found.f_frsize,
            available_bytes=found.f_bavail * found.f_frsize,
            total_inodes=found.f_files,
            available_inodes=found.f_favail,
        )

    @property
    def noswap(self) -> bool:
        """False once the kernel has refused ``noswap``: contents may then reach the swap."""
        return self._noswap

    def _detach_one(self, parent: int, name: str, target: str) -> bool:
        with _held(parent, name, target) as held:
            state = self._state_of(held, target)
        if state is State.FOREIGN:
            raise errors.MountFailure(
                "unmount target path", target, "what is mounted there is no tmpfs of this driver"
            )
        if state is State.PLAIN:
            return False
        syscalls.umount_detached(f"/proc/self/fd/{parent}/{name}")
        return True

    def _attach(self, directory: int) -> None:
        if self._new_api:
            try:
                self._attach_by_descriptor(directory)
                return
            except OSError as error:
                # ENOSYS: before Linux 5.2; EPERM can be a seccomp profile that knows only mount(2).
                if error.errno not in (errno.ENOSYS, errno.EPERM):
                    raise
        self._attach_by_path(directory)
        self._new_api = False

    def _attach_by_descriptor(self, directory: int) -> None:
        context = syscalls.fsopen(FILE_SYSTEM)
        try:
            syscalls.fsconfig_string(context, "source", FILE_SYSTEM)
            for key, value in self._options.items():
                syscalls.fsconfig_string(context, key, value)
            if self._noswap:
                try:
                    syscalls.fsconfig_flag(context, "noswap")
                except OSError as error:
                    # Unknown before Linux 6.3 and not for user namespaces.
                    if error.errno != errno.EINVAL:
                        raise
                    self._noswap = False
            syscalls.fsconfig_create(context)
            mount = syscalls.fsmount(context, _ATTRIBUTES)
        finally:
            os.close(context)
        try:
            syscalls.move_mount(mount, directory)
        finally:
            os.close(mount)

    def _attach_by_path(self, directory: int) -> None:
        options = ",".join(f"{key}={value}" for key, value in self._options.items())
        path = f"/proc/self/fd/{directory}"
        if self._noswap:
            try:
                syscalls.mount(FILE_SYSTEM, path, FILE_SYSTEM, _FLAGS, options + ",noswap")
                return
            except OSError as error:
                if error.errno != errno.EINVAL:
                    raise
            self._noswap = False
        syscalls.mount(FILE_SYSTEM, path, FILE_SYSTEM, _FLAGS, options)

    def _state_of(self, held: int, target: str) -> State:
        is_root = self._is_mount_root(held)
        if is_root is None:
            is_root = bool(mountinfo.at(_mountinfo(), os.path.realpath(target)))
        if not is_root:
            return State.PLAIN
        if syscalls.fs_magic(held) != syscalls.TMPFS_MAGIC:
            return State.FOREIGN
        return State.MOUNTED


@contextlib.contextmanager
def _held(parent: int, name: str, target: str) -> Iterator[int]:
    descriptor = paths.hold(parent, name, target)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def _mountinfo() -> str:
    # No newline translation: a carriage return in a path ends no line.
    with open(
        "/proc/self/mountinfo", encoding="utf-8", errors="surrogateescape", newline="\n"
    ) as lines:
        return lines.read()


def _readable(held: int) -> int:
    """Open a held directory anew for reading; the caller closes it."""
    return os.open(f"/proc/self/fd/{held}", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)


def _reason(error: OSError) -> str:
    return error.strerror or type(error).__name__
