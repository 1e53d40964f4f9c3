"""Long-lived tasks that cannot die unseen, and one lock per key."""

import asyncio
import logging
from collections.abc import Awaitable

from secrets_store import log as logs

_log = logs.get(__name__)


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

    def busy(self, key: str) -> bool:
        """Tell whether somebody holds or awaits the lock."""
        return key in self._users

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
