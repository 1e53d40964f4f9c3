"""Requests to the stand-in without a socket, for tests that set the scene."""

import urllib.parse
from collections.abc import Callable
from typing import Any

from devkit.apiserver import calls, dispatch, http, objects, resources, routes

Respond = Callable[[http.Request, routes.Route, calls.User], http.Response]


class Requests:
    """Does requests as administrator; they are not in the request log and hit no faults.

    Args:
        respond: answers a request; called from the caller's thread.
        table: the served resources.
    """

    def __init__(self, respond: Respond, table: resources.Table) -> None:
        self._respond = respond
        self._table = table

    def request(
        self, method: str, target: str, body: Any = None, content_type: str = "application/json"
    ) -> objects.Object:
        """Do a request and return the decoded answer.

        Args:
            method: of HTTP.
            target: path and query.
            body: JSON value.
            content_type: of the body; tells the type of a patch.
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
        response = self._respond(request, routes.route(request), calls.ADMIN)
        return dispatch.decoded(response)

    def create(self, obj: objects.Object) -> objects.Object:
        """Create an object. Raises: errors.StatusError."""
        return self.request("POST", self._path_of(obj, named=False), obj)

    def update(self, obj: objects.Object, subresource: str = "") -> objects.Object:
        """Replace an object or its subresource. Raises: errors.StatusError."""
        tail = f"/{subresource}" if subresource else ""
        return self.request("PUT", self._path_of(obj) + tail, obj)

    def patch(
        self,
        obj: objects.Object,
        patch: Any,
        content_type: str = "application/merge-patch+json",
        subresource: str = "",
    ) -> objects.Object:
        """Patch the object named by apiVersion, kind and metadata. Raises: errors.StatusError."""
        tail = f"/{subresource}" if subresource else ""
        return self.request("PATCH", self._path_of(obj) + tail, patch, content_type)

    def get(self, api_version: str, kind: str, name: str, namespace: str = "") -> objects.Object:
        """Get an object. Raises: errors.StatusError."""
        return self.request("GET", self.path(api_version, kind, name, namespace))

    def list_all(self, api_version: str, kind: str, namespace: str = "") -> list[objects.Object]:
        """Return the objects of a kind, in all namespaces or one. Raises: errors.StatusError."""
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

    def service_account_token(
        self,
        name: str,
        namespace: str = "default",
        audiences: tuple[str, ...] = (),
        lifetime_s: int = 3600,
        pod: objects.Object | None = None,
    ) -> objects.Object:
        """Ask for a token as kubelet does; return the TokenRequest's status.

        Args:
            name: of the service account.
            namespace: of the service account.
            audiences: empty for the server's own.
            lifetime_s: at least 600.
            pod: the pod it shall be bound to.
        Raises: errors.StatusError.
        """
        spec: objects.Object = {"audiences": list(audiences), "expirationSeconds": lifetime_s}
        if pod is not None:
            spec["boundObjectRef"] = {
                "apiVersion": "v1",
                "kind": "Pod",
                "name": objects.name_of(pod),
                "uid": objects.uid_of(pod),
            }
        path = self.path("v1", "ServiceAccount", name, namespace)
        status: objects.Object = self.request("POST", f"{path}/token", {"spec": spec})["status"]
        return status

    def path(self, api_version: str, kind: str, name: str = "", namespace: str = "") -> str:
        """Return the path of an object or of a kind's collection.

        Raises: LookupError: the kind is not served.
        """
        return resources.path(self._table, api_version, kind, name, namespace)

    def _path_of(self, obj: objects.Object, *, named: bool = True) -> str:
        namespace = objects.namespace_of(obj) or "default"
        name = objects.name_of(obj) if named else ""
        return self.path(obj["apiVersion"], obj["kind"], name, namespace)
