"""From a request's method, path and query to what it asks for: verb, resource, name.

Source: apiserver `RequestInfo`.
"""

from dataclasses import dataclass

from devkit.apiserver import http

_VERBS = {
    "GET": "get",
    "HEAD": "get",
    "POST": "create",
    "PUT": "update",
    "PATCH": "patch",
    "DELETE": "delete",
}
# Below namespaces/<name>/ these are subresources of the namespace, everything else lies in it.
_NAMESPACE_SUBRESOURCES = ("status", "finalize")


@dataclass(frozen=True, slots=True)
class Route:
    """What is asked for. `resource` is empty for paths that name none, e.g. /healthz."""

    verb: str
    path: str
    group: str = ""
    version: str = ""
    resource: str = ""
    subresource: str = ""
    namespace: str = ""
    name: str = ""

    @property
    def is_resource(self) -> bool:
        return bool(self.resource)


def truthy(text: str) -> bool:
    """Read a boolean query parameter; a bare name counts as true."""
    return text.lower() in ("1", "true", "t", "yes")


def route(request: http.Request) -> Route:
    """Take a request apart; unknown paths come back as a Route without a resource."""
    method_verb = _VERBS.get(request.method, request.method.lower())
    parts = [part for part in request.path.split("/") if part]
    if len(parts) >= 3 and parts[0] == "api":
        group, version, rest = "", parts[1], parts[2:]
    elif len(parts) >= 4 and parts[0] == "apis":
        group, version, rest = parts[1], parts[2], parts[3:]
    else:
        return Route(method_verb, request.path)
    watching = False
    if rest[0] == "watch" and len(rest) > 1:
        watching, rest = True, rest[1:]
    namespace = ""
    if rest[0] == "namespaces" and len(rest) > 1:
        namespace = rest[1]
        if len(rest) > 2 and rest[2] not in _NAMESPACE_SUBRESOURCES:
            rest = rest[2:]
    resource = rest[0]
    name = rest[1] if len(rest) > 1 else ""
    if not name and truthy(request.query.get("watch", "0")):
        watching = True
    subresource = "/".join(rest[2:])
    return Route(
        _verb(method_verb, name, watching),
        request.path,
        group,
        version,
        resource,
        subresource,
        namespace,
        name,
    )


def _verb(method_verb: str, name: str, watching: bool) -> str:
    if method_verb == "get":
        if watching:
            return "watch"
        return "get" if name else "list"
    if method_verb == "delete" and not name:
        return "deletecollection"
    return method_verb
