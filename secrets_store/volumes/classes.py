"""SecretProviderClasses, read live and only as often as needed.

While the API server does not answer, or refuses to, a class that is in use on this node is served
as it was last read: a mount need not fail for want of news.
"""

import asyncio
from collections.abc import Callable, Collection
from typing import Any

from secrets_store import errors, tasks
from secrets_store import log as logs
from secrets_store.kube import client, paths, store
from secrets_store.model import provider_class

DEADLINE_S = 5.0
KNOWN_DEADLINE_S = 1.0
"""How long to ask for news of a class that was read before."""
DELETED = "NotFound"
"""The reason in which an API server says that a class is gone; a load balancer's 404 has none."""
IDLE = 64
"""So many classes are remembered of which no volume came to be; kubelet repeats its attempts."""

Key = tuple[str, str]

_log = logs.get(__name__)


class Classes:
    """The source of classes for publishes and refreshes.

    Several that want the same class at the same time share one request.

    Args:
        missing: Told namespace and name of a class that does not exist.
    """

    def __init__(
        self,
        api: client.Client,
        threads: tasks.Threads,
        cache: store.Classes,
        *,
        missing: Callable[[str, str], None] = lambda namespace, name: None,
    ) -> None:
        self._api, self._threads, self._cache = api, threads, cache
        self._missing = missing
        self._reads: dict[Key, asyncio.Task[dict[str, Any]]] = {}
        self._stale: set[Key] = set()
        self._idle: dict[Key, None] = {}
        self._background = tasks.Background()

    async def get(self, namespace: str, name: str) -> provider_class.ProviderClass:
        """Return the class as it is now.

        Raises: errors.ClassMissing, errors.ClassUnreadable (the API server may answer later).
        """
        obj = self._cache.cached(namespace, name)
        if obj is None:
            obj = await self._read(namespace, name)
        return provider_class.ProviderClass.from_dict(obj)

    def outdated(self, chosen: provider_class.ProviderClass) -> bool:
        """Tell whether a class that was read may have changed since without anybody being told.

        True also if nobody has listened: its last volume went while it was read for a new one.
        """
        obj = self._cache.cached(chosen.namespace, chosen.name)
        if obj is not None:
            return provider_class.ProviderClass.from_dict(obj) != chosen
        last = self._cache.last_read(chosen.namespace, chosen.name)
        # While the watch is down nothing is known, and what it missed is told when it is back.
        told = self._cache.current_generation(chosen.namespace, chosen.name)
        return last is None or told is not None

    def read_in_vain(self, namespace: str, name: str, *, in_use: Collection[Key]) -> None:
        """Take that a publish has failed; forget the class that was first of many such.

        Args:
            in_use: Classes of volumes, which are forgotten with their last one.
        """
        key = (namespace, name)
        self._idle.pop(key, None)
        self._idle[key] = None
        if len(self._idle) > IDLE:
            oldest = next(iter(self._idle))
            del self._idle[oldest]
            if oldest not in in_use:
                self._cache.forget(*oldest)
                self._stale.discard(oldest)

    async def _read(self, namespace: str, name: str) -> dict[str, Any]:
        key = (namespace, name)
        task = self._reads.get(key)
        if task is None:
            # Before the request: a change that comes while it runs must be noticed.
            self._cache.remember(namespace, name)
            task = self._background.spawn("read class", self._fetch(namespace, name))
            self._reads[key] = task
            task.add_done_callback(lambda _: self._reads.pop(key, None))
        try:
            return await asyncio.shield(task)
        except errors.ApiError as error:
            known = self._cache.last_read(namespace, name)
            if isinstance(error, errors.NotFound) and (error.reason == DELETED or known is None):
                if error.reason == DELETED:
                    self._missing(namespace, name)
                reason = f'SecretProviderClass.secrets-store.csi.x-k8s.io "{name}" not found'
                raise errors.ClassMissing(namespace, name, reason) from None
            if known is None or isinstance(error, errors.Rejected):
                raise _unreadable(namespace, name, error) from error
            self._tell_stale(key, error)
            return known

    def _tell_stale(self, key: Key, error: errors.ApiError) -> None:
        """Tell once that a class is served as last read, until it has been read again."""
        level = logs.DEBUG if key in self._stale else logs.WARNING
        self._stale.add(key)
        _log.log(
            level,
            "class not readable, served as last read",
            extra=logs.pairs(spc="/".join(key), reason=str(error)),
        )

    async def _fetch(self, namespace: str, name: str) -> dict[str, Any]:
        known = self._cache.last_read(namespace, name) is not None
        obj = await self._threads.run(
            self._api.get,
            paths.classes(namespace, name),
            deadline_s=KNOWN_DEADLINE_S if known else DEADLINE_S,
        )
        self._cache.put(obj)
        self._stale.discard((namespace, name))
        return obj


def _unreadable(namespace: str, name: str, error: errors.ApiError) -> errors.ClassMissing:
    if isinstance(error, errors.Unavailable):
        return errors.ClassUnreadable(namespace, name, str(error))
    return errors.ClassMissing(namespace, name, str(error))
