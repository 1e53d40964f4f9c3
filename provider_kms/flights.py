"""One piece of work for all who want the same thing at the same time.

The loop owns everything here. Work runs as its own task: it goes on while anybody waits, with the
latest deadline of all who do, and is cancelled when the last one has gone. So a KMS that hangs is
asked no longer than somebody cares, and a storm of pods of one account costs one request.
"""

import asyncio
import time
from collections.abc import Callable, Coroutine, Hashable
from typing import Any, Generic, TypeVar

from provider_kms import budget, errors

V = TypeVar("V")

_SETTLE_S = 0.2
"""How much later than the work itself its waiters give up, so that its own error wins."""


class _Flight(Generic[V]):
    __slots__ = ("budget", "started_mono", "task", "waiters")

    def __init__(self, limits: budget.Budget, started_mono: float) -> None:
        self.budget = limits
        self.started_mono = started_mono
        self.waiters = 0
        self.task: asyncio.Task[V]


class Flights(Generic[V]):
    """Work in progress by key.

    Args:
        name: what is being done, for the sentence of an error.
        clock: monotonic seconds.
    """

    def __init__(self, name: str, clock: Callable[[], float] = time.monotonic) -> None:
        self._name = name
        self._clock = clock
        self._flights: dict[Hashable, _Flight[V]] = {}

    def __len__(self) -> int:
        return len(self._flights)

    async def join(
        self,
        key: Hashable,
        work: Callable[[budget.Budget], Coroutine[Any, Any, V]],
        limits: budget.Budget,
        *,
        oldest_s: float = float("inf"),
    ) -> V:
        """Wait for the work of this key, starting it if nobody has.

        Args:
            key: what is wanted, and on whose behalf: equal keys share one result.
            work: called with a budget that grows while it runs; must not raise TimeoutError.
            limits: of this caller.
            oldest_s: work that began longer ago does not count.

        Raises: errors.KmsTooSlow: this caller's time ran out; whatever the work raises.
        """
        flight = self._flights.get(key)
        if flight is None or self._clock() - flight.started_mono > oldest_s:
            flight = self._start(key, work, limits)
        else:
            flight.budget.grow(limits)
        flight.waiters += 1
        try:
            async with asyncio.timeout(limits.remaining_s() + _SETTLE_S):
                return await asyncio.shield(flight.task)
        except TimeoutError:
            raise errors.KmsTooSlow(self._name) from None
        finally:
            flight.waiters -= 1
            if not flight.waiters and not flight.task.done():
                self._forget(key, flight)
                flight.task.cancel()

    def _start(
        self,
        key: Hashable,
        work: Callable[[budget.Budget], Coroutine[Any, Any, V]],
        limits: budget.Budget,
    ) -> _Flight[V]:
        flight: _Flight[V] = _Flight(limits.copy(), self._clock())
        flight.task = asyncio.create_task(work(flight.budget), name=self._name)
        flight.task.add_done_callback(lambda task: self._landed(key, flight, task))
        self._flights[key] = flight
        return flight

    def _landed(self, key: Hashable, flight: _Flight[V], task: "asyncio.Task[V]") -> None:
        self._forget(key, flight)
        if not task.cancelled():
            # Looked at even if every waiter has gone, so that asyncio does not report it.
            task.exception()

    def _forget(self, key: Hashable, flight: _Flight[V]) -> None:
        if self._flights.get(key) is flight:
            del self._flights[key]
