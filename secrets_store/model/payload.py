"""The files of one provider answer, and the rules they obey before the first byte is written."""

import dataclasses
from collections.abc import Iterable, Mapping

from secrets_store import errors

MAX_PATH_BYTES = 4096
MAX_NAME_BYTES = 255
MAX_PARTS = 64
"""Deeper trees serve nobody, and walking one takes a descriptor and a stack frame a level."""
MODE_BITS = 0o777
PROVIDER_DEFAULT_MODE = 0o644
"""What providers are told to use for files of which they know no better."""

Files = Mapping[str, "File"]
"""Path inside the volume → file; paths relative, clean, of one volume."""


@dataclasses.dataclass(frozen=True, slots=True)
class File:
    """One file as the provider wants it.

    Attributes:
        contents: The bytes, exactly; kept out of every repr.
        mode: Permission bits, 0…0o777; 0 means no permission at all, as upstream.
    """

    contents: bytes = dataclasses.field(repr=False)
    mode: int


@dataclasses.dataclass(frozen=True, slots=True)
class Payload:
    """A checked file set.

    Attributes:
        files: path → File.
        duplicates: Paths that the answer named more than once, sorted; the last one won.
    """

    files: Files
    duplicates: tuple[str, ...]


@dataclasses.dataclass(frozen=True, slots=True)
class Changes:
    """What differs between two file sets; paths sorted."""

    added: tuple[str, ...]
    changed: tuple[str, ...]
    removed: tuple[str, ...]

    def __bool__(self) -> bool:
        return bool(self.added or self.changed or self.removed)


def check(answer: Iterable[tuple[str, int, bytes]]) -> Payload:
    """Check all files of an answer.

    Args:
        answer: (path, mode, contents) in the provider's order.
    Raises: errors.PayloadRejected: one path breaks a rule; nothing of the answer may be used.
    Source: provider-wire §9; a path twice is accepted, as some providers send it.
    """
    files: dict[str, File] = {}
    duplicates: set[str] = set()
    for path, mode, contents in answer:
        check_path(path)
        if path in files:
            duplicates.add(path)
        files[path] = File(contents, mode & MODE_BITS)
    _check_clashes(files)
    return Payload(files, tuple(sorted(duplicates)))


def check_path(path: str) -> None:
    """Raise errors.PayloadRejected unless a path stays inside the volume and is in clean form."""
    if not path:
        raise errors.PayloadRejected('invalid path: must not be empty: ""')
    if path.startswith("/"):
        raise errors.PayloadRejected(f"invalid path: must be relative path: {_short(path)}")
    if "\0" in path:
        raise errors.PayloadRejected(f"invalid path: must not contain NUL: {_short(path)}")
    if len(path.encode()) > MAX_PATH_BYTES:
        raise errors.PayloadRejected(
            f"invalid path: must be less than or equal to {MAX_PATH_BYTES} characters"
        )
    parts = path.split("/")
    if ".." in parts:
        raise errors.PayloadRejected(f"invalid path: must not contain '..': {_short(path)}")
    if any(len(part.encode()) > MAX_NAME_BYTES for part in parts):
        raise errors.PayloadRejected(
            f"invalid path: filenames must be less than or equal to {MAX_NAME_BYTES} characters"
        )
    if parts[0].startswith(".."):
        raise errors.PayloadRejected(f"invalid path: must not start with '..': {_short(path)}")
    if len(parts) > MAX_PARTS:
        raise errors.PayloadRejected(
            f"invalid path: must have at most {MAX_PARTS} parts: {_short(path)}"
        )
    if "" in parts or "." in parts:
        raise errors.PayloadRejected(f'invalid filepath: "{_short(path)}"')


def _check_clashes(files: Files) -> None:
    """Refuse ``a`` beside ``a/b``: which one won would depend on the order of writing."""
    for path in files:
        parent = path.rpartition("/")[0]
        while parent:
            if parent in files:
                raise errors.PayloadRejected(
                    f'invalid path: "{_short(parent)}" is a file and the directory of '
                    f'"{_short(path)}"'
                )
            parent = parent.rpartition("/")[0]


def with_modes(files: Files, *, group: int | None, default_mode: int | None) -> Files:
    """Return the files with the modes that they are to have.

    Args:
        group: The pod's ``fsGroup``. The default mode 0644 becomes 0440, so that only the group
            can read; a mode that the provider chose gains the group's right to read.
        default_mode: Of the class; takes the place of the provider's default 0644.
    """
    if group is None and default_mode is None:
        return files
    if default_mode is not None:
        usual, others = default_mode, 0
    else:
        usual, others = 0o440, 0o040
    return {
        path: File(
            file.contents, usual if file.mode == PROVIDER_DEFAULT_MODE else file.mode | others
        )
        for path, file in files.items()
    }


def diff(old: Files, new: Files) -> Changes:
    """Compare two file sets of one volume.

    Args:
        old: As last written; empty on a first publish.
        new: From the provider.
    Returns: Paths added, changed (contents or mode) and removed.
    """
    return Changes(
        added=tuple(sorted(new.keys() - old.keys())),
        changed=tuple(sorted(p for p in new.keys() & old.keys() if new[p] != old[p])),
        removed=tuple(sorted(old.keys() - new.keys())),
    )


def _short(path: str) -> str:
    return path if len(path) <= 256 else path[:253] + "..."
