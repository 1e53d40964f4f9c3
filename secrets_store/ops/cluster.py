"""What the operator's commands ask of the cluster, through the `kubernetes` package.

It knows every way to log in that a kubeconfig can name, which the driver's own client refuses.
"""

import datetime
import email.utils
import json
from typing import Any

import click
import urllib3.exceptions

TIMEOUT_S = 15.0
GROUP, VERSION = "secrets-store.csi.x-k8s.io", "v1"


class Cluster:
    """One cluster.

    Args:
        kubeconfig, context: As kubectl takes them; empty for its defaults.
    Raises: click.ClickException: there is no usable configuration.
    """

    def __init__(self, kubeconfig: str = "", context: str = "") -> None:
        # Heavy, and only wanted here.
        from kubernetes import client, config

        try:
            config.load_config(  # type: ignore[no-untyped-call]
                config_file=kubeconfig or None, context=context or None
            )
        except config.ConfigException as error:
            raise click.ClickException(f"no usable kubeconfig: {error}") from error
        self._api: Any = client.ApiClient()
        self._failure = client.ApiException

    def get(self, path: str, **query: str) -> dict[str, Any]:
        """Return one object or list. Raises: Refused."""
        return self._call("GET", path, query, None)

    def create(self, path: str, body: dict[str, Any]) -> dict[str, Any]:
        """Post an object, such as a question of access. Raises: Refused."""
        return self._call("POST", path, {}, body)

    def items(self, path: str, **query: str) -> list[dict[str, Any]]:
        """Return all items of a list, page by page. Raises: Refused."""
        found: list[dict[str, Any]] = []
        query = {"limit": "500"} | query
        while True:
            page = self.get(path, **query)
            found += page.get("items") or []
            following = (page.get("metadata") or {}).get("continue")
            if not following:
                return found
            query = query | {"continue": following}

    def clock_skew_s(self) -> float | None:
        """Return how far this machine's clock is ahead of the API server's; None if untold."""
        _, told = self._send("GET", "/version", {}, None)
        if not told:
            return None
        server = email.utils.parsedate_to_datetime(told)
        return (datetime.datetime.now(datetime.UTC) - server).total_seconds()

    def _call(
        self, method: str, path: str, query: dict[str, str], body: dict[str, Any] | None
    ) -> dict[str, Any]:
        answer, _ = self._send(method, path, query, body)
        return answer

    def _send(
        self, method: str, path: str, query: dict[str, str], body: dict[str, Any] | None
    ) -> tuple[dict[str, Any], str]:
        """Return the answer and its Date. Raises: Refused."""
        prepared = self._api.param_serialize(
            method,
            path,
            query_params=list(query.items()),
            header_params={"Accept": "application/json", "Content-Type": "application/json"},
            body=body,
            auth_settings=["BearerToken"],
        )
        try:
            response = self._api.call_api(*prepared, _request_timeout=TIMEOUT_S)
            response.read()
        except (urllib3.exceptions.HTTPError, self._failure) as error:
            raise Refused(0, "the API server does not answer") from error
        if not 200 <= response.status < 300:
            raise Refused(int(response.status), str(response.reason))
        answer: dict[str, Any] = json.loads(response.data)
        return answer, str(response.getheader("Date", ""))


class Refused(Exception):
    """The API server did not do what was asked."""

    def __init__(self, status: int, reason: str) -> None:
        super().__init__(f"HTTP {status} {reason}" if status else reason)
        self.status = status


def pod_statuses(namespace: str = "") -> str:
    """Return the path of the status objects of a namespace or of all."""
    where = f"/namespaces/{namespace}" if namespace else ""
    return f"/apis/{GROUP}/{VERSION}{where}/secretproviderclasspodstatuses"
