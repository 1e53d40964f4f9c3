"""The two things that opted-in features need from the Kubernetes API; nothing else is asked.

`useDefaultAudience` needs a token made by TokenRequest (right: create serviceaccounts/token, and
the provider's flag), `windowDuration` needs the pod's start times (right: get pods). A right that
is missing fails the Mounts of classes that use the feature, with the name of the right.

Source: Kubernetes API, authentication.k8s.io/v1 TokenRequest; v1 Pod.
"""

import asyncio
import json
import os
import pathlib
import urllib.parse
from collections.abc import Mapping
from typing import Any

from provider_kms import budget, errors, sealed
from provider_kms.http1 import client, connection, trust
from provider_kms.model import site
from provider_kms.model.request import Pod

SERVICE_ACCOUNT = pathlib.Path("/var/run/secrets/kubernetes.io/serviceaccount")
TOKEN_S = 900
"""Life of a token that is only used to log in: the shortest that suits all API servers."""
_REQUEST_S = 10.0


class Cluster:
    """The Kubernetes API, asked with the provider's own service account.

    Args:
        url: API server; "" for the one that the pod's environment names.
        user_agent: how we introduce ourselves.
        credentials: directory with `token` and `ca.crt`, reread as kubelet renews them.
        environment: for KUBERNETES_SERVICE_HOST and its port.
    """

    def __init__(
        self,
        url: str,
        user_agent: str,
        credentials: pathlib.Path = SERVICE_ACCOUNT,
        environment: Mapping[str, str] = os.environ,
    ) -> None:
        self._url = url or _in_cluster(environment)
        self._user_agent, self._credentials = user_agent, credentials
        self._client: client.Client | None = None
        self._ca = ""

    async def token(self, pod: Pod, limits: budget.Budget) -> sealed.Sealed[str]:
        """Return a new token of the pod's account for the API server's own audience.

        Raises: errors.ClusterRefused, errors.ClusterUnavailable.
        """
        names = (urllib.parse.quote(part, safe="") for part in (pod.namespace, pod.service_account))
        path = "/api/v1/namespaces/{}/serviceaccounts/{}/token".format(*names)
        wanted = {
            "apiVersion": "authentication.k8s.io/v1",
            "kind": "TokenRequest",
            "spec": {
                "audiences": None,
                "expirationSeconds": TOKEN_S,
                "boundObjectRef": {
                    "apiVersion": "v1",
                    "kind": "Pod",
                    "name": pod.name,
                    "uid": pod.uid,
                },
            },
        }
        answer = await self._ask("POST", path, wanted, "useDefaultAudience (TokenRequest)", limits)
        status = answer.get("status")
        made = status.get("token") if isinstance(status, dict) else None
        if not isinstance(made, str) or not made:
            raise errors.ClusterRefused(
                "useDefaultAudience (TokenRequest)", "no token in the answer"
            )
        return sealed.Sealed(made)

    async def pod(self, pod: Pod, limits: budget.Budget) -> Mapping[str, Any]:
        """Return the pod itself, not a namesake.

        Raises: errors.ClusterRefused, errors.ClusterUnavailable.
        """
        names = (urllib.parse.quote(part, safe="") for part in (pod.namespace, pod.name))
        path = "/api/v1/namespaces/{}/pods/{}".format(*names)
        found = await self._ask("GET", path, None, "windowDuration (get pods)", limits)
        metadata = found.get("metadata")
        uid = metadata.get("uid") if isinstance(metadata, dict) else None
        if pod.uid and uid != pod.uid:
            raise errors.ClusterRefused("windowDuration", "the pod is gone, another has its name")
        return found

    def close(self) -> None:
        """Close all connections."""
        if self._client is not None:
            self._client.close()

    def sweep(self) -> None:
        """Close connections that have been idle for long."""
        if self._client is not None:
            self._client.sweep()

    async def _ask(
        self,
        method: str,
        path: str,
        body: object,
        feature: str,
        limits: budget.Budget,
    ) -> Mapping[str, Any]:
        try:
            ask, token = await self._connect(feature)
            headers = {"Accept": "application/json", "Authorization": f"Bearer {token}"}
            content = b""
            if body is not None:
                headers["Content-Type"] = "application/json"
                content = json.dumps(body).encode()
            request = client.Request(method, path, headers, content)
            answer = await ask.exchange(request, min(_REQUEST_S, limits.remaining_s()))
        except (connection.Unreachable, connection.CertificateRefused, client.Broken) as error:
            raise errors.ClusterUnavailable(feature, f"Kubernetes API: {error}") from None
        except (TimeoutError, client.TooLarge):
            raise errors.ClusterUnavailable(feature, "Kubernetes API: no answer in time") from None
        except (OSError, ValueError) as error:
            # ValueError: neither ASCII nor PEM. Its text could quote the token.
            problem = getattr(error, "strerror", None) or "they cannot be read"
            raise errors.ClusterRefused(feature, f"in-cluster credentials: {problem}") from None
        return _object(answer, feature)

    async def _connect(self, feature: str) -> tuple[client.Client, str]:
        if not self._url:
            raise errors.ClusterRefused(feature, "no Kubernetes API server is known")
        where = site.parse("Kubernetes API", self._url, site.Policy())
        token, ca = await asyncio.to_thread(self._read_credentials)
        if self._client is None or ca != self._ca:
            tls = await asyncio.to_thread(trust.only, ca) if where.scheme == "https" else None
            # Another Mount may have made one meanwhile, which is in use.
            if self._client is None or ca != self._ca:
                self.close()
                self._client, self._ca = client.Client(where, tls, user_agent=self._user_agent), ca
        return self._client, token

    def _read_credentials(self) -> tuple[str, str]:
        token = (self._credentials / "token").read_text(encoding="ascii").strip()
        ca_file = self._credentials / "ca.crt"
        return token, ca_file.read_text(encoding="utf-8")


def _in_cluster(environment: Mapping[str, str]) -> str:
    host = environment.get("KUBERNETES_SERVICE_HOST", "")
    port = environment.get("KUBERNETES_SERVICE_PORT", "443")
    return f"https://[{host}]:{port}" if ":" in host else f"https://{host}:{port}" if host else ""


def _object(answer: client.Response, feature: str) -> Mapping[str, Any]:
    try:
        root = json.loads(answer.body)
    except (ValueError, RecursionError):
        root = None
    if not isinstance(root, dict):
        problem = f"Kubernetes API: {answer.status} without JSON"
        raise errors.ClusterUnavailable(feature, problem)
    if answer.status not in (200, 201):
        # A Status object's message names user, verb and resource, and no secret.
        message = root.get("message") if root.get("kind") == "Status" else ""
        kind = errors.ClusterRefused
        if answer.status in (429,) or answer.status >= 500:
            kind = errors.ClusterUnavailable
        raise kind(feature, f"Kubernetes API: {answer.status} {message or ''}".rstrip())
    return root
