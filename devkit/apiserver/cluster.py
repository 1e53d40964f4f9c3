"""One view of an API server for tests, whether it is the stand-in or a real one."""

import pathlib
import secrets
from dataclasses import dataclass
from typing import Protocol

from devkit.apiserver import client as api_client
from devkit.apiserver import objects
from devkit.apiserver import server as api_server

_RBAC = "rbac.authorization.k8s.io/v1"
DRIVER_GROUP = "secrets-store.csi.x-k8s.io"


class Server(Protocol):
    """What both servers offer."""

    admin_token: str

    @property
    def ca_pem(self) -> bytes:
        """The authority of the server's certificate."""

    def kubeconfig(self, path: pathlib.Path, *, token: str = "") -> pathlib.Path:
        """Write a kubeconfig file and return its path."""


@dataclass(slots=True)
class Cluster:
    """An API server with a fresh namespace in it.

    Attributes:
        name: "stand-in" or "real".
        url: where HTTPS is served.
        server: the server itself.
        client: requests as administrator.
        namespace: made for this test; empty at first.
        stand_in: the stand-in with its handles (request log, faults, pause …), None for a real one.
    """

    name: str
    url: str
    server: Server
    client: api_client.Client
    namespace: str
    stand_in: api_server.APIServer | None

    @property
    def token(self) -> str:
        """The administrator's bearer token."""
        return self.server.admin_token

    @property
    def ca_pem(self) -> bytes:
        """The authority of the server's certificate."""
        return self.server.ca_pem

    def kubeconfig(self, path: pathlib.Path, token: str = "") -> pathlib.Path:
        """Write a kubeconfig file, of the administrator if no token is given; return its path."""
        return self.server.kubeconfig(path, token=token)

    def at(self, plural: str, name: str = "", group_version: str = "v1") -> str:
        """Return the path of a resource in the test's namespace, or of one object of it."""
        root = f"/apis/{group_version}" if "/" in group_version else f"/api/{group_version}"
        path = f"{root}/namespaces/{self.namespace}/{plural}"
        return f"{path}/{name}" if name else path

    def classes(self, name: str = "", version: str = "v1") -> str:
        """Return the path of SecretProviderClasses, or of one."""
        return self.at("secretproviderclasses", name, f"{DRIVER_GROUP}/{version}")

    def pod_statuses(self, name: str = "", version: str = "v1") -> str:
        """Return the path of SecretProviderClassPodStatuses, or of one."""
        return self.at("secretproviderclasspodstatuses", name, f"{DRIVER_GROUP}/{version}")

    def as_user(self, token: str, user_agent: str = "devkit-client") -> api_client.Client:
        """Return a client with another token; the caller closes it."""
        return api_client.Client(self.url, token, self.ca_pem, user_agent)

    def compact(self) -> None:
        """Let the server forget its history; a real one is not told, it forgets by itself."""
        if self.stand_in is not None:
            self.stand_in.compact()

    def account_token(self, name: str, rules: list[objects.Object]) -> str:
        """Make a service account that may do what the rules say anywhere; return a token of it."""
        role = f"{self.namespace}-{name}"
        subject = {"kind": "ServiceAccount", "name": name, "namespace": self.namespace}
        reference = {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": role}
        accounts = self.at("serviceaccounts")
        self.client.request("POST", accounts, {"metadata": {"name": name}}).decoded()
        meta = {"name": role}
        self.client.create(
            {"apiVersion": _RBAC, "kind": "ClusterRole", "metadata": meta, "rules": rules}
        )
        self.client.create(
            {
                "apiVersion": _RBAC,
                "kind": "ClusterRoleBinding",
                "metadata": meta,
                "roleRef": reference,
                "subjects": [subject],
            }
        )
        answer = self.client.request("POST", f"{accounts}/{name}/token", {"spec": {}}).decoded()
        token: str = answer["status"]["token"]
        return token


def join(name: str, url: str, found: Server, stand_in: api_server.APIServer | None) -> Cluster:
    """Return a view of a running server, with a new namespace."""
    admin = api_client.Client(url, found.admin_token, found.ca_pem)
    namespace = f"test-{secrets.token_hex(4)}"
    admin.create({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace}})
    return Cluster(name, url, found, admin, namespace, stand_in)
