"""A wrapper that keeps tokens and values out of logs, errors and tracebacks."""

import hashlib
from typing import Any, Generic, TypeVar

STRIPPED = "***stripped***"

T = TypeVar("T")


class Sealed(Generic[T]):
    """A value that prints as ``***stripped***`` and does not pickle; equal by content."""

    __slots__ = ("_value",)

    def __init__(self, value: T) -> None:
        self._value = value

    def open(self) -> T:
        """Return the value; the caller takes over the duty of keeping it out of sight."""
        return self._value

    def __repr__(self) -> str:
        return STRIPPED

    __str__ = __repr__

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Sealed) and self._value == other._value

    def __hash__(self) -> int:
        return hash(self._value)

    def __reduce__(self) -> Any:
        raise TypeError("a sealed value does not leave the process")


def digest(text: str) -> str:
    """Return a name for a secret text that tells nothing about it: hex SHA-256."""
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()
