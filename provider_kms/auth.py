"""Logins: made once for all who may share one, kept in memory for most of their life.

A login is shared by everybody with an equal `backend.Account`: same server and certificates, same
identity and audience, same service account. It is kept for 80 % of its life and never renewed: by
default a renewal passes the token's greatest age, and the server then deletes a token that was
still good. The loop owns everything here.
"""

import collections
import time
from collections.abc import Awaitable, Callable

from provider_kms import budget, errors, flights, log, sealed
from provider_kms.backend import Account, Backend, Session
from provider_kms.metrics import Metrics

MOST_LOGINS = 1024
LIFE_USED = 0.8
"""Share of a token's life after which a new login is made."""

_log = log.get(__name__)

Proof = Callable[[budget.Budget], Awaitable[sealed.Sealed[str]]]
"""Yields the pod's token or client secret, when a login really needs it."""


class Logins:
    """Sessions by account.

    Args:
        store: logs in.
        longest_s: returns the longest use of one login in seconds, whatever its life.
        metrics: logins, their number and age.
        clock: monotonic seconds.
    """

    def __init__(
        self,
        store: Backend,
        longest_s: Callable[[], float],
        metrics: Metrics,
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._store, self._longest_s = store, longest_s
        self._metrics, self._clock = metrics, clock
        self._flights: flights.Flights[Session] = flights.Flights("login", clock)
        self._kept: collections.OrderedDict[Account, tuple[Session, float]]
        self._kept = collections.OrderedDict()

    async def session(
        self, account: Account, proof: Proof, limits: budget.Budget
    ) -> tuple[Session, bool]:
        """Return a session and whether it comes from memory, so that it may be stale.

        Raises: what `backend.Backend.login` and `proof` raise.
        """
        found = self._kept.get(account)
        if found is not None and self._usable(*found):
            self._kept.move_to_end(account)
            self._metrics.login_reuses.inc()
            return found[0], True
        leads = False

        async def work(own: budget.Budget) -> Session:
            nonlocal leads
            leads = True
            return await self._login(account, proof, own)

        try:
            return await self._flights.join(account, work, limits), False
        except (errors.PodTokenRefused, errors.ClusterRefused):
            # Another pod's token was at fault, or that pod is gone. This says nothing of ours, but
            # if all are alike, one more login for all must do.
            if leads:
                raise
        return await self._flights.join(account, work, limits), False

    def drop(self, session: Session) -> None:
        """Forget a session that the server no longer takes, unless a newer one is here."""
        found = self._kept.get(session.account)
        if found is not None and found[0] is session:
            del self._kept[session.account]

    def sweep(self) -> None:
        """Forget sessions past their use; tell the metrics."""
        for account, found in list(self._kept.items()):
            if not self._usable(*found):
                del self._kept[account]
        now = self._clock()
        ages = [now - made_mono for _, made_mono in self._kept.values()]
        self._metrics.tokens.set(len(ages))
        self._metrics.token_age.set(max(ages, default=0.0))

    def __len__(self) -> int:
        return len(self._kept)

    async def _login(self, account: Account, proof: Proof, limits: budget.Budget) -> Session:
        # Taken before the request: the life that the server tells began after that.
        made_mono = self._clock()
        try:
            session = await self._store.login(account, await proof(limits), limits)
        except errors.ProviderError as error:
            self._metrics.logins.labels(error.reason).inc()
            raise
        self._metrics.logins.labels("ok").inc()
        _log.debug(
            "logged in",
            extra=log.pairs(
                site=account.site, identity=account.identity, lifetimeSeconds=session.lifetime_s
            ),
        )
        self._kept[account] = (session, made_mono)
        if len(self._kept) > MOST_LOGINS:
            self._kept.popitem(last=False)
        return session

    def _usable(self, session: Session, made_mono: float) -> bool:
        use_s = self._longest_s()
        if session.lifetime_s > 0:
            # Servers count in whole seconds, so a short life may end up to one earlier.
            use_s = min(use_s, session.lifetime_s * LIFE_USED, session.lifetime_s - 1.0)
        return self._clock() - made_mono < use_s
