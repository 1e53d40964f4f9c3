"""How long a publish waits for what it cannot do without, and what ends the wait early."""

import asyncio
from collections.abc import Callable
from typing import Any, TypeVar

from secrets_store import tasks
from secrets_store.volumes import table

MAX_WAIT_S = 110.0
MARGIN_S = 10.0
"""Kept of kubelet's deadline for writing, status and the answer itself."""
NOTICE_AFTER_S = 5.0

T = TypeVar("T")


def budget_s(remaining_s: float | None) -> float:
    """Return how long a publish may wait for class and provider.

    Args:
        remaining_s: Until the caller's deadline; None if it set none.
    """
    if remaining_s is None:
        return MAX_WAIT_S
    return max(0.05, min(MAX_WAIT_S, remaining_s - min(MARGIN_S, remaining_s / 5)))


class Patience:
    """One publish's patience: ends with its time, or at once when it is abandoned.

    Args:
        wait_s: How long it lasts from now.
        notice: Told once, with what is waited for, when the wait has become noticeable.
    """

    def __init__(
        self,
        flight: table.InFlight,
        clock: tasks.Clock,
        *,
        wait_s: float,
        notice: Callable[[str], None],
    ) -> None:
        self._flight, self._clock = flight, clock
        now = clock.mono_s()
        self._ends_mono, self._notice_mono = now + wait_s, now + NOTICE_AFTER_S
        self._notice: Callable[[str], None] | None = notice

    def left_s(self) -> float:
        """Return the seconds that are left, not negative."""
        return max(0.0, self._ends_mono - self._clock.mono_s())

    def notify(self, what: str) -> None:
        """Tell what is waited for, if it is time and was not told yet."""
        if self._notice is not None and self._clock.mono_s() >= self._notice_mono:
            self._notice(what)
            self._notice = None

    async def watch(self, task: "asyncio.Future[T]", timeout_s: float | None = None) -> bool:
        """Await a task, but not longer than the publish wants it; the task itself goes on.

        Returns: Whether the task is done; False after ``timeout_s``.
        Raises: errors.VolumeBusy: abandoned.
        """
        either: set[asyncio.Future[Any]] = {task, self._flight.abandoned}
        await asyncio.wait(either, timeout=timeout_s, return_when=asyncio.FIRST_COMPLETED)
        if task.done():
            return True
        self._flight.check()
        return False

    async def pause(self, seconds: float, what: str) -> bool:
        """Wait a little before another try; False at once if there is no time for one.

        Raises: errors.VolumeBusy: abandoned.
        """
        self._flight.check()
        self.notify(what)
        if self.left_s() <= seconds:
            return False
        await asyncio.wait({self._flight.abandoned}, timeout=seconds)
        self._flight.check()
        return True
