"""The narrow Kubernetes API client: blocking, dicts in and out.

One Client serves all executor threads over a pool of at most eight kept connections; a watch has
a connection of its own. A call returns an object or raises one of ``errors.ApiError``'s classes
within its deadline, retries included. It knows paths and bodies, no kinds.
"""

import base64
import dataclasses
import http.client
import json
import logging
import random as random_module
import threading
import time
import urllib.parse
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Generic, Literal, TypeVar

import urllib3
import urllib3.exceptions
import urllib3.util

from secrets_store import errors, log
from secrets_store.kube import credentials, faults, retry, stream, transport

_log = log.get(__name__)

Json = dict[str, Any]
Params = Mapping[str, str | int]
T = TypeVar("T")

JSON = "application/json"
METADATA = "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1"
"""Accept of a GET or watch that wants metadata only."""
METADATA_LIST = "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1"
"""Accept of a list that wants metadata only."""

DEADLINE_S = 10.0
PAGE = 100
RELISTS = 3
READ_SIZE = 65536

PATCH_TYPES = {
    "merge": "application/merge-patch+json",
    "strategic": "application/strategic-merge-patch+json",
    "json": "application/json-patch+json",
}

Observe = Callable[[str, str, str], None]
"""Called with method, host and code (the status, or ``<error>``) of every attempt."""


def _observe_nothing(method: str, host: str, code: str) -> None:
    pass


@dataclasses.dataclass(frozen=True, slots=True)
class Listing(Generic[T]):
    """A list read to its end.

    Attributes:
        items: What ``project`` made of each object.
        resource_version: Version of the collection, where a watch can go on.
    """

    items: list[T]
    resource_version: str


@dataclasses.dataclass(slots=True)
class _Call:
    """One call in progress: what is sent, and what is left of its time."""

    method: str
    target: str
    headers: dict[str, str]
    body: bytes | None
    repeatable: bool
    ends_mono: float
    attempt: int = 0
    dropped: int = 0
    token: str = ""
    reauthorised: bool = False


@dataclasses.dataclass(frozen=True, slots=True)
class _Failed:
    """An attempt that failed, and what it would be raised as."""

    outcome: retry.Outcome
    error: errors.ApiError


