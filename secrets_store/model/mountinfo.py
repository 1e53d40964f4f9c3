"""The kernel's list of mounts, read as text."""

import dataclasses
import re

_ESCAPE = re.compile(r"\\([0-7]{3})")


@dataclasses.dataclass(frozen=True, slots=True)
class Mount:
    """One line of ``/proc/self/mountinfo``.

    Attributes:
        mount_id: Unique among the mounts that exist now.
        root: Directory of the file system that is shown; ``/`` unless it is a bind mount.
        mount_point: Where it is shown, unescaped.
        options: Per-mount options, such as ``nosuid``.
        super_options: Per-file-system options, such as ``size=65536k``.
    """

    mount_id: int
    parent_id: int
    device: str
    root: str
    mount_point: str
    options: tuple[str, ...]
    fs_type: str
    source: str
    super_options: tuple[str, ...]


def parse(text: str) -> list[Mount]:
    """Read all mounts, in the kernel's order; for one mount point the last is on top.

    Raises: ValueError: a line has not the kernel's form.
    Source: proc(5), /proc/pid/mountinfo.
    """
    return [_line(line) for line in _lines(text) if line]


def at(text: str, mount_point: str) -> list[Mount]:
    """Return the mounts at one mount point, lowest first, without parsing the other lines."""
    wanted = f" {_escape(mount_point)} "
    return [mount for mount in map(_line, (x for x in _lines(text) if wanted in x))
            if mount.mount_point == mount_point]  # fmt: skip


def _lines(text: str) -> list[str]:
    # Not splitlines: a path may hold what Unicode takes for the end of a line.
    return text.split("\n")


def _line(line: str) -> Mount:
    left, separator, right = line.partition(" - ")
    head, tail = left.split(" "), right.split(" ")
    if not separator or len(head) < 6 or len(tail) < 3:
        raise ValueError(f"not a line of mountinfo: {line[:200]!r}")
    return Mount(
        mount_id=int(head[0]),
        parent_id=int(head[1]),
        device=head[2],
        root=_unescape(head[3]),
        mount_point=_unescape(head[4]),
        options=tuple(head[5].split(",")),
        fs_type=tail[0],
        source=_unescape(tail[1]),
        super_options=tuple(tail[2].split(",")),
    )


def _unescape(text: str) -> str:
    if "\\" not in text:
        return text
    return _ESCAPE.sub(lambda m: chr(int(m[1], 8)), text)


def _escape(text: str) -> str:
    for char in "\\ \t\n":
        text = text.replace(char, f"\\{ord(char):03o}")
    return text
