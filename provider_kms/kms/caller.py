"""From one question to one answer worth reading: connections, retries, limits, deadlines.

Retried are connections that fail, answers that break off, 429, 5xx, and the logins that the KMS
refuses with 400 because it could not reach the cluster's API server. Everything else is final and
goes back to `api`. Waits have full jitter; a time that the server names is kept, and shared by all
who ask the same server. A wait that does not fit the budget is not begun.
"""

import asyncio
import email.utils
import random
import time
from collections.abc import Awaitable, Callable, Iterable
from typing import Protocol

from provider_kms import budget, errors, log
from provider_kms.backend import Account
from provider_kms.http1 import client as http_client
from provider_kms.http1 import connection
from provider_kms.kms import answers
from provider_kms.metrics import Metrics

LOGIN, UNIVERSAL_LOGIN, GET, LIST = "login", "universal-login", "get", "list"
_BUCKETS = {LOGIN: "write", UNIVERSAL_LOGIN: "write", GET: "secrets", LIST: "secrets"}
"""The server counts logins and reads apart."""

_FIRST_WAIT_S, _LONGEST_WAIT_S = 0.5, 8.0
_LIMIT_WAIT_S = 60.0
"""The server's window, if a 429 does not say how long to wait."""
_LONGEST_RETRY_AFTER_S = 3600.0

_log = log.get(__name__)


class Pools(Protocol):
    """Where connections to a site come from."""

    async def client(self, account: Account) -> http_client.Client:
        """Return the client for an account's site and certificates.

        Raises: errors.InvalidRequest: the certificates cannot be read.
        """


