"""The few system calls that Python does not wrap, by ctypes.

All take and return file descriptors and raise OSError. Numbers from 424 on are the same on every
architecture; 276 is renameat2 on all that have the common table.
Source: man pages mount_setattr(2), statx(2), umount2(2), renameat2(2);
include/uapi/linux/{mount,stat,magic}.h.
"""

import ctypes
import errno
import os
import platform

_SYS_MOVE_MOUNT, _SYS_FSOPEN, _SYS_FSCONFIG, _SYS_FSMOUNT = 429, 430, 431, 432
_SYS_RENAMEAT2 = {"x86_64": 316, "i686": 353, "armv7l": 382, "ppc64le": 357, "s390x": 347}.get(
    platform.machine(), 276
)
_RENAME_EXCHANGE = 2
_FSOPEN_CLOEXEC = _FSMOUNT_CLOEXEC = 1
_FSCONFIG_SET_FLAG, _FSCONFIG_SET_STRING, _FSCONFIG_CMD_CREATE = 0, 1, 6
_MOVE_MOUNT_F_EMPTY_PATH, _MOVE_MOUNT_T_EMPTY_PATH = 0x04, 0x40
MOUNT_ATTR_NOSUID, MOUNT_ATTR_NODEV, MOUNT_ATTR_NOEXEC = 2, 4, 8
MS_NOSUID, MS_NODEV, MS_NOEXEC = 2, 4, 8
_MNT_DETACH, _UMOUNT_NOFOLLOW = 2, 8
_AT_EMPTY_PATH, _AT_SYMLINK_NOFOLLOW, _AT_NO_AUTOMOUNT = 0x1000, 0x100, 0x800
STATX_ATTR_MOUNT_ROOT = 0x2000
TMPFS_MAGIC = 0x01021994

_libc = ctypes.CDLL(None, use_errno=True)
_libc.syscall.restype = ctypes.c_long


class _Statx(ctypes.Structure):
    # Only the head of struct statx is read; the tail keeps its size of 256 bytes.
    _fields_ = (
        ("mask", ctypes.c_uint32),
        ("blksize", ctypes.c_uint32),
        ("attributes", ctypes.c_uint64),
        ("links_owner_mode_ino_size_blocks", ctypes.c_uint8 * 40),
        ("attributes_mask", ctypes.c_uint64),
        ("tail", ctypes.c_uint8 * 192),
    )


class _Statfs(ctypes.Structure):
    _fields_ = (("type", ctypes.c_long), ("tail", ctypes.c_uint8 * 248))


def _call(number: int, *args: object) -> int:
    result: int = _libc.syscall(ctypes.c_long(number), *args)
    if result < 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))
    return result


def _check(result: int) -> None:
    if result != 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))


def fsopen(fs_type: str) -> int:
    """Open a file system context; the caller closes it."""
    return _call(_SYS_FSOPEN, ctypes.c_char_p(fs_type.encode()), ctypes.c_uint(_FSOPEN_CLOEXEC))


def fsconfig_flag(context: int, key: str) -> None:
    """Set an option without a value."""
    _call(
        _SYS_FSCONFIG,
        ctypes.c_int(context),
        ctypes.c_uint(_FSCONFIG_SET_FLAG),
        ctypes.c_char_p(key.encode()),
        None,
        ctypes.c_int(0),
    )


def fsconfig_string(context: int, key: str, value: str) -> None:
    """Set an option with a value."""
    _call(
        _SYS_FSCONFIG,
        ctypes.c_int(context),
        ctypes.c_uint(_FSCONFIG_SET_STRING),
        ctypes.c_char_p(key.encode()),
        ctypes.c_char_p(value.encode()),
        ctypes.c_int(0),
    )


def fsconfig_create(context: int) -> None:
    """Make the file system from the options set."""
    _call(
        _SYS_FSCONFIG,
        ctypes.c_int(context),
        ctypes.c_uint(_FSCONFIG_CMD_CREATE),
        None,
        None,
        ctypes.c_int(0),
    )


def fsmount(context: int, attributes: int) -> int:
    """Mount a made file system nowhere; the caller moves it and closes the descriptor."""
    return _call(
        _SYS_FSMOUNT,
        ctypes.c_int(context),
        ctypes.c_uint(_FSMOUNT_CLOEXEC),
        ctypes.c_uint(attributes),
    )


def move_mount(mount: int, directory: int) -> None:
    """Attach a mount on top of exactly the directory a descriptor holds, whatever its name is."""
    _call(
        _SYS_MOVE_MOUNT,
        ctypes.c_int(mount),
        ctypes.c_char_p(b""),
        ctypes.c_int(directory),
        ctypes.c_char_p(b""),
        ctypes.c_uint(_MOVE_MOUNT_F_EMPTY_PATH | _MOVE_MOUNT_T_EMPTY_PATH),
    )


def mount(source: str, target: str, fs_type: str, flags: int, options: str) -> None:
    """mount(2), for kernels before 5.2."""
    _check(
        _libc.mount(
            source.encode(), target.encode(), fs_type.encode(), ctypes.c_ulong(flags),
            options.encode(),
        )
    )  # fmt: skip


def umount_detached(path: str) -> None:
    """Take a mount out of the tree at once, busy or not; never through a symlink."""
    _check(_libc.umount2(os.fsencode(path), ctypes.c_int(_MNT_DETACH | _UMOUNT_NOFOLLOW)))


def exchange(directory: int, one: str, other: str) -> None:
    """Let two names in a held directory change places in one step, whatever they name."""
    _call(
        _SYS_RENAMEAT2,
        ctypes.c_int(directory),
        ctypes.c_char_p(os.fsencode(one)),
        ctypes.c_int(directory),
        ctypes.c_char_p(os.fsencode(other)),
        ctypes.c_uint(_RENAME_EXCHANGE),
    )


def is_mount_root(descriptor: int) -> bool | None:
    """Tell whether a descriptor is the root of a mount; None if the kernel does not know.

    Source: statx(2), STATX_ATTR_MOUNT_ROOT, Linux 5.8. O(1), where mountinfo grows with the node.
    """
    buffer = _Statx()
    try:
        _check(
            _libc.statx(
                ctypes.c_int(descriptor),
                b"",
                ctypes.c_int(_AT_EMPTY_PATH | _AT_SYMLINK_NOFOLLOW | _AT_NO_AUTOMOUNT),
                ctypes.c_uint(0),
                ctypes.byref(buffer),
            )
        )
    except OSError as error:
        # ENOSYS: before Linux 4.11; EPERM: a seccomp profile from before statx.
        if error.errno in (errno.ENOSYS, errno.EPERM):
            return None
        raise
    if not buffer.attributes_mask & STATX_ATTR_MOUNT_ROOT:
        return None
    return bool(buffer.attributes & STATX_ATTR_MOUNT_ROOT)


def fs_magic(descriptor: int) -> int:
    """Return the type of the file system a descriptor is on, such as TMPFS_MAGIC."""
    buffer = _Statfs()
    _check(_libc.fstatfs(ctypes.c_int(descriptor), ctypes.byref(buffer)))
    return int(buffer.type)
