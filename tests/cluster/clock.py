"""Time that stands still until a test lets it pass.

A driver on this clock lives through hours in moments: `advance` goes from one wait that ends to the
next and lets the driver finish what each has set off before time goes on. Only the driver's own
time is virtual; sockets, threads and the API client live in real time.
"""

import asyncio
import contextlib
import heapq
import itertools
import re
import time
from collections.abc import AsyncIterator
from typing import Any

START_S = 1_800_000_000.0
_UNNAMED = re.compile(r"Task-\d+")
_TICK_S = 0.02
_TURNS = 8
"""So many turns of the loop take a timer's end to the task that the scheduler starts for it."""


class VirtualClock:
    """A `tasks.Clock`; on the event loop.

    Args:
        wall_s: Unix time at the beginning. Monotonic time begins at another number, so that the
            two cannot be mixed up unnoticed.
    """

    def __init__(self, wall_s: float = START_S) -> None:
        self._wall_offset_s = wall_s - 1000.0
        self._mono_s = 1000.0
        self._timers: list[tuple[float, int, asyncio.Future[None]]] = []
        self._numbers = itertools.count()
        self._waiting: set[asyncio.Task[Any]] = set()
        self._entered: asyncio.Future[None] | None = None

    def wall_s(self) -> float:
        return self._mono_s + self._wall_offset_s

    def mono_s(self) -> float:
        return self._mono_s

    def set_wall(self, wall_s: float) -> None:
        """Let somebody set the clock on the wall; no time passes."""
        self._wall_offset_s = wall_s - self._mono_s

    async def wait(self, event: asyncio.Event, timeout_s: float | None) -> bool:
        task = asyncio.current_task()
        assert task is not None
        timer: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        if timeout_s is not None:
            heapq.heappush(self._timers, (self._mono_s + timeout_s, next(self._numbers), timer))
        happened = asyncio.ensure_future(event.wait())
        self._waiting.add(task)
        if self._entered is not None and not self._entered.done():
            self._entered.set_result(None)
        try:
            either: set[asyncio.Future[Any]] = {timer, happened}
            await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
        finally:
            self._waiting.discard(task)
            timer.cancel()
            happened.cancel()
        return event.is_set()

    async def advance(self, seconds: float) -> None:
        """Let time pass, and the driver come to rest after each thing that happens in it."""
        ends_s = self._mono_s + seconds
        await self.settle()
        while self._timers and self._timers[0][0] <= ends_s:
            self._fire(self._timers[0][0])
            await self.settle()
        self._mono_s = ends_s

    async def skip(self, seconds: float) -> None:
        """Let time pass at once, for a driver that does not come to rest: something hangs."""
        self._fire(self._mono_s + seconds)
        for _ in range(_TURNS):
            await asyncio.sleep(0)

    @contextlib.asynccontextmanager
    async def flowing(self, pace: float = 1.0) -> AsyncIterator[None]:
        """Let time pass as it does for everybody, or faster, besides what is skipped."""
        ticking = asyncio.create_task(self._tick(pace))
        try:
            yield
        finally:
            ticking.cancel()
            await asyncio.wait({ticking})

    async def _tick(self, pace: float) -> None:
        last_s = time.monotonic()
        while True:
            await asyncio.sleep(_TICK_S)
            passed_s = time.monotonic() - last_s
            last_s += passed_s
            await self.skip(passed_s * pace)

    async def settle(self) -> None:
        """Wait until every task that the driver has started has ended or waits for this clock."""
        while True:
            for _ in range(_TURNS):
                await asyncio.sleep(0)
            busy = self._busy()
            if not busy:
                return
            self._entered = asyncio.get_running_loop().create_future()
            changes: set[asyncio.Future[Any]] = {*busy, self._entered}
            await asyncio.wait(changes, return_when=asyncio.FIRST_COMPLETED)

    def _fire(self, until_s: float) -> None:
        self._mono_s = max(self._mono_s, until_s)
        while self._timers and self._timers[0][0] <= self._mono_s:
            timer = heapq.heappop(self._timers)[2]
            if not timer.done():
                timer.set_result(None)

    def _busy(self) -> set[asyncio.Task[Any]]:
        # `tasks.Background` names all its tasks; what is unnamed lasts or belongs to others.
        return {
            task
            for task in asyncio.all_tasks()
            if task not in self._waiting and not _UNNAMED.fullmatch(task.get_name())
        }
