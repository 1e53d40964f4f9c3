"""From a checked request to the content of its volume: window, login, reads, stand-ins.

This is the procedure of one Mount without its wire. It knows no KMS, only `backend.Backend`.
"""

import dataclasses
import datetime
import itertools
import secrets
import time
from collections.abc import Callable

from provider_kms import auth, budget, compute, errors, log, offline, reads, sealed, settings
from provider_kms.backend import Account
from provider_kms.cluster import Cluster
from provider_kms.metrics import Metrics
from provider_kms.model import files, window
from provider_kms.model.request import Request
from provider_kms.model.site import Site

DOWN_S = 30.0
"""How long a server that could not be reached is asked last."""

_REFUSALS = (
    *(errors.LoginRefused, errors.ReadFailed, errors.NothingMatched),
    *(errors.ValueHidden, errors.ApprovalPending),
)
"""What the KMS itself has said no by; memory gives nothing out after that."""

_log = log.get(__name__)


@dataclasses.dataclass(slots=True)
class Source:
    """Where a volume's content came from, for the audit line; filled in on the way."""

    site: str = ""
    login: str = ""
    offline_age_s: float | None = None


def _utc_now() -> datetime.datetime:
    return datetime.datetime.now(datetime.UTC)


class Fetcher:
    """Fetches volumes.

    Args:
        live: returns the settings in force.
        logins: sessions by account.
        reader: reads on behalf of sessions.
        cluster: the Kubernetes API, for opted-in features.
        answers: last good answers.
        metrics: offline and closed answers.
        clock: monotonic seconds.
        now: aware wall-clock time, for windows.
    """

    def __init__(
        self,
        live: Callable[[], settings.Settings],
        logins: auth.Logins,
        reader: reads.Reads,
        cluster: Cluster,
        answers: offline.Answers,
        metrics: Metrics,
        *,
        clock: Callable[[], float] = time.monotonic,
        now: Callable[[], datetime.datetime] = _utc_now,
    ) -> None:
        self._live, self._logins, self._reader = live, logins, reader
        self._cluster, self._answers, self._metrics = cluster, answers, metrics
        self._clock, self._now = clock, now
        self._down_until_mono: dict[Site, float] = {}
        self._salt = secrets.token_bytes(32)

    async def volume(self, request: Request, limits: budget.Budget, source: Source) -> files.Volume:
        """Return the content of one volume.

        Args:
            request: checked.
            limits: of this Mount.
            source: told where the content came from.

        Raises: errors.ProviderError of every kind.
        """
        if request.window_s is not None and not await self._open(request, limits):
            self._metrics.closed_answers.inc()
            return files.closed(request)
        stand_in = self._answers.find(request)
        if stand_in is not None:
            # Whoever has something to fall back on need not insist.
            limits.retries = min(limits.retries, 1)
        try:
            volume = await self._from_any_site(request, limits, source)
        except (errors.KmsUnavailable, errors.KmsTooSlow) as error:
            if stand_in is None:
                raise
            volume, source.offline_age_s = stand_in
            self._metrics.offline_answers.inc()
            _log.warning(
                "served from memory",
                extra=log.pairs(
                    pod=f"{request.pod.namespace}/{request.pod.name}",
                    ageSeconds=round(source.offline_age_s),
                    reason=str(error),
                ),
            )
            return volume.offline()
        except _REFUSALS:
            self._answers.forget(request)
            raise
        self._answers.keep(request, volume)
        return volume

    def sweep(self) -> None:
        """Forget what is over."""
        now = self._clock()
        for site in [site for site, until in self._down_until_mono.items() if until <= now]:
            del self._down_until_mono[site]
        self._answers.sweep()

    async def _open(self, request: Request, limits: budget.Budget) -> bool:
        assert request.window_s is not None
        pod = await self._cluster.pod(request.pod, limits)
        try:
            return window.is_open(pod, request.volume, request.window_s, self._now())
        except ValueError as error:
            raise errors.ClusterRefused("windowDuration", str(error)) from None

    async def _from_any_site(
        self, request: Request, limits: budget.Budget, source: Source
    ) -> files.Volume:
        """Try the servers in order; one that was out of reach lately comes last."""
        now = self._clock()
        order = sorted(request.sites, key=lambda site: self._down_until_mono.get(site, 0.0) > now)
        for site, following in itertools.pairwise(order):
            try:
                return await self._from_site(site, request, limits.copy(retries=0), source)
            except (errors.KmsUnavailable, errors.RateLimited) as error:
                self._down_until_mono[site] = self._clock() + DOWN_S
                _log.warning(
                    "KMS server is passed over",
                    extra=log.pairs(site=site, next=following, reason=str(error)),
                )
            except errors.KmsTooSlow:
                # There is no time left for another one, but the next Mount shall have it.
                self._down_until_mono[site] = self._clock() + DOWN_S
                raise
        return await self._from_site(order[-1], request, limits, source)

    async def _from_site(
        self, site: Site, request: Request, limits: budget.Budget, source: Source
    ) -> files.Volume:
        identity = request.identity
        account = Account(
            site=site,
            ca_pem=request.ca_pem,
            api_version=request.api_version,
            method=identity.method,
            identity=identity.id,
            audience=identity.audience,
            holder=identity.holder,
        )

        async def proof(own: budget.Budget) -> sealed.Sealed[str]:
            return await self._proof(request, own)

        source.site = site.authority
        needs = files.needs(request)
        live = self._live()
        bound_s = live.refresh_bound_s if request.refresh else live.cache_bound_s
        session, kept = await self._logins.session(account, proof, limits)
        source.login = "kept" if kept else "new"
        try:
            found = await self._reader.fetch(session, needs, bound_s, limits)
        except errors.AccessTokenRefused:
            self._logins.drop(session)
            self._reader.drop(session)
            if not kept:
                raise
            # A kept token may have been revoked or used up at any time: once more with a new one.
            session, _ = await self._logins.session(account, proof, limits)
            source.login = "renewed"
            try:
                found = await self._reader.fetch(session, needs, bound_s, limits)
            except errors.AccessTokenRefused:
                self._logins.drop(session)
                raise
        if any(entry.keys is not None for entry in request.entries):
            # Matching many keys takes a while, and other Mounts should not wait for it.
            return await compute.aside(files.build, request, found, self._salt)
        return files.build(request, found, self._salt)

    async def _proof(self, request: Request, limits: budget.Budget) -> sealed.Sealed[str]:
        if request.identity.proof is not None:
            return request.identity.proof
        if not self._live().allow_default_audience:
            hint = "; asking Kubernetes for one needs the provider's -allow-default-audience"
            raise errors.TokenAbsent("", (), hint)
        return await self._cluster.token(request.pod, limits)
