"""How work runs: guarded tasks, background tasks, blocking calls in threads, time, locks by key.

The event loop owns all mutable state. Blocking work is plain code run in a bounded pool of threads;
it returns values and touches nothing shared.
"""

import asyncio
import concurrent.futures
import contextlib
import logging
import time
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, ParamSpec, Protocol, TypeVar

from secrets_store import errors
from secrets_store import log as logs

_log = logs.get(__name__)

P = ParamSpec("P")
T = TypeVar("T")


class Clock(Protocol):
    """Time, so that tests can drive it."""

    def wall_s(self) -> float:
        """Return Unix time."""

    def mono_s(self) -> float:
        """Return monotonic seconds."""

    async def wait(self, event: asyncio.Event, timeout_s: float | None) -> bool:
        """Wait until the event is set or the time has passed; tell whether it is set."""


class SystemClock:
    """The machine's own time."""

    def wall_s(self) -> float:
        return time.time()

    def mono_s(self) -> float:
        return time.monotonic()

    async def wait(self, event: asyncio.Event, timeout_s: float | None) -> bool:
        # Not wait_for: Python 3.11's swallows a cancellation that comes together with the event.
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout_s):
                await event.wait()
        return event.is_set()


class Threads:
    """A bounded pool of threads for one sort of blocking work, started when first used.

    Args:
        name: Of the threads.
        size: The most calls at the same time; further ones queue.
    """

    def __init__(self, name: str, size: int) -> None:
        self._pool = concurrent.futures.ThreadPoolExecutor(size, thread_name_prefix=name)

    async def run(self, call: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Run a blocking call and return its result. A cancelled caller does not stop the call."""
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._pool, lambda: call(*args, **kwargs))

    def stop(self) -> None:
        """Wait for the calls that run and end the threads."""
        self._pool.shutdown(wait=True, cancel_futures=True)


class Background:
    """Tasks that nobody awaits at once: kept from the garbage collector, logged when they fail."""

    def __init__(self) -> None:
        self._tasks: set[asyncio.Task[Any]] = set()

    def spawn(self, name: str, work: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
        """Start a task; its failure is logged unless somebody awaits it."""
        task = asyncio.get_running_loop().create_task(work, name=name)
        self._tasks.add(task)
        task.add_done_callback(self._ended)
        return task

    async def drain(self, timeout_s: float) -> None:
        """Wait for all tasks, and those that they spawn, then cancel what is left."""
        ends = asyncio.get_running_loop().time() + timeout_s
        while self._tasks:
            left_s = ends - asyncio.get_running_loop().time()
            if left_s <= 0:
                for task in self._tasks:
                    task.cancel()
                await asyncio.wait(self._tasks)
            else:
                await asyncio.wait(self._tasks, timeout=left_s)

    def _ended(self, task: asyncio.Task[Any]) -> None:
        self._tasks.discard(task)
        if task.cancelled() or (error := task.exception()) is None:
            return
        # A failure of the tree is told by whoever awaits the task; anything else is a fault in this
        # program, which in a task that nobody awaits would otherwise never show.
        level = logs.DEBUG if isinstance(error, errors.DriverError) else logs.ERROR
        _log.log(
            level,
            "task ended with an error",
            extra=logs.pairs(task=task.get_name()),
            exc_info=error,
        )


class TaskEnded(Exception):
    """A task that should run for the life of the process has ended."""


async def guard(name: str, work: Awaitable[None]) -> None:
    """Await work that must not end before it is cancelled.

    Raises: TaskEnded: it returned or failed; the task group then stops the whole process, because
        a driver that has silently lost a part serves worse than one that is started again.
    """
    try:
        await work
    except asyncio.CancelledError:
        raise
    except Exception as error:
        _log.log(logging.CRITICAL, "task failed", extra=logs.pairs(task=name), exc_info=error)
        raise TaskEnded(f"task {name} failed: {type(error).__name__}") from error
    _log.log(logging.CRITICAL, "task ended", extra=logs.pairs(task=name))
    raise TaskEnded(f"task {name} ended")


class KeyedLocks:
    """One asyncio lock per key, for as long as somebody holds or awaits it.

    Owned by the event loop; not for use from threads.
    """

    def __init__(self) -> None:
        self._locks: dict[str, asyncio.Lock] = {}
        self._users: dict[str, int] = {}

    def hold(self, key: str) -> "Held":
        """Return an async context manager that holds the key's lock."""
        return Held(self, key)

    def _enter(self, key: str) -> asyncio.Lock:
        self._users[key] = self._users.get(key, 0) + 1
        return self._locks.setdefault(key, asyncio.Lock())

    def _leave(self, key: str) -> None:
        self._users[key] -= 1
        if not self._users[key]:
            del self._users[key], self._locks[key]


class Held:
    """The hold on one key of a KeyedLocks."""

    def __init__(self, locks: KeyedLocks, key: str) -> None:
        self._locks, self._key = locks, key

    async def __aenter__(self) -> None:
        lock = self._locks._enter(self._key)
        try:
            await lock.acquire()
        except BaseException:
            self._locks._leave(self._key)
            raise
        self._lock = lock

    async def __aexit__(self, *_: object) -> None:
        self._lock.release()
        self._locks._leave(self._key)
