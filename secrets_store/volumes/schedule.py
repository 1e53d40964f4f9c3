"""Which volume is to be looked at next: one heap for all volumes of the node."""

import asyncio
import heapq
import itertools
from collections.abc import Callable

from secrets_store import tasks
from secrets_store.volumes import table

SLACK = 64
"""So many calls may be kept beside four for each volume before those in vain are sorted out."""


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

    def __len__(self) -> int:
        return len(self._heap)

    def at(self, found: table.Volume, mono_s: float) -> None:
        """Call for a volume at a time that it is due; an earlier call may be made all the same."""
        if len(self._heap) > SLACK + 4 * len(self._table):
            self._sort_out()
        heapq.heappush(self._heap, (mono_s, next(self._numbers), found))
        if self._heap[0][2] is found:
            self._wake.set()

    def _sort_out(self) -> None:
        """Drop calls for volumes that have gone, and for times at which a volume is not due."""
        wanted = {
            (found.record.target_path, mono_s): (mono_s, number, found)
            for mono_s, number, found in self._heap
            if self._table.get(found.record.target_path) is found
            and mono_s in (found.check_due_mono, found.chores_due_mono)
        }
        self._heap = list(wanted.values())
        heapq.heapify(self._heap)

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
