"""The server itself: a thread with a loop, its sockets, and the handles tests hold."""

import asyncio
import concurrent.futures
import functools
import pathlib
import secrets
import socket
import ssl
import threading
import urllib.parse
from collections.abc import Callable
from types import TracebackType
from typing import Any, Self, TypeVar

from devkit.apiserver import (
    calls,
    certificates,
    crds,
    dispatch,
    documents,
    faults,
    http,
    identity,
    kubeconfig,
    objects,
    reading,
    removal,
    requestlog,
    routes,
    store,
    tokens,
    writing,
)
from devkit.apiserver.kinds import catalog

_NAMESPACES = ("default", "kube-system", "kube-public", "kube-node-lease")
_BACKLOG = 1024
T = TypeVar("T")


class _AllowAll:
    def refusal(self, user: calls.User, route: routes.Route) -> str:
        return ""


class APIServer:
    """A stand-in for kube-apiserver on loopback.

    Args:
        port: port for HTTP; 0 lets the system choose. Paths and answers are the same with HTTPS.
        tls: also serve HTTPS on a port of its own; kubectl sends its token only there.
        bookmark_interval_s: time between the bookmarks of a watch.
        history_limit: changes kept for watches.
        secrets_store: install the CRDs of SecretProviderClass and its pod status.
    """

    def __init__(
        self,
        *,
        port: int = 0,
        tls: bool = True,
        bookmark_interval_s: float = 60.0,
        history_limit: int = 20_000,
        secrets_store: bool = True,
    ) -> None:
        self._ports = {"http": port, "https": 0}
        self._tls = tls
        self._serving: certificates.Serving | None = None
        self.requests = requestlog.RequestLog()
        self.faults = faults.Faults()
        self.admin_token = secrets.token_hex(16)
        self._store = store.Store(history_limit)
        self._kinds = catalog.Catalog(self._store)
        self._issuer = tokens.Issuer("https://kubernetes.default.svc.cluster.local")
        self._authenticator = identity.Authenticator(self._issuer, self._store)
        self._authenticator.add(self.admin_token, calls.ADMIN)
        self._remover = removal.Remover(self._store)
        self._dispatcher = dispatch.Dispatcher(
            self._kinds,
            reading.Reader(self._store, bookmark_interval_s, self._kinds.columns),
            writing.Writer(self._store, self._remover, self._kinds.storage_version),
            self._remover,
            self._authenticator,
            _AllowAll(),
            documents.Documents(self._kinds, self._issuer),
            {},
            self.faults,
            self.requests,
        )
        self._connections = http.Connections()
        self._listeners: list[asyncio.Server] = []
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None
        self._seed(secrets_store=secrets_store)

    def _seed(self, *, secrets_store: bool) -> None:
        for name in _NAMESPACES:
            self.create({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}})
        if secrets_store:
            for crd in crds.secrets_store_crds():
                self.create(crd)

    def start(self) -> Self:
        """Listen and serve from a thread of its own. Raises: OSError: the port is taken."""
        ready: concurrent.futures.Future[None] = concurrent.futures.Future()
        self._thread = threading.Thread(
            target=self._run, args=(ready,), name="devkit-apiserver", daemon=True
        )
        self._thread.start()
        ready.result()
        return self

    def _run(self, ready: concurrent.futures.Future[None]) -> None:
        with asyncio.Runner() as runner:
            self._loop = runner.get_loop()
            stopped = asyncio.Event()
            self._stop_loop = stopped.set
            try:
                runner.run(self._listen())
            except OSError as error:
                ready.set_exception(error)
                return
            ready.set_result(None)
            runner.run(self._serve_until(stopped))

    async def _serve_until(self, stopped: asyncio.Event) -> None:
        await stopped.wait()
        self._refuse()
        await self._connections.closed()

    async def _listen(self) -> None:
        loop = asyncio.get_running_loop()
        for scheme in ("http", "https") if self._tls else ("http",):
            listening = socket.create_server(("127.0.0.1", self._ports[scheme]), backlog=_BACKLOG)
            self._ports[scheme] = listening.getsockname()[1]
            listener = await loop.create_server(
                self._connect,
                sock=listening,
                backlog=_BACKLOG,
                ssl=self._tls_context() if scheme == "https" else None,
            )
            self._listeners.append(listener)

    def _tls_context(self) -> ssl.SSLContext:
        # Kept over a pause: clients go on trusting the same authority.
        if self._serving is None:
            self._serving = certificates.make()
        return self._serving.context()

    def _connect(self) -> http.Connection:
        return http.Connection(self._dispatcher.serve, self._connections)

    def _refuse(self) -> None:
        for listener in self._listeners:
            listener.close()
        self._listeners.clear()
        self._connections.abort()

    def stop(self) -> None:
        """Drop all connections and end the thread; a stopped server stays stopped."""
        if self._thread is None:
            return
        assert self._loop is not None
        self._loop.call_soon_threadsafe(self._stop_loop)
        self._thread.join()
        self._thread = None

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()

    def _do(self, function: Callable[[], T]) -> T:
        """Call a function on the loop's thread and return its result."""
        if self._thread is None:
            return function()
        assert self._loop is not None
        done: concurrent.futures.Future[T] = concurrent.futures.Future()

        def run() -> None:
            try:
                done.set_result(function())
            except BaseException as error:
                done.set_exception(error)

        self._loop.call_soon_threadsafe(run)
        return done.result()

    @property
    def url(self) -> str:
        """Where HTTP is served."""
        return f"http://127.0.0.1:{self._ports['http']}"

    @property
    def tls_url(self) -> str:
        """Where HTTPS is served, with a certificate signed by `ca_pem`."""
        return f"https://127.0.0.1:{self._ports['https']}"

    @property
    def ca_pem(self) -> bytes:
        assert self._serving is not None, "the server has not been started with TLS"
        return self._serving.ca_pem

    def add_user(self, token: str, name: str, groups: tuple[str, ...] = ()) -> None:
        """Accept a bearer token as a user; every user is in system:authenticated."""
        user = calls.User(name, groups=(*groups, "system:authenticated"))
        self._authenticator.add(token, user)

    def kubeconfig(self, path: pathlib.Path, *, token: str = "", tls: bool = True) -> pathlib.Path:
        """Write a kubeconfig file and return its path.

        Args:
            path: the file.
            token: whose credentials; the administrator's if empty.
            tls: name the HTTPS port. Over HTTP kubectl sends no token and is anonymous.
        """
        token = token or self.admin_token
        if not tls:
            return kubeconfig.write(path, self.url, token=token)
        return kubeconfig.write(path, self.tls_url, token=token, ca_pem=self.ca_pem)

    def pause(self) -> None:
        """Go away: drop all connections and refuse new ones until `resume`."""
        self._do(self._refuse)

    def resume(self) -> None:
        """Listen again on the same ports."""
        assert self._loop is not None
        asyncio.run_coroutine_threadsafe(self._listen(), self._loop).result()

    def compact(self) -> None:
        """Forget the history: watches and list pages from before are answered Gone."""
        self._do(self._store.compact)

    @property
    def watches(self) -> int:
        """How many watches are open."""
        return self._do(lambda: len(self._dispatcher.watches))

    def cut_watches(self) -> int:
        """Drop the connections of all watches; return how many there were."""

        def cut() -> int:
            watches = tuple(self._dispatcher.watches)
            for watch in watches:
                watch.cut()
            return len(watches)

        return self._do(cut)

    def send_bookmarks(self) -> None:
        """Send a bookmark now on every watch that allows them."""

        def send() -> None:
            for watch in tuple(self._dispatcher.watches):
                watch.send_bookmark_now()

        self._do(send)

    def request(
        self,
        method: str,
        target: str,
        body: Any = None,
        content_type: str = "application/json",
    ) -> objects.Object:
        """Do a request as administrator without a socket; it is not in the request log.

        Args:
            target: path and query.
            body: JSON value.
        Returns: the decoded answer.
        Raises: errors.StatusError: as the answer's Status says.
        """
        path, _, query = target.partition("?")
        request = http.Request(
            method,
            urllib.parse.unquote(path),
            dict(urllib.parse.parse_qsl(query, keep_blank_values=True)),
            {"content-type": content_type, "user-agent": "devkit"},
            b"" if body is None else objects.encode(body),
        )
        answer = functools.partial(
            self._dispatcher.respond, request, routes.route(request), calls.ADMIN
        )
        return dispatch.decoded(self._do(answer))

    def create(self, obj: objects.Object) -> objects.Object:
        """Create an object. Raises: errors.StatusError."""
        return self.request("POST", self._path(obj, named=False), obj)

    def update(self, obj: objects.Object, subresource: str = "") -> objects.Object:
        """Replace an object or its subresource. Raises: errors.StatusError."""
        return self.request("PUT", self._path(obj, subresource=subresource), obj)

    def get(self, api_version: str, kind: str, name: str, namespace: str = "") -> objects.Object:
        """Get an object. Raises: errors.StatusError."""
        return self.request("GET", self.path(api_version, kind, name, namespace))

    def list_all(self, api_version: str, kind: str, namespace: str = "") -> list[objects.Object]:
        """List the objects of a kind. Raises: errors.StatusError."""
        found = self.request("GET", self.path(api_version, kind, "", namespace))
        items: list[objects.Object] = found["items"]
        return items

    def delete(
        self,
        api_version: str,
        kind: str,
        name: str,
        namespace: str = "",
        options: objects.Object | None = None,
    ) -> objects.Object:
        """Delete an object. Raises: errors.StatusError."""
        return self.request("DELETE", self.path(api_version, kind, name, namespace), options)

    def finish_pod_deletion(self, name: str, namespace: str = "default") -> objects.Object:
        """Delete a pod for good, as kubelet does when its containers have ended."""
        return self.delete("v1", "Pod", name, namespace, {"gracePeriodSeconds": 0})

    def path(self, api_version: str, kind: str, name: str = "", namespace: str = "") -> str:
        """Return the path of an object or of a kind's collection.

        Raises: LookupError: the kind is not served.
        """
        resource = self._kinds.table.of_kind(api_version, kind)
        if resource is None:
            raise LookupError(f"{api_version} {kind} is not served")
        root = f"/apis/{api_version}" if resource.group else f"/api/{api_version}"
        if resource.namespaced and namespace:
            root += f"/namespaces/{namespace}"
        return f"{root}/{resource.plural}" + (f"/{name}" if name else "")

    def _path(self, obj: objects.Object, *, named: bool = True, subresource: str = "") -> str:
        resource = self._kinds.table.of_kind(obj["apiVersion"], obj["kind"])
        namespace = objects.namespace_of(obj)
        if resource is not None and resource.namespaced:
            namespace = namespace or "default"
        name = objects.name_of(obj) if named else ""
        path = self.path(obj["apiVersion"], obj["kind"], name, namespace)
        return f"{path}/{subresource}" if subresource else path
