"""Mounts, looks and unmounts with some system calls refused, and tells how it went.

The refusal is a real seccomp filter, which stays for the life of a process; hence a program.
Source: seccomp(2), linux/filter.h.
"""

import ctypes
import json
import os
import platform
import struct
import sys
from collections.abc import Sequence

from secrets_store.host import mount

FSOPEN = 430
STATX = {"x86_64": 332, "i686": 383, "armv7l": 397}.get(platform.machine(), 291)
_SET_NO_NEW_PRIVS, _SET_SECCOMP, _MODE_FILTER = 38, 22, 2
_LOAD_NUMBER, _JUMP_IF_EQUAL, _RETURN = 0x20, 0x15, 0x06
_ALLOW, _ERRNO = 0x7FFF0000, 0x00050000


class _Program(ctypes.Structure):
    _fields_ = (("length", ctypes.c_ushort), ("filter", ctypes.c_char_p))


def refuse(numbers: Sequence[int], error: int) -> None:
    """Let system calls of these numbers fail from now on."""
    steps = [(_LOAD_NUMBER, 0, 0, 0)]
    steps += [(_JUMP_IF_EQUAL, len(numbers) - at, 0, n) for at, n in enumerate(numbers)]
    steps += [(_RETURN, 0, 0, _ALLOW), (_RETURN, 0, 0, _ERRNO | error)]
    code = b"".join(struct.pack("=HBBI", *step) for step in steps)
    libc = ctypes.CDLL(None, use_errno=True)
    program = _Program(len(steps), code)
    unsigned = ctypes.c_ulong
    if libc.prctl(_SET_NO_NEW_PRIVS, unsigned(1), unsigned(0), unsigned(0), unsigned(0)) or (
        libc.prctl(_SET_SECCOMP, unsigned(_MODE_FILTER), ctypes.byref(program))
    ):
        raise OSError(ctypes.get_errno(), "prctl")


def main(target: str, error: int, numbers: Sequence[int]) -> None:
    """Print the states before, while and after a volume is mounted, and its options."""
    refuse(numbers, error)
    mounter = mount.Mounter(size_bytes=1 << 16, inodes=10)
    states = [mounter.state(target).name]
    mounter.mount(target)
    mounter.mount(os.path.join(os.path.dirname(target), "second"))
    states.append(mounter.state(target).name)
    size_bytes = mounter.usage(target).total_bytes
    mounter.unmount(target)
    states.append(mounter.state(target).name)
    print(json.dumps({"states": states, "size_bytes": size_bytes}))


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), [int(x) for x in sys.argv[3:]])
