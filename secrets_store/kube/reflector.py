"""List and watch one kind in a thread of its own, and hand what happens to the event loop.

A Reflector keeps no objects: ``project`` makes something small of each in the thread, and
``on_event`` is called on the loop, in order. It starts over for ever; nothing that the API server
answers ends it. While its watch is down the loop has been told ``Stale``.
"""

import asyncio
import contextlib
import dataclasses
import random
import threading
import time
from collections.abc import Callable, Mapping
from typing import Any, Generic, TypeVar

from secrets_store import errors, log
from secrets_store.kube import client, paths, stream
from secrets_store.model import backoff

_log = log.get(__name__)

T = TypeVar("T")

WATCH_S = (300.0, 600.0)
"""A watch is asked to end after a random time between these, so that nodes do not move as one."""
SILENCE_MARGIN_S = 30.0
BOOKMARK_SILENCE_S = 240.0
"""So long a watch that has had a bookmark may be silent: an API server sends one each minute. A
proxy can hold a connection open that leads nowhere any more."""
LIST_DEADLINE_S = 15.0
JOIN_S = 1.0
FLOOR_S = 0.1
RETRY_S = (0.5, 30.0)
"""Base and cap of the wait after a failure."""
MISSING_S = (5.0, 300.0)
"""The same while a right or the kind itself is missing, which only an administrator changes."""
ASKED_S = 60.0
"""So long a server's wish to be left alone is heeded; a proxy may ask for a day."""
SOUND_S = 5.0
"""A watch that has been open so long ends a row of failures."""


@dataclasses.dataclass(frozen=True, slots=True)
class Added(Generic[T]):
    """An object is new, or the first thing heard of it."""

    item: T


@dataclasses.dataclass(frozen=True, slots=True)
class Modified(Generic[T]):
    """An object has changed."""

    item: T


@dataclasses.dataclass(frozen=True, slots=True)
class Deleted(Generic[T]):
    """An object is gone; the item is what it last was."""

    item: T


@dataclasses.dataclass(frozen=True, slots=True)
class Replaced(Generic[T]):
    """Knowledge starts anew: these are all objects; empty for a reflector that does not list."""

    items: tuple[T, ...]


@dataclasses.dataclass(frozen=True, slots=True)
class Synced:
    """The watch is up: from here on every change is heard of."""


@dataclasses.dataclass(frozen=True, slots=True)
class Stale:
    """The watch is down: what is known may be old."""

    reason: str


Event = Added[T] | Modified[T] | Deleted[T] | Replaced[T] | Synced | Stale

_KINDS: Mapping[str, type[Added[Any]] | type[Modified[Any]] | type[Deleted[Any]]] = {
    "ADDED": Added,
    "MODIFIED": Modified,
    "DELETED": Deleted,
}


