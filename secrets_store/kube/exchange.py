"""One call on the API server: as many tries as it is worth, within its deadline."""

import base64
import dataclasses
import http.client
import json
import logging
import random
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import urllib3
import urllib3.exceptions
import urllib3.util

from secrets_store import errors, log
from secrets_store.kube import access, bearer, faults, retry, transport

_log = log.get(__name__)

Json = dict[str, Any]
Observe = Callable[[str, str, str], None]
"""Called with method, host and code (the status, or ``<error>``) of every attempt."""

READ_SIZE = 65536
NO_ANSWER = "<error>"


@dataclasses.dataclass(frozen=True, slots=True)
class Call:
    """What is asked for.

    Attributes:
        method: HTTP method.
        target: Path and query.
        headers: Besides those of the identity.
        body: Object to send, None for none.
        repeatable: Sending it twice has the effect of sending it once.
        deadline_s: For all tries together.
    """

    method: str
    target: str
    headers: Mapping[str, str]
    body: Json | Sequence[Json] | None
    repeatable: bool
    deadline_s: float


@dataclasses.dataclass(slots=True)
class _Progress:
    """One call under way."""

    call: Call
    body: bytes | None
    ends_mono: float
    failures: int = 0
    dropped: int = 0
    token: str = ""
    reauthorised: bool = False


@dataclasses.dataclass(frozen=True, slots=True)
class _Failed:
    """A try that failed, and what it would be raised as."""

    outcome: retry.Outcome
    error: errors.ApiError


class Exchange:
    """Carries calls out; safe in any thread. Arguments as ``client.Client``."""

    def __init__(
        self,
        config: access.Config,
        *,
        user_agent: str,
        observe: Observe,
        pool_size: int,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], object] | None = None,
        uniform: Callable[[float, float], float] = random.uniform,
    ) -> None:
        self._observe, self._user_agent = observe, user_agent
        self._clock, self._uniform, self._pool_size = clock, uniform, pool_size
        self._closed = threading.Event()
        self._sleep = sleep or self._closed.wait
        self._basic = _basic(config)
        self.token = bearer.Token(config, clock)
        self.transport = transport.Transport(config, pool_size=pool_size)

    def run(self, call: Call) -> Json:
        """Return the answer's object.

        Raises: errors.ApiError.
        """
        body = None
        if call.body is not None:
            body = json.dumps(call.body, separators=(",", ":")).encode()
        progress = _Progress(call, body, self._clock() + call.deadline_s)
        while True:
            result = self._try(progress)
            if not isinstance(result, _Failed):
                return result
            self._before_next(progress, result)

    def now_mono(self) -> float:
        """Return the clock's seconds."""
        return self._clock()

    def identity(self, token: str) -> dict[str, str]:
        """Return the headers that say who asks."""
        headers = {"User-Agent": self._user_agent}
        if token:
            headers["Authorization"] = f"Bearer {token}"
        elif self._basic.open():
            headers["Authorization"] = self._basic.open()
        return headers

    def observe(self, method: str, code: str) -> None:
        """Count one try."""
        self._observe(method, self.transport.host, code)

    def close(self) -> None:
        """End waits between tries and close what is idle."""
        self._closed.set()
        self.transport.close()

    def _before_next(self, progress: _Progress, failed: _Failed) -> None:
        """Wait until the call may be sent again, or raise its error."""
        outcome = failed.outcome
        if outcome.status == 401 and not progress.reauthorised:
            progress.reauthorised = True
            if self.token.reload(progress.token):
                return
        if outcome.fault is retry.Fault.DROPPED_IDLE and progress.dropped < self._pool_size:
            # Each such fault uses up one kept connection, so a fresh one comes up soon.
            progress.dropped += 1
            return
        if not retry.worthwhile(outcome, repeatable=progress.call.repeatable):
            raise failed.error
        delay_s = retry.delay_s(outcome, progress.failures, self._uniform)
        progress.failures += 1
        if self._clock() + delay_s >= progress.ends_mono:
            raise failed.error
        self._sleep(delay_s)

    def _try(self, progress: _Progress) -> Json | _Failed:
        """Send the call once; what went wrong is returned, for it may not be worth raising."""
        started_mono = self._clock()
        if self._closed.is_set() or started_mono >= progress.ends_mono:
            why = "the client is closed" if self._closed.is_set() else "no time left for a request"
            return _Failed(retry.Outcome(retry.Fault.FINAL), errors.Unavailable(why))
        progress.token = self.token.get()
        status, content, after_s, cause = 0, b"", None, None
        try:
            response = self._send(progress, progress.ends_mono - started_mono)
            content = self._read(response)
            status, after_s = response.status, faults.retry_after_s(response.headers)
        except (urllib3.exceptions.HTTPError, http.client.HTTPException, OSError) as error:
            cause = faults.classify(error)
        self.observe(progress.call.method, str(status) if status else NO_ANSWER)
        self._log_try(progress.call, status, self._clock() - started_mono, cause)
        if cause is not None:
            # Not chained: an error of the HTTP library can hold what was sent.
            return _Failed(
                retry.Outcome(cause[0]),
                errors.Unavailable(f"API server: {cause[1]}", reason=cause[1]),
            )
        if 200 <= status < 300:
            return _parsed(content)
        return _Failed(
            retry.Outcome(status=status, retry_after_s=after_s),
            faults.from_answer(status, content, after_s),
        )

    def _send(self, progress: _Progress, left_s: float) -> urllib3.BaseHTTPResponse:
        call = progress.call
        return self.transport.pool.urlopen(
            call.method,
            call.target,
            body=progress.body,
            headers={**call.headers, **self.identity(progress.token)},
            retries=False,
            redirect=False,
            preload_content=False,
            timeout=urllib3.util.Timeout(
                total=left_s, connect=min(transport.CONNECT_TIMEOUT_S, left_s), read=left_s
            ),
            pool_timeout=left_s,  # type: ignore[arg-type]
        )

    def _read(self, response: urllib3.BaseHTTPResponse) -> bytes:
        parts = []
        try:
            while part := response.read1(READ_SIZE):
                parts.append(part)
        except BaseException:
            response.close()
            raise
        finally:
            # A closed connection goes back too: it holds a place in the pool.
            response.release_conn()
        return b"".join(parts)

    def _log_try(
        self, call: Call, status: int, took_s: float, cause: tuple[retry.Fault, str] | None
    ) -> None:
        if _log.isEnabledFor(logging.DEBUG):
            facts = log.pairs(
                method=call.method,
                path=call.target.partition("?")[0],
                status=status or None,
                fault=cause[1] if cause else None,
                ms=round(took_s * 1000, 1),
            )
            _log.debug("api request", extra=facts)


def _parsed(content: bytes) -> Json | _Failed:
    try:
        document = json.loads(content)
    except ValueError:
        document = None
    if isinstance(document, dict):
        return document
    # Not chained: the parser's error holds the whole text, which can be a Secret.
    return _Failed(
        retry.Outcome(retry.Fault.FINAL), errors.Unavailable("API server: answer is not JSON")
    )


def _basic(config: access.Config) -> log.Sealed[str]:
    if not config.username:
        return log.Sealed("")
    pair = f"{config.username}:{config.password.open()}".encode()
    return log.Sealed(f"Basic {base64.b64encode(pair).decode()}")
