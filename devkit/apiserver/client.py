"""A small client for tests and development: one request, one answer, nothing hidden.

Works alike against the stand-in and a real API server. Blocking; one object per thread or shared.
"""

import json
import ssl
from collections.abc import Generator
from dataclasses import dataclass
from typing import Any

import urllib3

from devkit.apiserver import crds, errors, objects, resources

_TIMEOUT_S = 30.0


class Unreachable(Exception):
    """The server did not answer; the text says how."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back. `headers` have lower-case names; Warning headers are in `warnings`."""

    code: int
    headers: dict[str, str]
    warnings: list[str]
    body: bytes

    def decoded(self) -> objects.Object:
        """Return the body as an object. Raises: errors.StatusError: the answer is a failure."""
        obj: objects.Object = json.loads(self.body)
        if self.code < 400:
            return obj
        raise errors.StatusError(
            self.code, obj.get("reason", ""), obj.get("message", ""), obj.get("details")
        )

    @property
    def obj(self) -> objects.Object:
        """The body as an object, also if it is a failure's Status."""
        found: objects.Object = json.loads(self.body)
        return found


class Client:
    """Talks to an API server.

    Args:
        url: where it serves.
        token: bearer token; empty sends none.
        ca_pem: authority that signed its certificate.
        user_agent: sent with every request.
    """

    def __init__(
        self, url: str, token: str = "", ca_pem: bytes = b"", user_agent: str = "devkit-client"
    ) -> None:
        headers = {"user-agent": user_agent}
        if token:
            headers["authorization"] = f"Bearer {token}"
        context = ssl.create_default_context(cadata=ca_pem.decode()) if ca_pem else None
        self._pool = urllib3.PoolManager(
            headers=headers,
            ssl_context=context,
            retries=False,
            timeout=urllib3.Timeout(_TIMEOUT_S),
        )
        self._url = url
        self._headers = headers
        # CRDs bring resources that the table does not have; tests name their paths themselves.
        self._table = resources.Table.with_built_ins()
        self._table.replace((), _secrets_store_resources())

    def close(self) -> None:
        """Close the kept connections."""
        self._pool.clear()

    def request(
        self,
        method: str,
        target: str,
        body: Any = None,
        *,
        content_type: str = "application/json",
        accept: str = "application/json",
        headers: dict[str, str] | None = None,
    ) -> Answer:
        """Send one request. `body` is JSON, or bytes as they are. Raises: Unreachable."""
        response = self._send(method, target, body, content_type, accept, headers, whole=True)
        return Answer(
            response.status,
            {name.lower(): value for name, value in response.headers.items()},
            response.headers.getlist("warning"),
            response.data,
        )

    def _send(
        self,
        method: str,
        target: str,
        body: Any,
        content_type: str,
        accept: str,
        headers: dict[str, str] | None,
        *,
        whole: bool,
    ) -> urllib3.BaseHTTPResponse:
        sent = self._headers | {"accept": accept} | (headers or {})
        if body is not None:
            sent["content-type"] = content_type
            body = body if isinstance(body, bytes) else objects.encode(body)
        try:
            return self._pool.request(
                method, self._url + target, body=body, headers=sent, preload_content=whole
            )
        except urllib3.exceptions.HTTPError as error:
            raise Unreachable(str(error)) from error

    def watch(
        self, target: str, *, accept: str = "application/json"
    ) -> Generator[tuple[str, objects.Object], None, None]:
        """Yield (type, object) of a watch until it ends; `target` has the whole query.

        Raises: errors.StatusError: the watch is refused. Unreachable: it breaks.
        """
        response = self._send("GET", target, None, "", accept, None, whole=False)
        try:
            if response.status != 200:
                Answer(response.status, {}, [], response.data).decoded()
            rest = b""
            for chunk in response.stream(decode_content=True):
                *lines, rest = (rest + chunk).split(b"\n")
                for line in lines:
                    event = json.loads(line)
                    yield event["type"], event["object"]
        except urllib3.exceptions.HTTPError as error:
            raise Unreachable(str(error)) from error
        finally:
            response.close()

    def path(self, obj: objects.Object, *, named: bool = True) -> str:
        """Return the path of an object, or of the collection it belongs to.

        Raises: LookupError: its kind is neither built in nor one of the driver's.
        """
        name = objects.name_of(obj) if named else ""
        namespace = objects.namespace_of(obj) or "default"
        return resources.path(self._table, obj["apiVersion"], obj["kind"], name, namespace)

    def create(self, obj: objects.Object) -> objects.Object:
        """Create an object. Raises: errors.StatusError, Unreachable."""
        return self.request("POST", self.path(obj, named=False), obj).decoded()

    def get(self, obj: objects.Object) -> objects.Object:
        """Read an object anew. Raises: errors.StatusError, Unreachable."""
        return self.request("GET", self.path(obj)).decoded()

    def update(self, obj: objects.Object, subresource: str = "") -> objects.Object:
        """Replace an object or its subresource. Raises: errors.StatusError, Unreachable."""
        tail = f"/{subresource}" if subresource else ""
        return self.request("PUT", self.path(obj) + tail, obj).decoded()

    def delete(self, obj: objects.Object, options: objects.Object | None = None) -> objects.Object:
        """Delete an object. Raises: errors.StatusError, Unreachable."""
        return self.request("DELETE", self.path(obj), options).decoded()

    def items(self, target: str) -> list[objects.Object]:
        """Return the items of a list. Raises: errors.StatusError, Unreachable."""
        found: list[objects.Object] = self.request("GET", target).decoded()["items"]
        return found


def _secrets_store_resources() -> list[resources.Resource]:
    served: list[resources.Resource] = []
    for crd in crds.secrets_store_crds():
        served += crds.define(crd).served
    return served
