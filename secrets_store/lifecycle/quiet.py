"""After a storm of pods, when it has gone quiet: give back the memory that it has used."""

import asyncio
from collections.abc import Callable

from secrets_store import tasks
from secrets_store.host import memory

STORM = 20
"""So many publishes and unpublishes are worth the collector's 30 ms."""
QUIET_S = 10.0


class Quiet:
    """Waits for the quiet after a storm.

    Args:
        trim: Gives memory back.
    """

    def __init__(self, clock: tasks.Clock, trim: Callable[[], None] = memory.trim) -> None:
        self._clock, self._trim = clock, trim
        self._last_mono = 0.0
        self._count = 0
        self._storm = asyncio.Event()

    def worked(self) -> None:
        """Note one publish or unpublish that was more than an answer."""
        self._last_mono = self._clock.mono_s()
        self._count += 1
        if self._count >= STORM:
            self._storm.set()

    async def run(self) -> None:
        """Trim after each storm until cancelled."""
        never = asyncio.Event()
        while True:
            await self._storm.wait()
            while (left_s := self._last_mono + QUIET_S - self._clock.mono_s()) > 0:
                await self._clock.wait(never, left_s)
            self._count = 0
            self._storm.clear()
            self._trim()
