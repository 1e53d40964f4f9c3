"""The narrow Kubernetes API client: blocking, dicts in and out.

One Client serves all executor threads over a pool of at most eight kept connections; a watch has
a connection of its own. A call returns an object or raises one of ``errors.ApiError``'s classes
within its deadline, retries included. It knows paths and bodies, no kinds.
"""

import contextlib
import dataclasses
import random
import time
import urllib.parse
from collections.abc import Callable, Mapping, Sequence
from typing import Generic, Literal, TypeVar

from secrets_store import errors
from secrets_store.kube import access, exchange, stream

Json = exchange.Json
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

PATCH_TYPES = {
    "merge": "application/merge-patch+json",
    "strategic": "application/strategic-merge-patch+json",
    "json": "application/json-patch+json",
}

Observe = exchange.Observe
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


class Client:
    """Talk to one API server. Safe in any thread; makes no request before it is asked to.

    Args:
        config: Server and identity.
        user_agent: The header's value.
        observe: Told of every attempt, for ``rest_client_requests_total``; must be thread-safe.
        pool_size: Connections kept and used at once besides the watches.
        clock: Monotonic seconds.
        sleep: Waits between tries; by default a wait that ``close`` ends.
        uniform: Random number between two, for jitter.
    """

    def __init__(
        self,
        config: access.Config,
        *,
        user_agent: str,
        observe: Observe = _observe_nothing,
        pool_size: int = 8,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], object] | None = None,
        uniform: Callable[[float, float], float] = random.uniform,
    ) -> None:
        self._exchange = exchange.Exchange(
            config,
            user_agent=user_agent,
            observe=observe,
            pool_size=pool_size,
            clock=clock,
            sleep=sleep,
            uniform=uniform,
        )

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

        Raises: errors.ApiError: as ``get``; Gone only if the list expired three times
            while it was being read, each time starting over.
        """
        ends_mono = self._exchange.now_mono() + deadline_s
        for _ in range(RELISTS - 1):
            with contextlib.suppress(errors.Gone):
                return self._pages(path, params or {}, accept, project, ends_mono)
        return self._pages(path, params or {}, accept, project, ends_mono)

    def _pages(
        self,
        path: str,
        params: Params,
        accept: str,
        project: Callable[[Json], T],
        ends_mono: float,
    ) -> Listing[T]:
        query: dict[str, str | int] = {"limit": PAGE, **params}
        items: list[T] = []
        while True:
            left_s = ends_mono - self._exchange.now_mono()
            page = self._request("GET", path, query, accept, deadline_s=left_s)
            items += [project(item) for item in page.get("items") or ()]
            metadata = page.get("metadata") or {}
            if not metadata.get("continue"):
                return Listing(items, str(metadata.get("resourceVersion") or ""))
            query["continue"] = metadata["continue"]
            # The token names its version; the API server refuses both together.
            query.pop("resourceVersion", None)

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
        preconditions = {key: value for key, value in meant.items() if value is not None}
        options: Json | None = None
        if preconditions:
            options = {"kind": "DeleteOptions", "apiVersion": "v1", "preconditions": preconditions}
        return self._request(
            "DELETE",
            path,
            body=options,
            content_type=JSON if options else "",
            deadline_s=deadline_s,
        )

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
        link = self._exchange
        return stream.Watch(
            link.transport.connection(),
            _target(path, {**(params or {}), "watch": "1"}),
            lambda: {"Accept": accept, **link.identity(link.token.get())},
            silence_s=silence_s,
            observe=lambda code: link.observe("GET", code),
            refused=link.token.reload,
        )

    def close(self) -> None:
        """Close the pool and end waits between tries; a request in flight ends by its deadline."""
        self._exchange.close()

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
        headers = {"Accept": accept}
        if content_type:
            headers["Content-Type"] = content_type
        target = _target(path, params or {})
        return self._exchange.run(
            exchange.Call(method, target, headers, body, repeatable, deadline_s)
        )


def _target(path: str, params: Params) -> str:
    return f"{path}?{urllib.parse.urlencode(params)}" if params else path