class Reflector(Generic[T]):
    """Follow one collection, metadata only.

    Args:
        api: Where to list and watch.
        path: The collection.
        project: Called in the thread with an object's metadata form; must not fail.
        on_event: Called on the loop.
        params: Selectors.
        whole: List all objects first. Otherwise only a version is fetched to watch from, and
            what exists is not told: for kinds of which few objects matter.
        uniform: Random number between two.
        clock: Monotonic seconds.
        pause: Waits between tries; by default a wait that ``stop`` ends.
        bookmark_silence_s: So long nothing may come after a bookmark.
    """

    def __init__(
        self,
        api: client.Client,
        path: str,
        *,
        project: Callable[[client.Json], T],
        on_event: Callable[[Event[T]], None],
        params: Mapping[str, str] | None = None,
        whole: bool = True,
        uniform: Callable[[float, float], float] = random.uniform,
        clock: Callable[[], float] = time.monotonic,
        pause: Callable[[float], object] | None = None,
        bookmark_silence_s: float = BOOKMARK_SILENCE_S,
    ) -> None:
        self._api, self._path, self._project = api, path, project
        self._on_event, self._params, self._whole = on_event, dict(params or {}), whole
        self._uniform, self._clock = uniform, clock
        self._bookmark_silence_s = bookmark_silence_s
        self._stopping = threading.Event()
        self._pause = pause or self._stopping.wait
        self._lock = threading.Lock()
        self._open: stream.Watch | None = None
        self._resource = paths.resource(path)
        self._thread: threading.Thread | None = None
        # The rest belongs to the thread.
        self._verb = "list"
        self._version = ""
        self._expired = False
        self._synced = False
        self._failures = 0
        self._opened_mono = float("inf")
        self._told = ""

    def start(self, loop: asyncio.AbstractEventLoop) -> "asyncio.Future[None]":
        """Start the thread.

        Returns: A future that fails if the thread does, which is a fault in this program, and
            is done once the thread has been stopped.
        """
        self._loop = loop
        self._ended: asyncio.Future[None] = loop.create_future()
        self._thread = threading.Thread(
            target=self._main, name=f"watch {self._resource}", daemon=True
        )
        self._thread.start()
        return self._ended

    def stop(self) -> None:
        """End the thread, also when it is blocked in a read; no event is told any more.

        A thread that is just opening a connection to a host that does not answer is left to end
        by itself, within the connect timeout.
        """
        with self._lock:
            self._stopping.set()
            if self._open is not None:
                self._open.close()
        if self._thread is not None:
            self._thread.join(JOIN_S)

    def _main(self) -> None:
        failure: Exception | None = None
        try:
            while not self._stopping.is_set():
                self._round()
        except Exception as error:  # Handed to whoever awaits the future that start returned.
            failure = error
        with contextlib.suppress(RuntimeError):  # The loop is closed: nobody is interested.
            self._loop.call_soon_threadsafe(self._end, failure)

    def _end(self, failure: Exception | None) -> None:
        if self._ended.done():
            return
        if failure is None:
            self._ended.set_result(None)
        else:
            self._ended.set_exception(failure)

    def _round(self) -> None:
        """List if the version is unknown, watch until the watch ends, wait if that is due."""
        failure: errors.ApiError | None = None
        self._opened_mono = float("inf")
        try:
            if not self._version:
                self._verb = "list"
                self._list()
            self._verb = "watch"
            with self._opened() as watch:
                self._opened_mono = self._clock()
                self._tell_synced()
                self._follow(watch)
        except errors.ApiError as error:
            failure = error
        if isinstance(failure, errors.Gone):
            self._version, self._expired = "", True
        if failure is not None:
            self._tell_stale(failure)
        self._wait(failure)

    def _list(self) -> None:
        if not self._whole:
            page = self._api.get(
                self._path,
                params={**self._params, "limit": 1},
                accept=client.METADATA_LIST,
                deadline_s=LIST_DEADLINE_S,
            )
            self._begin((page.get("metadata") or {}).get("resourceVersion"), ())
            return
        # Version 0 is answered from the API server's cache, where pods are indexed by node. An
        # expired version means that the cache is behind what we knew: then ask for the truth.
        version = "" if self._expired else "0"
        listing = self._api.list(
            self._path,
            params={**self._params, **({"resourceVersion": version} if version else {})},
            accept=client.METADATA_LIST,
            project=self._project,
            deadline_s=LIST_DEADLINE_S,
        )
        self._begin(listing.resource_version, tuple(listing.items))

    def _begin(self, version: object, items: tuple[T, ...]) -> None:
        if not isinstance(version, str) or not version:
            # Something else than an API server has answered; a watch from "" would mislead.
            raise errors.Unavailable("API server: list without a version", reason="no version")
        self._version, self._expired = version, False
        self._hand_over(Replaced(items))

    def _opened(self) -> stream.Watch:
        timeout_s = round(self._uniform(*WATCH_S))
        watch = self._api.watch(
            self._path,
            params={
                **self._params,
                "resourceVersion": self._version,
                "allowWatchBookmarks": "true",
                "timeoutSeconds": timeout_s,
            },
            accept=client.METADATA,
            silence_s=timeout_s + SILENCE_MARGIN_S,
        )
        with self._lock:
            self._open = watch
            if self._stopping.is_set():
                watch.close()
        return watch

    def _follow(self, watch: stream.Watch) -> None:
        for kind, document in watch:
            version = (document.get("metadata") or {}).get("resourceVersion")
            make = _KINDS.get(kind)
            if make is not None:
                self._hand_over(make(self._project(document)))
            elif kind == "BOOKMARK":
                watch.bound_silence(self._bookmark_silence_s)
            if isinstance(version, str) and version:
                self._version = version

    def _tell_synced(self) -> None:
        if self._told:
            self._told = ""
            _log.info("watch is up again", extra=log.pairs(resource=self._resource))
        if not self._synced:
            self._synced = True
            self._hand_over(Synced())

    def _tell_stale(self, error: errors.ApiError) -> None:
        if self._stopping.is_set():
            return
        word = f"{type(error).__name__} {self._verb}"
        facts = log.pairs(
            resource=self._resource,
            reason=str(error),
            missing_right=f"{self._verb} {self._resource}" if _right_missing(error) else None,
        )
        expected = isinstance(error, errors.Gone)
        if not expected and word != self._told:
            self._told = word
            _log.warning("watch is down, trying again", extra=facts)
        else:
            _log.debug("watch is down, trying again", extra=facts)
        if self._synced:
            self._synced = False
            self._hand_over(Stale(str(error)))

    def _wait(self, error: errors.ApiError | None) -> None:
        """Wait before the next round, the longer the more rounds in a row came to nothing.

        What has been sound for a while is taken up again at once, and so is the first watch that
        ends or expires; one that does so whenever it is opened must not make a busy loop.
        """
        if self._clock() - self._opened_mono >= SOUND_S:
            self._failures = 0
            if error is None:
                return
        failures, self._failures = self._failures, self._failures + 1
        harmless = error is None or isinstance(error, errors.Gone)
        if self._stopping.is_set() or (harmless and failures == 0):
            return
        base_s, cap_s = MISSING_S if _lasting(error) else RETRY_S
        wait_s = backoff.full_jitter(failures, base_s=base_s, cap_s=cap_s, uniform=self._uniform)
        asked_s = (error.retry_after_s if error is not None else None) or 0.0
        self._pause(max(FLOOR_S, min(asked_s, ASKED_S)) + wait_s)

    def _hand_over(self, event: Event[T]) -> None:
        try:
            self._loop.call_soon_threadsafe(self._deliver, event)
        except RuntimeError:
            # The loop is closed.
            self._stopping.set()

    def _deliver(self, event: Event[T]) -> None:
        if not self._stopping.is_set():
            self._on_event(event)


def _right_missing(error: errors.ApiError | None) -> bool:
    return isinstance(error, errors.Forbidden) and error.status == 403


def _lasting(error: errors.ApiError | None) -> bool:
    return _right_missing(error) or isinstance(error, errors.NotFound | errors.Rejected)
