"""The stand-in API server, put together, and the handles that tests hold."""

import asyncio
import pathlib
import secrets
from types import TracebackType
from typing import Self

from devkit.apiserver import (
    calls,
    control,
    crds,
    dispatch,
    documents,
    faults,
    gc,
    identity,
    inprocess,
    kubeconfig,
    listening,
    objects,
    rbac,
    reading,
    removal,
    requestlog,
    reviews,
    routes,
    store,
    subresources,
    tokens,
    writing,
)
from devkit.apiserver.kinds import catalog

_NAMESPACES = ("default", "kube-system", "kube-public", "kube-node-lease")
_ISSUER = "https://kubernetes.default.svc.cluster.local"


class _AllowAll:
    def refusal(self, user: calls.User, route: routes.Route) -> str:
        return ""

    def rules(self, user: calls.User, namespace: str) -> list[objects.Object]:
        everything = ["*"]
        return [{"verbs": everything, "apiGroups": everything, "resources": everything}]


class APIServer(inprocess.Requests):
    """A stand-in for kube-apiserver on loopback. All methods may be called from any thread.

    Args:
        port: port for HTTP; 0 lets the system choose.
        tls_port: port for HTTPS, with the same answers; None for none. kubectl sends its token
            only there.
        rbac: authorise by the stored RBAC objects; otherwise everybody may do everything.
        collect_garbage: do by itself, right after each change, what `collect_garbage` does.
        bookmark_interval_s: time between the bookmarks of a watch.
        history_limit: changes kept for watches; older ones are Gone.
        secrets_store: install the CRDs of SecretProviderClass and its pod status.
    """

    def __init__(
        self,
        *,
        port: int = 0,
        tls_port: int | None = 0,
        rbac: bool = False,
        collect_garbage: bool = False,
        bookmark_interval_s: float = 60.0,
        history_limit: int = 20_000,
        secrets_store: bool = True,
    ) -> None:
        self.requests = requestlog.RequestLog()
        self.faults = faults.Faults()
        self.admin_token = secrets.token_hex(16)
        self._store = store.Store(history_limit)
        self._kinds = catalog.Catalog(self._store)
        self._issuer = tokens.Issuer(_ISSUER)
        self._authenticator = identity.Authenticator(self._issuer, self._store)
        self._authenticator.add(self.admin_token, calls.ADMIN)
        self._remover = removal.Remover(self._store)
        self._collector = gc.Collector(self._store, self._remover, self._kinds.table.any_of_kind)
        self._dispatcher = self._make_dispatcher(rbac, bookmark_interval_s)
        super().__init__(
            lambda *asked: self._listener.do(lambda: self._dispatcher.respond(*asked)),
            self._kinds.table,
        )
        self._listener = listening.Listener(self._dispatcher.serve, port, tls_port)
        self._seed(secrets_store)
        if collect_garbage:
            self._store.on_change = self._collect_soon
            self._collecting: asyncio.Handle | None = None

    def _make_dispatcher(self, with_rbac: bool, bookmark_interval_s: float) -> dispatch.Dispatcher:
        authorizer: reviews.Authorizer = _AllowAll()
        if with_rbac:
            authorizer = rbac.Authorizer(self._store)
        asked = reviews.Reviews(self._authenticator, authorizer)
        acting = subresources.Subresources(self._store, self._remover, self._issuer)
        return dispatch.Dispatcher(
            self._kinds,
            reading.Reader(self._store, bookmark_interval_s, self._kinds.columns),
            writing.Writer(self._store, self._remover, self._kinds.storage_version),
            self._remover,
            self._authenticator,
            authorizer,
            documents.Documents(self._kinds, self._issuer, self._best_url),
            control.Control(
                self.requests,
                self.faults,
                {
                    "compact": self._store.compact,
                    "cut-watches": self._cut_watches,
                    "bookmarks": self._send_bookmarks,
                    "collect-garbage": self._collector.collect,
                },
            ),
            {
                "tokenreviews": asked.token,
                "selfsubjectreviews": asked.self_subject,
                "subjectaccessreviews": asked.subject_access,
                "localsubjectaccessreviews": asked.subject_access,
                "selfsubjectaccessreviews": asked.self_subject_access,
                "selfsubjectrulesreviews": asked.self_subject_rules,
                "serviceaccounts/token": acting.token,
                "pods/eviction": acting.evict,
                "pods/binding": acting.bind,
            },
            self.faults,
            self.requests,
        )

    def _seed(self, secrets_store: bool) -> None:
        for name in _NAMESPACES:
            self.create({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}})
        for obj in rbac.default_objects():
            self.create(obj)
        if secrets_store:
            for crd in crds.secrets_store_crds():
                self.create(crd)
        # As with a real server, whose caches start after this, no watch can reach back further.
        self._store.compact()

    def start(self) -> Self:
        """Listen and serve. Raises: OSError: a port is taken."""
        self._listener.start()
        return self

    def stop(self) -> None:
        """Drop all connections and end; a stopped server stays stopped."""
        self._listener.stop()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()

    @property
    def url(self) -> str:
        """Where HTTP is served."""
        return self._listener.url("http")

    @property
    def tls_url(self) -> str:
        """Where HTTPS is served, with a certificate signed by `ca_pem`."""
        return self._listener.url("https")

    @property
    def ca_pem(self) -> bytes:
        """The authority of the HTTPS port's certificate; empty without one."""
        certificate = self._listener.certificate
        return certificate.ca_pem if certificate is not None else b""

    def _best_url(self) -> str:
        return self.url if self._listener.certificate is None else self.tls_url

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
        self._listener.pause()

    def resume(self) -> None:
        """Come back on the same ports."""
        self._listener.resume()

    @property
    def resource_version(self) -> int:
        """The version of the last change."""
        return self._store.version

    def compact(self) -> None:
        """Forget the history: watches and list pages from before are answered Gone."""
        self._listener.do(self._store.compact)

    def collect_garbage(self) -> int:
        """Delete what has lost all its owners; empty and end namespaces being deleted.

        Returns: how many objects were deleted or changed.
        """
        return self._listener.do(self._collector.collect)

    def _collect_soon(self) -> None:
        # Not inside the change that may call for it: its listeners have not all been told yet.
        if self._collecting is None:
            loop = asyncio.get_running_loop()
            self._collecting = loop.call_soon(self._collect_now)

    def _collect_now(self) -> None:
        self._collector.collect()
        self._collecting = None

    @property
    def watches(self) -> int:
        """How many watches are open."""
        return self._listener.do(lambda: len(self._dispatcher.watches))

    def cut_watches(self) -> int:
        """Drop the connections of all watches; return how many there were."""
        return self._listener.do(self._cut_watches)

    def _cut_watches(self) -> int:
        watches = tuple(self._dispatcher.watches)
        for watch in watches:
            watch.cut()
        return len(watches)

    def send_bookmarks(self) -> None:
        """Send a bookmark now on every watch that allows them."""
        self._listener.do(self._send_bookmarks)

    def _send_bookmarks(self) -> None:
        for watch in tuple(self._dispatcher.watches):
            watch.send_bookmark_now()
