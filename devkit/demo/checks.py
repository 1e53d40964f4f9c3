"""Checks: each says what it looked at, what it expected and what it found."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

T = TypeVar("T")
PATIENCE_S = 15.0
"""For anything to happen; on an idle machine nothing takes longer than two seconds."""

_LOOK_EVERY_S = 0.05


class Failed(Exception):
    """A check failed.

    Attributes:
        what: what was looked at.
        expected, found: both, in words or as they are.
        part: whose log may tell why.
    """

    def __init__(self, what: str, expected: object, found: object, part: str = "driver") -> None:
        super().__init__(f"{what}: expected {expected}, found {found}")
        self.what, self.expected, self.found, self.part = what, expected, found, part


def equal(what: str, found: T, expected: T, part: str = "driver") -> None:
    """Raise Failed unless both are the same."""
    if found != expected:
        raise Failed(what, expected, found, part)


def _nothing(found: object) -> bool:
    return not found


async def until(
    what: str,
    look: Callable[[], Awaitable[T]],
    expected: str,
    *,
    good: Callable[[T], bool] = _nothing,
    part: str = "driver",
) -> T:
    """Look again and again until what is found is good (by default: empty), and return it.

    Raises: Failed: it was not within PATIENCE_S.
    """
    ends = asyncio.get_running_loop().time() + PATIENCE_S
    while not good(found := await look()):
        if asyncio.get_running_loop().time() > ends:
            raise Failed(what, f"{expected} within {PATIENCE_S:g} s", found, part)
        await asyncio.sleep(_LOOK_EVERY_S)
    return found