class Client:
    """Talk to one API server. Safe in any thread; makes no request before it is asked to.

    Args:
        config: Server and identity.
        user_agent: The header's value.
        observe: Told of every attempt, for ``rest_client_requests_total``; must be thread-safe.
        pool_size: Connections kept and used at once besides the watches.
        clock: Monotonic seconds.
        sleep: Waits between tries; by default a wait that ``close`` ends.
        random: Uniform in [0, 1), for jitter.
    """

    def __init__(
        self,
        config: credentials.Config,
        *,
        user_agent: str,
        observe: Observe = _observe_nothing,
        pool_size: int = 8,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], object] | None = None,
        random: Callable[[], float] = random_module.random,
    ) -> None:
        self._user_agent, self._observe = user_agent, observe
        self._clock, self._random = clock, random
        self._pool_size = pool_size
        self._closed = threading.Event()
        self._sleep = sleep or self._closed.wait
        self._token = credentials.Token(config, clock)
        self._basic = _basic(config)
        self._transport = transport.Transport(config, pool_size=pool_size)

    def get(
        self,
        path: str,
        *,
        params: Params | None = None,
        accept: str = JSON,
        deadline_s: float = DEADLINE_S,
    ) -> Json:
        """Return one object, or one page of a list.

        Raises: errors.ApiError: NotFound, Forbidden, Unavailable and the like.
        """
        return self._request("GET", path, params=params, accept=accept, deadline_s=deadline_s)

    def list(
        self,
        path: str,
        *,
        params: Params | None = None,
        accept: str = JSON,
        project: Callable[[Json], T],
        deadline_s: float = 3 * DEADLINE_S,
    ) -> Listing[T]:
        """Read a collection page by page.

        Args:
            path: The collection.
            params: Selectors, ``resourceVersion``; ``limit`` is 100 unless given.
            accept: What form the list is to have.
            project: Keeps what is needed of each object; the pages themselves are let go.
            deadline_s: For all pages together.

        Raises: errors.ApiError: as ``get``; Gone only if the list expired three times.
        """
        ends_mono = self._clock() + deadline_s
        for attempt in range(1, RELISTS + 1):
            query: dict[str, str | int] = {"limit": PAGE, **(params or {})}
            items: list[T] = []
            try:
                while True:
                    left_s = ends_mono - self._clock()
                    page = self._request("GET", path, query, accept, deadline_s=left_s)
                    items += [project(item) for item in page.get("items") or ()]
                    metadata = page.get("metadata") or {}
                    if not metadata.get("continue"):
                        return Listing(items, str(metadata.get("resourceVersion") or ""))
                    query["continue"] = metadata["continue"]
                    # The token names its version; the API server refuses both together.
                    query.pop("resourceVersion", None)
            except errors.Gone:
                # The token has outlived its version; what was read so far is of no use.
                if attempt == RELISTS or "continue" not in query:
                    raise
        raise AssertionError("unreachable")

    def create(self, path: str, body: Json, *, deadline_s: float = DEADLINE_S) -> Json:
        """Create an object in the collection ``path``.

        When the connection breaks after the request was sent, the object may or may not exist;
        that is Unavailable, and the caller's next create may be answered AlreadyExists by its own
        first one. A request on a kept connection that closes without an answer is sent again, so
        AlreadyExists can rarely mean the same within one call.

        Raises: errors.ApiError: AlreadyExists, Rejected, Forbidden, Unavailable.
        """
        return self._request(
            "POST", path, body=body, content_type=JSON, repeatable=False, deadline_s=deadline_s
        )

    def update(self, path: str, body: Json, *, deadline_s: float = DEADLINE_S) -> Json:
        """Replace an object; ``metadata.resourceVersion`` in the body guards against others.

        An attempt that was carried out although its answer was lost makes the repeated one a
        Conflict: re-read and compare, as after any Conflict.

        Raises: errors.ApiError: NotFound, Conflict, Rejected, Forbidden, Unavailable.
        """
        return self._request("PUT", path, body=body, content_type=JSON, deadline_s=deadline_s)

    def patch(
        self,
        path: str,
        body: Json | Sequence[Json],
        *,
        kind: Literal["merge", "strategic", "json"] = "merge",
        deadline_s: float = DEADLINE_S,
    ) -> Json:
        """Change part of an object.

        Args:
            path: The object.
            body: An object for merge and strategic, a sequence of operations for json.
            kind: Custom resources know no strategic merge.
            deadline_s: For all tries together.

        Raises: errors.ApiError: as ``update``; Conflict if the body holds an old resourceVersion.
        """
        return self._request(
            "PATCH",
            path,
            body=body,
            content_type=PATCH_TYPES[kind],
            # A JSON patch may append to a list.
            repeatable=kind != "json",
            deadline_s=deadline_s,
        )

    def delete(
        self,
        path: str,
        *,
        uid: str | None = None,
        resource_version: str | None = None,
        deadline_s: float = DEADLINE_S,
    ) -> Json:
        """Delete an object, if it is still the one meant.

        Raises: errors.ApiError: NotFound, also when the repeated attempt finds it gone;
            Conflict if uid or resource version differ.
        """
        meant = {"uid": uid, "resourceVersion": resource_version}
        options: Json = {"kind": "DeleteOptions", "apiVersion": "v1"}
        if preconditions := {key: value for key, value in meant.items() if value is not None}:
            options["preconditions"] = preconditions
        return self._request("DELETE", path, body=options, content_type=JSON, deadline_s=deadline_s)

    def watch(
        self,
        path: str,
        *,
        params: Params | None = None,
        accept: str = JSON,
        silence_s: float = 330.0,
    ) -> stream.Watch:
        """Return a watch of a collection, not yet open: use it as a context manager.

        Args:
            path: The collection.
            params: ``resourceVersion``, ``timeoutSeconds``, selectors.
            accept: What form the objects are to have.
            silence_s: So long no byte may come; above ``timeoutSeconds``.
        """
        query = {**(params or {}), "watch": "1"}
        return stream.Watch(
            self._transport.connection(transport.CONNECT_TIMEOUT_S),
            _target(path, query),
            lambda: self._headers(accept, self._token.get()),
            silence_s=silence_s,
            observe=lambda code: self._observe("GET", self._transport.host, code),
            refused=self._token.reload,
        )

    def close(self) -> None:
        """Close the pool and end waits between tries; a request in flight ends by its deadline."""
        self._closed.set()
        self._transport.close()

    def _request(
        self,
        method: str,
        path: str,
        params: Params | None = None,
        accept: str = JSON,
        *,
        body: Json | Sequence[Json] | None = None,
        content_type: str = "",
        repeatable: bool = True,
        deadline_s: float,
    ) -> Json:
        headers = {"Content-Type": content_type} if content_type else {}
        call = _Call(
            method=method,
            target=_target(path, params or {}),
            headers=headers | {"Accept": accept},
            body=None if body is None else json.dumps(body, separators=(",", ":")).encode(),
            repeatable=repeatable,
            ends_mono=self._clock() + deadline_s,
        )
        while True:
            failed = self._try(call)
            if not isinstance(failed, _Failed):
                return failed
            self._before_next(call, failed)

    def _before_next(self, call: _Call, failed: _Failed) -> None:
        """Wait until the call may be sent again, or raise its error."""
        outcome = failed.outcome
        if outcome.status == 401 and not call.reauthorised and self._token.reload(call.token):
            call.reauthorised = True
            return
        if outcome.fault is retry.Fault.DROPPED_IDLE and call.dropped < self._pool_size:
            # Each such fault uses up one kept connection, so a fresh one comes up soon.
            call.dropped += 1
            return
        call.attempt += 1
        if not retry.worthwhile(outcome, repeatable=call.repeatable):
            raise failed.error
        delay_s = retry.delay_s(outcome, call.attempt, self._random)
        if self._clock() + delay_s >= call.ends_mono:
            raise failed.error
        self._sleep(delay_s)

    def _try(self, call: _Call) -> Json | _Failed:
        """Send the call once; what went wrong is returned, for it need not be raised."""
        left_s = call.ends_mono - self._clock()
        if self._closed.is_set() or left_s <= 0:
            why = "the client is closed" if self._closed.is_set() else "no time left for a request"
            return _Failed(retry.Outcome(retry.Fault.FINAL), errors.Unavailable(why))
        call.token = self._token.get()
        started_mono = self._clock()
        status, content, cause = 0, b"", None
        answer_headers: Mapping[str, str] = {}
        try:
            response = self._transport.pool.urlopen(
                call.method,
                call.target,
                body=call.body,
                headers=call.headers | self._identity(call.token),
                retries=False,
                redirect=False,
                preload_content=False,
                timeout=urllib3.util.Timeout(
                    connect=min(transport.CONNECT_TIMEOUT_S, left_s), read=left_s
                ),
                pool_timeout=left_s,  # type: ignore[arg-type]
            )
            content = self._read(response, call.ends_mono)
            status, answer_headers = response.status, response.headers
        except (urllib3.exceptions.HTTPError, http.client.HTTPException, OSError) as error:
            cause = faults.classify(error)
        self._tell(call, status, self._clock() - started_mono, cause[1] if cause else None)
        if cause is not None:
            # Raised later and elsewhere: an error of the HTTP library can hold what was sent.
            fault, name = cause
            return _Failed(
                retry.Outcome(fault), errors.Unavailable(f"API server: {name}", reason=name)
            )
        if 200 <= status < 300:
            return _parsed(content)
        after_s = faults.retry_after_s(answer_headers)
        return _Failed(
            retry.Outcome(status=status, retry_after_s=after_s),
            faults.from_answer(status, content, after_s),
        )

    def _read(self, response: urllib3.BaseHTTPResponse, ends_mono: float) -> bytes:
        """Read an answer to its end, however slowly it drips, but not beyond the deadline."""
        parts = []
        try:
            while part := response.read1(READ_SIZE):
                parts.append(part)
                left_s = ends_mono - self._clock()
                if left_s <= 0:
                    raise TimeoutError
                open_socket = getattr(response.connection, "sock", None)
                if open_socket is not None:
                    open_socket.settimeout(left_s)
        except BaseException:
            response.close()
            raise
        finally:
            # A closed connection goes back too: it holds a place in the pool.
            response.release_conn()
        return b"".join(parts)

    def _tell(self, call: _Call, status: int, took_s: float, fault: str | None) -> None:
        self._observe(call.method, self._transport.host, str(status) if status else "<error>")
        if _log.isEnabledFor(logging.DEBUG):
            facts = log.pairs(
                method=call.method,
                path=call.target.partition("?")[0],
                status=status or None,
                fault=fault,
                ms=round(took_s * 1000, 1),
            )
            _log.debug("api request", extra=facts)

    def _headers(self, accept: str, token: str) -> dict[str, str]:
        return {"Accept": accept} | self._identity(token)

    def _identity(self, token: str) -> dict[str, str]:
        identity = {"User-Agent": self._user_agent}
        if token:
            identity["Authorization"] = f"Bearer {token}"
        elif self._basic.open():
            identity["Authorization"] = self._basic.open()
        return identity


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


def _target(path: str, params: Params) -> str:
    return f"{path}?{urllib.parse.urlencode(params)}" if params else path


def _basic(config: credentials.Config) -> log.Sealed[str]:
    if not config.username:
        return log.Sealed("")
    pair = f"{config.username}:{config.password.open()}".encode()
    return log.Sealed(f"Basic {base64.b64encode(pair).decode()}")
