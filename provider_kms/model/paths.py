"""Rules for the names of files in a volume, as the driver checks them too. Pure.

Source: the provider contract v1alpha1 as the driver enforces it.
"""

from collections.abc import Iterable

LONGEST_PATH_BYTES = 4096
LONGEST_NAME_BYTES = 255


def fault(path: str) -> str | None:
    """Return what is wrong with a file's path inside the volume, or None."""
    try:
        size_bytes = len(path.encode())
    except UnicodeEncodeError:
        return "is not Unicode text"
    parts = path.split("/")
    if not path:
        return "must not be empty"
    if "\0" in path:
        return "must not contain a zero byte"
    if path.startswith("/"):
        return "must be relative"
    if ".." in parts:
        return 'must not contain ".."'
    if "" in parts or "." in parts:
        return 'must be clean: no "//", "./" or trailing "/"'
    if parts[0].startswith(".."):
        return 'must not begin with ".."'
    if size_bytes > LONGEST_PATH_BYTES:
        return f"must have at most {LONGEST_PATH_BYTES} bytes"
    if any(len(part.encode()) > LONGEST_NAME_BYTES for part in parts):
        return f"each part must have at most {LONGEST_NAME_BYTES} bytes"
    return None


def clash(paths: Iterable[str]) -> str | None:
    """Return the first path that appears twice or is a directory of another, or None."""
    seen: set[str] = set()
    for path in paths:
        if path in seen:
            return path
        seen.add(path)
    for path in sorted(seen):
        parts = path.split("/")
        for count in range(1, len(parts)):
            if "/".join(parts[:count]) in seen:
                return "/".join(parts[:count])
    return None
