"""Reads: one list call for all secrets of a folder, shared by those who share a login.

What was read is kept by session, so nobody gets a secret that his own login did not read. It is
believed for a short bound, so that a storm of pods of one account costs one request; after that
the server's ETag, where it sends one, saves the transfer. Where an identity may read its secrets
but not list their folder, they are read singly. The loop owns everything here.
"""

import asyncio
import contextlib
import time
from collections.abc import Callable, Coroutine, Hashable, Iterable, Iterator, Mapping
from typing import Any, TypeVar

from provider_kms import budget, cache, errors, flights
from provider_kms.backend import Backend, Read, Session
from provider_kms.metrics import Metrics
from provider_kms.model import secret as secrets
from provider_kms.model.files import Merged, Needs
from provider_kms.model.secret import Folder, Listing, Secret

REFUSED_S = 600.0
"""How long a folder that may not be listed is read singly without asking again."""

T = TypeVar("T")


class Reads:
    """Reads on behalf of sessions.

    Args:
        store: reads.
        metrics: where reads came from.
        clock: monotonic seconds.
    """

    def __init__(
        self,
        store: Backend,
        metrics: Metrics,
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._store, self._metrics, self._clock = store, metrics, clock
        self.kept = cache.Cache(clock)
        self._lists: flights.Flights[Listing] = flights.Flights("list of secrets", clock)
        self._gets: flights.Flights[Secret] = flights.Flights("secret", clock)
        self._refused_mono: dict[tuple[int, Folder], float] = {}

    async def fetch(
        self,
        session: Session,
        needs: Mapping[Folder, Needs],
        bound_s: float,
        limits: budget.Budget,
    ) -> Mapping[Folder, Merged]:
        """Read all that a volume needs, folders side by side.

        Args:
            session: of the pod's own login.
            needs: from `model.files.needs`.
            bound_s: how old an answer in memory may be.
            limits: of the Mount.

        Returns: by folder the secrets found; optional ones that are missing are left out.
        Raises: what `backend.Backend` raises; of several failures the first by order of needs.
        """
        found = await _all(
            self._folder(session, folder, need, bound_s, limits) for folder, need in needs.items()
        )
        return dict(zip(needs, found, strict=True))

    def sweep(self, bound_s: float) -> None:
        """Forget what is too old to be of use, given how long a read is believed."""
        self.kept.sweep(bound_s)
        now = self._clock()
        for key in [key for key, until in self._refused_mono.items() if until <= now]:
            del self._refused_mono[key]
        self._metrics.cached_bytes.set(self.kept.size_bytes)

    def drop(self, session: Session) -> None:
        """Forget what a session has read."""
        self.kept.drop(session.serial)

    async def _folder(
        self, session: Session, folder: Folder, need: Needs, bound_s: float, limits: budget.Budget
    ) -> Merged:
        listed: Merged = {}
        if need.everything or (len(need.keys) > 1 and self._listable(session, folder)):
            try:
                listing = await self._listing(session, folder, bound_s, limits)
                listed = listing.merged(folder)
            except errors.SecretMissing as error:
                return _without_folder(folder, need, error)
            except (errors.ReadRefused, errors.AnswerTooLarge):
                if need.everything:
                    raise
                self._refused_mono[session.serial, folder] = self._clock() + REFUSED_S
        # A list leaves out what the identity may not even see, so a single read has the last
        # word on what is missing, and gives the reason.
        absent = [key for key in need.keys if ("", key) not in listed]
        singles = await _all(
            self._single(session, folder, key, need.keys[key], bound_s, limits) for key in absent
        )
        extra = {("", one.key): one for one in singles if one is not None}
        return {**listed, **extra} if extra else listed

    def _listable(self, session: Session, folder: Folder) -> bool:
        return self._refused_mono.get((session.serial, folder), 0.0) <= self._clock()

    async def _single(
        self,
        session: Session,
        folder: Folder,
        key: str,
        optional: bool,
        bound_s: float,
        limits: budget.Budget,
    ) -> Secret | None:
        try:
            with _at(folder.place(key)):
                return await self._cached(
                    self._gets,
                    (session.serial, folder, key),
                    lambda etag, own: self._store.get(session, folder, key, etag, own),
                    secrets.size_bytes,
                    bound_s,
                    limits,
                )
        except errors.SecretMissing:
            if optional:
                return None
            raise

    async def _listing(
        self, session: Session, folder: Folder, bound_s: float, limits: budget.Budget
    ) -> Listing:
        with _at(folder.place()):
            return await self._cached(
                self._lists,
                (session.serial, folder),
                lambda etag, own: self._store.list(session, folder, etag, own),
                Listing.size_bytes,
                bound_s,
                limits,
            )

    async def _cached(
        self,
        shared: flights.Flights[T],
        key: tuple[Hashable, ...],
        ask: Callable[[str, budget.Budget], Coroutine[Any, Any, Read[T]]],
        size: Callable[[T], int],
        bound_s: float,
        limits: budget.Budget,
    ) -> T:
        kept = self.kept.fresh(key, bound_s)
        if kept is not None:
            self._metrics.reads.labels("hit").inc()
            if isinstance(kept, errors.SecretMissing):
                # Never the same object again: a raised exception carries its way with it.
                raise errors.SecretMissing(kept.place, kept.answer)
            return kept  # type: ignore[no-any-return]
        leads = False

        async def work(own: budget.Budget) -> T:
            nonlocal leads
            leads = True
            return await self._ask(key, ask, size, own)

        try:
            return await shared.join(key, work, limits, oldest_s=bound_s)
        finally:
            if not leads:
                self._metrics.reads.labels("joined").inc()

    async def _ask(
        self,
        key: tuple[Hashable, ...],
        ask: Callable[[str, budget.Budget], Coroutine[Any, Any, Read[T]]],
        size: Callable[[T], int],
        limits: budget.Budget,
    ) -> T:
        # Taken before the question: an answer is as old as that.
        asked_mono = self._clock()
        old, etag = self.kept.validated(key)
        try:
            answer = await ask(etag, limits)
        except errors.SecretMissing as error:
            # Kept as briefly as a value, so that failing pods do not eat the server's limit.
            absent = errors.SecretMissing(error.place, error.answer)
            self.kept.put(key, absent, "", 200, asked_mono)
            raise
        except errors.ReadFailed:
            self.kept.forget(key)
            raise
        value: T = old if answer.value is None else answer.value
        self._metrics.reads.labels("unchanged" if answer.value is None else "read").inc()
        self.kept.put(key, value, answer.etag, size(value), asked_mono)
        return value


@contextlib.contextmanager
def _at(place: errors.Place) -> Iterator[None]:
    """Let failures say what was being read, those too that know servers only."""
    try:
        yield
    except errors.ProviderError as error:
        if not isinstance(error, errors.ReadFailed | errors.PlaceBroken):
            error.where = place
        raise


def _without_folder(folder: Folder, need: Needs, error: errors.SecretMissing) -> Merged:
    """Answer for a folder that does not exist: nothing, or a failure that names a key."""
    if need.optional:
        return {}
    wanted = next((key for key, optional in need.keys.items() if not optional), None)
    raise errors.SecretMissing(folder.place(wanted), error.answer) from None


async def _all(work: Iterable[Coroutine[Any, Any, T]]) -> list[T]:
    """Run side by side; at the first failure end the rest, and raise the first by order."""
    parts = list(work)
    if len(parts) < 2:
        return [await part for part in parts]
    tasks = [asyncio.ensure_future(part) for part in parts]
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_EXCEPTION)
        for task in tasks:
            if task.done() and not task.cancelled():
                task.result()
        return [task.result() for task in tasks]
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
