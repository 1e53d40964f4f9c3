"""OpenAPI v3 documents, as far as kubectl asks: schemas, and which parameters a write takes.

`kubectl apply` leaves validation to the server when a PATCH of the kind takes `fieldValidation`.
"""

import hashlib

from devkit.apiserver import errors, http, objects, resources, views, writing
from devkit.apiserver.kinds import builtin_types, catalog

_PREFIX = "/openapi/v3"
_WRITES = ("dryRun", "fieldManager", "fieldValidation")


class Documents:
    """Answers /openapi/v3 and below; built anew when the resources change."""

    def __init__(self, kinds: catalog.Catalog) -> None:
        self._kinds = kinds
        self._built_for = -1
        self._bodies: dict[str, bytes] = {}

    def answer(self, path: str, accept: str) -> http.Response | None:
        """Return the document at a path, None if it is not below /openapi.

        Raises: errors.StatusError: 404 for a group that is not served, 406 if JSON is not wanted.
        """
        if not path.startswith("/openapi/"):
            return None
        if not any(media in (views.JSON, "*/*", "") for media, _ in views.clauses(accept)):
            raise errors.not_acceptable((views.JSON,))
        if self._built_for != self._kinds.table.revision:
            self._built_for = self._kinds.table.revision
            self._bodies.clear()
        if path not in self._bodies:
            self._bodies[path] = objects.encode(self._build(path))
        return http.Response(200, self._bodies[path])

    def _build(self, path: str) -> objects.Object:
        groups = [
            (f"apis/{group}/{version}" if group else f"api/{version}", group, version)
            for group, versions in self._kinds.table.groups().items()
            for version in versions
        ]
        if path == _PREFIX:
            paths = {}
            for place, group, version in groups:
                document = objects.encode(self._document(group, version))
                digest = hashlib.sha256(document).hexdigest()[:32].upper()
                paths[place] = {"serverRelativeURL": f"{_PREFIX}/{place}?hash={digest}"}
            return {"paths": paths}
        for place, group, version in groups:
            if path == f"{_PREFIX}/{place}":
                return self._document(group, version)
        raise errors.no_such_path()

    def _document(self, group: str, version: str) -> objects.Object:
        schemas: objects.Object = {}
        paths: objects.Object = {}
        for item in self._kinds.table:
            if (item.group, item.version) == (group, version):
                schemas[_type_name(item)] = self._schema(item)
                paths |= _paths(item)
        return {
            "openapi": "3.0.0",
            "info": {"title": "Kubernetes", "version": builtin_types.version()},
            "paths": paths,
            "components": {"schemas": schemas},
        }

    def _schema(self, item: resources.Resource) -> objects.Object:
        """Return the kind's schema; built-in kinds are cut where they go round in circles."""
        if item.custom:
            schema = dict(self._kinds.schema(item)) or {"type": "object"}
        else:
            schema = builtin_types.unfolded(item.api_version, item.kind)
        schema["x-kubernetes-group-version-kind"] = [_kind(item)]
        return schema


def _kind(item: resources.Resource) -> dict[str, str]:
    return {"group": item.group, "version": item.version, "kind": item.kind}


def _type_name(item: resources.Resource) -> str:
    reverse = ".".join(reversed(item.group.split("."))) if item.group else "io.k8s.api.core"
    return f"{reverse}.{item.version}.{item.kind}"


def _paths(item: resources.Resource) -> objects.Object:
    root = f"/apis/{item.api_version}" if item.group else f"/api/{item.version}"
    if item.namespaced:
        root += "/namespaces/{namespace}"
    collection = f"{root}/{item.plural}"
    found = {collection: {"post": _operation(item, "post")}}
    if "get" in item.verbs:
        found[collection + "/{name}"] = {
            method: _operation(item, method) for method in ("get", "put", "patch", "delete")
        }
    return found


def _operation(item: resources.Resource, method: str) -> objects.Object:
    verb = "list" if method == "get" else method
    operation: objects.Object = {
        "operationId": f"{verb}{item.group}{item.version}{item.kind}",
        "x-kubernetes-action": verb,
        "x-kubernetes-group-version-kind": _kind(item),
        "responses": {"200": {"description": "OK"}},
    }
    if method in ("post", "put", "patch"):
        operation["parameters"] = [
            {"name": name, "in": "query", "schema": {"type": "string"}} for name in _WRITES
        ]
        media: tuple[str, ...] = (views.JSON,)
        if method == "patch":
            media = writing.types_of_patch(custom=item.custom)
        reference = {"schema": {"$ref": f"#/components/schemas/{_type_name(item)}"}}
        operation["requestBody"] = {"content": dict.fromkeys(media, reference), "required": True}
    return operation
