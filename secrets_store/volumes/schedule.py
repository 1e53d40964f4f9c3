"""Which volume is to be looked at next: one heap for all volumes of the node."""

import asyncio
import heapq
import itertools
from collections.abc import Callable

from secrets_store import tasks
from secrets_store.volumes import table


class Schedule:
    """Calls for each volume at its time; at rest it costs nothing.

    Args:
        due: Told each volume whose time has come and that is still there.
    """

    def __init__(
        self, volumes: table.Table, clock: tasks.Clock, due: Callable[[table.Volume], None]
    ) -> None:
        self._table, self._clock, self._due = volumes, clock, due
        self._heap: list[tuple[float, int, table.Volume]] = []
        self._numbers = itertools.count()
        self._wake = asyncio.Event()

    def at(self, found: table.Volume, mono_s: float) -> None:
        """Call for a volume at a time; an earlier call for it is made all the same."""
        heapq.heappush(self._heap, (mono_s, next(self._numbers), found))
        if self._heap[0][2] is found:
            self._wake.set()

    async def run(self) -> None:
        """Make the calls until cancelled."""
        while True:
            self._wake.clear()
            now = self._clock.mono_s()
            while self._heap and self._heap[0][0] <= now:
                found = heapq.heappop(self._heap)[2]
                if self._table.get(found.record.target_path) is found:
                    self._due(found)
            wait_s = self._heap[0][0] - now if self._heap else None
            await self._clock.wait(self._wake, wait_s)
