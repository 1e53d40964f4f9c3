"""What was read, in memory: for a short while as it is, longer for the sake of its ETag.

Bounded in size and age; the least recently used goes first. Keys begin with the serial of the
session that did the reading. The loop owns it.
"""

import collections
import dataclasses
import time
from collections.abc import Callable, Hashable
from typing import Any

MOST_BYTES = 16 * 1024 * 1024
TAGGED_S = 600.0
"""How long an unused value with ETag stays."""


@dataclasses.dataclass(slots=True)
class _Kept:
    value: Any = dataclasses.field(repr=False)
    etag: str
    size_bytes: int
    read_mono: float


class Cache:
    """Values by key.

    Args:
        clock: monotonic seconds.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._kept: collections.OrderedDict[tuple[Hashable, ...], _Kept]
        self._kept = collections.OrderedDict()
        self.size_bytes = 0

    def __len__(self) -> int:
        return len(self._kept)

    def fresh(self, key: tuple[Hashable, ...], bound_s: float) -> Any:
        """Return a value read at most `bound_s` ago, or None."""
        found = self._kept.get(key)
        if found is None or self._clock() - found.read_mono >= bound_s:
            return None
        return found.value

    def validated(self, key: tuple[Hashable, ...]) -> tuple[Any, str]:
        """Return a value of any age with the ETag that can renew it, or (None, "")."""
        found = self._kept.get(key)
        return (found.value, found.etag) if found is not None and found.etag else (None, "")

    def put(
        self,
        key: tuple[Hashable, ...],
        value: Any,
        etag: str,
        size_bytes: int,
        read_mono: float,
    ) -> None:
        """Keep a value; others make room for it."""
        self.forget(key)
        if size_bytes > MOST_BYTES // 2:
            return
        self._kept[key] = _Kept(value, etag, size_bytes, read_mono)
        self.size_bytes += size_bytes
        while self.size_bytes > MOST_BYTES:
            self.forget(next(iter(self._kept)))

    def forget(self, key: tuple[Hashable, ...]) -> None:
        """Drop one value, if it is there."""
        found = self._kept.pop(key, None)
        if found is not None:
            self.size_bytes -= found.size_bytes

    def drop(self, serial: int) -> None:
        """Drop all that one session has read."""
        for key in [key for key in self._kept if key[0] == serial]:
            self.forget(key)

    def sweep(self, bound_s: float) -> None:
        """Drop what is too old to be of use: older than the bound, and no ETag to renew it."""
        now = self._clock()
        for key, found in list(self._kept.items()):
            if now - found.read_mono > (TAGGED_S if found.etag else bound_s):
                self.forget(key)