class Caller:
    """Asks, and asks again where that makes sense.

    Args:
        pools: connections.
        metrics: requests and their times.
        clock: monotonic seconds.
        sleep: waits.
        chance: a number in [0, 1).
    """

    def __init__(
        self,
        pools: Pools,
        metrics: Metrics,
        *,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        chance: Callable[[], float] = random.random,
    ) -> None:
        self._pools, self._metrics, self._clock = pools, metrics, clock
        self._sleep, self._chance = sleep, chance
        self._held_until_mono: dict[tuple[str, str], float] = {}

    async def __call__(
        self,
        route: str,
        account: Account,
        request: http_client.Request,
        limits: budget.Budget,
        hide: Iterable[str],
    ) -> http_client.Response:
        """Return an answer that is neither a limit nor a server's failure.

        Raises: errors.KmsUnavailable, errors.RateLimited, errors.KmsTooSlow,
            errors.CertificateRefused, errors.NotKmsAnswer, errors.AnswerTooLarge,
            errors.InvalidRequest.
        """
        client = await self._pools.client(account)
        attempt = 0
        failure: errors.ProviderError | None = None
        while True:
            attempt += 1
            await self._respect_limit(route, account, limits)
            try:
                response = await self._exchange(client, route, account, request, limits)
            except errors.KmsTooSlow as error:
                if limits.remaining_s() > 0:
                    # Somebody with more time has joined since this request was sent.
                    attempt -= 1
                    continue
                # What went wrong before says more than that there was no time for more.
                raise failure or error from None
            except errors.KmsUnavailable as error:
                failure, wait_s = error, error.retry_after_s
            else:
                found = self._failure(route, account, response, hide)
                if found is None:
                    return response
                failure, wait_s = found, found.retry_after_s
            if isinstance(failure, errors.KmsUnavailable):
                failure.attempts = attempt
                if failure.final:
                    raise failure
            if attempt > limits.retries:
                raise failure
            await self._pause(route, account, failure, attempt, wait_s, limits)

    async def _exchange(
        self,
        client: http_client.Client,
        route: str,
        account: Account,
        request: http_client.Request,
        limits: budget.Budget,
    ) -> http_client.Response:
        host = account.site.authority
        started = self._clock()
        code = "cancelled"
        try:
            response = await client.exchange(request, limits.remaining_s())
            code = str(response.status)
            return response
        except TimeoutError:
            code = "deadline"
            raise errors.KmsTooSlow(f"KMS {host} has not answered") from None
        except connection.Unreachable as error:
            code = "unreachable"
            raise errors.KmsUnavailable(host, str(error), final=error.final) from None
        except http_client.Broken as error:
            code = "broken"
            raise errors.KmsUnavailable(host, str(error)) from None
        except connection.CertificateRefused as error:
            code = "certificate"
            raise errors.CertificateRefused(host, str(error)) from None
        except http_client.TooLarge:
            code = "too-large"
            limit = http_client.LARGEST_BODY_BYTES
            raise errors.AnswerTooLarge(
                f"an answer of KMS {host}", "more", limit, "split the folder"
            ) from None
        finally:
            took = self._clock() - started
            self._metrics.requests.labels(route, code).inc()
            self._metrics.request_seconds.labels(route).observe(took)
            _log.debug(
                "KMS request", extra=log.pairs(route=route, host=host, code=code, seconds=took)
            )

    def _failure(
        self, route: str, account: Account, response: http_client.Response, hide: Iterable[str]
    ) -> errors.ProviderError | None:
        """Return what makes an answer worth another try, or None."""
        status, host = response.status, account.site.authority
        if status != 429 and status < 500 and not (status == 400 and route == LOGIN):
            return None
        answer = answers.refusal(status, response.body, hide)
        request_id = answer.request_id if answer else ""
        wait_s = _retry_after(response, time.time())
        if status == 429:
            if wait_s is None:
                wait_s = _LIMIT_WAIT_S
            key = (str(account.site), _BUCKETS[route])
            until = self._clock() + wait_s
            self._held_until_mono[key] = max(until, self._held_until_mono.get(key, 0.0))
            return errors.RateLimited(host, wait_s, request_id)
        if status == 400:
            if answer is None or not _transient(answer.error):
                return None
            problem = f"it cannot review the pod's token now: {answer}"
        else:
            problem = str(answer or errors.Answer(status))
        failure = errors.KmsUnavailable(host, problem)
        failure.retry_after_s, failure.request_id = wait_s, request_id
        return failure

    async def _respect_limit(self, route: str, account: Account, limits: budget.Budget) -> None:
        key = (str(account.site), _BUCKETS[route])
        while (left_s := self._held_until_mono.get(key, 0.0) - self._clock()) > 0:
            if left_s >= limits.remaining_s():
                raise errors.RateLimited(account.site.authority, left_s)
            # All who wait for the same window must not come back in the same instant.
            await self._sleep(min(left_s + self._chance() * 0.25, limits.remaining_s()))
        self._held_until_mono.pop(key, None)

    async def _pause(
        self,
        route: str,
        account: Account,
        failure: errors.ProviderError,
        attempt: int,
        wait_s: float | None,
        limits: budget.Budget,
    ) -> None:
        if isinstance(failure, errors.RateLimited):
            # The wait itself is in _respect_limit, where others wait too.
            if (wait_s or 0.0) >= limits.remaining_s():
                raise failure
            return
        if wait_s is None:
            ceiling_s = min(_LONGEST_WAIT_S, _FIRST_WAIT_S * 2 ** (attempt - 1))
            wait_s = self._chance() * ceiling_s
        if wait_s >= limits.remaining_s():
            raise failure
        _log.warning(
            "KMS request will be tried again",
            extra=log.pairs(
                route=route, host=account.site.authority, reason=str(failure), waitSeconds=wait_s
            ),
        )
        await self._sleep(wait_s)

    def sweep(self) -> None:
        """Forget limits that are over."""
        now = self._clock()
        for key in [key for key, until in self._held_until_mono.items() if until <= now]:
            del self._held_until_mono[key]


def _transient(error: str) -> bool:
    """Tell whether a login's 400 is the KMS's own trouble with the cluster or a gateway."""
    return error.startswith(("Kubernetes", "Gateway")) and error.endswith(
        ("Refused", "NotFound", "Timeout", "ConnectionError")
    )


def _retry_after(response: http_client.Response, now: float) -> float | None:
    """Return seconds to wait as the server names them, or None.

    Source: RFC 9110 section 10.2.3; x-ratelimit-reset counts seconds too.
    """
    text = response.headers.get("retry-after", "").strip()
    if not text and response.status == 429:
        text = response.headers.get("x-ratelimit-reset", "").strip()
    if text.isascii() and text.isdigit():
        return min(float(text[:9]), _LONGEST_RETRY_AFTER_S)
    until = _timestamp(text)
    if until is None:
        return None
    # By the server's own clock where it tells it: ours may go wrong by more than the wait.
    said_at = _timestamp(response.headers.get("date", ""))
    return min(max(until - (now if said_at is None else said_at), 0.0), _LONGEST_RETRY_AFTER_S)


def _timestamp(date: str) -> float | None:
    try:
        return email.utils.parsedate_to_datetime(date).timestamp()
    except (ValueError, OverflowError):
        return None
