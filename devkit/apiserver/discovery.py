"""Which groups, versions and resources there are, in the old and the aggregated form.

Source: apimachinery `APIGroupList`, `APIResourceList`; `apidiscovery.k8s.io/v2`.
"""

from devkit.apiserver import http, objects, resources, views
from devkit.apiserver.kinds import catalog

_AGGREGATED = ("v2", "v2beta1")


class Discovery:
    """Answers /api, /apis and what is below them; built anew when the resources change."""

    def __init__(self, kinds: catalog.Catalog) -> None:
        self._kinds = kinds
        self._built_for = -1
        self._answers: dict[tuple[str, str], http.Response] = {}

    def answer(self, path: str, accept: str) -> http.Response | None:
        """Return the document at a path, None if there is none."""
        if self._built_for != self._kinds.table.revision:
            self._answers.clear()
            self._built_for = self._kinds.table.revision
        version = _aggregated_version(accept) if path in ("/api", "/apis") else ""
        key = (path, version)
        if key not in self._answers:
            found = self._build(path, version)
            if found is None:
                return None
            self._answers[key] = found
        return self._answers[key]

    def _build(self, path: str, aggregated: str) -> http.Response | None:
        parts = path.strip("/").split("/")
        if aggregated:
            document = self._aggregated(path == "/api", aggregated)
            content_type = (
                f"application/json;g=apidiscovery.k8s.io;v={aggregated};as=APIGroupDiscoveryList"
            )
            return http.Response(200, objects.encode(document), content_type)
        match parts:
            case ["api"]:
                document = {
                    "kind": "APIVersions",
                    "versions": ["v1"],
                    "serverAddressByClientCIDRs": [],
                }
            case ["api", "v1"]:
                document = self._resource_list("", "v1")
            case ["apis"]:
                groups = [
                    _group(name, versions)
                    for name, versions in self._kinds.table.groups().items()
                    if name
                ]
                document = {"kind": "APIGroupList", "apiVersion": "v1", "groups": groups}
            case ["apis", group] if group in self._kinds.table.groups():
                versions = self._kinds.table.groups()[group]
                document = {"kind": "APIGroup", "apiVersion": "v1", **_group(group, versions)}
            case ["apis", group, version] if version in self._kinds.table.groups().get(group, []):
                document = self._resource_list(group, version)
            case _:
                return None
        return http.Response(200, objects.encode(document))

    def _of(self, group: str, version: str) -> list[resources.Resource]:
        return [
            item for item in self._kinds.table if item.group == group and item.version == version
        ]

    def _resource_list(self, group: str, version: str) -> objects.Object:
        listed = []
        for item in self._of(group, version):
            listed.append(_plain(item))
            listed += [_plain_subresource(item, name) for name in item.subresources]
        return {
            "kind": "APIResourceList",
            "apiVersion": "v1",
            "groupVersion": f"{group}/{version}" if group else version,
            "resources": listed,
        }

    def _aggregated(self, core: bool, version: str) -> objects.Object:
        items = []
        for group, versions in self._kinds.table.groups().items():
            if bool(group) is core:
                continue
            item: objects.Object = {"metadata": {"creationTimestamp": None}}
            if group:
                item["metadata"]["name"] = group
            item["versions"] = [
                {
                    "version": name,
                    "freshness": "Current",
                    "resources": [_aggregate(resource) for resource in self._of(group, name)],
                }
                for name in versions
            ]
            items.append(item)
        return {
            "kind": "APIGroupDiscoveryList",
            "apiVersion": f"apidiscovery.k8s.io/{version}",
            "metadata": {},
            "items": items,
        }


def _aggregated_version(accept: str) -> str:
    for _, parameters in views.clauses(accept):
        if parameters.get("as") == "APIGroupDiscoveryList" and parameters.get("v") in _AGGREGATED:
            return parameters["v"]
        if not parameters.get("as"):
            return ""
    return ""


def _group(name: str, versions: list[str]) -> objects.Object:
    listed = [{"groupVersion": f"{name}/{version}", "version": version} for version in versions]
    return {"name": name, "versions": listed, "preferredVersion": listed[0]}


def _plain(item: resources.Resource) -> objects.Object:
    found: objects.Object = {
        "name": item.plural,
        "singularName": item.singular_name,
        "namespaced": item.namespaced,
        "kind": item.kind,
        "verbs": list(item.verbs),
    }
    if item.short_names:
        found["shortNames"] = list(item.short_names)
    if item.categories:
        found["categories"] = list(item.categories)
    return found


def _subresource_kind(item: resources.Resource, name: str) -> tuple[str, str, str, list[str]]:
    """Return group, version, kind and verbs of what a subresource takes."""
    match name:
        case "eviction":
            return "policy", "v1", "Eviction", ["create"]
        case "token":
            return "authentication.k8s.io", "v1", "TokenRequest", ["create"]
        case "binding":
            return "", "v1", "Binding", ["create"]
        case "finalize":
            return item.group, item.version, item.kind, ["update"]
    return item.group, item.version, item.kind, ["get", "patch", "update"]


def _plain_subresource(item: resources.Resource, name: str) -> objects.Object:
    group, version, kind, verbs = _subresource_kind(item, name)
    found: objects.Object = {
        "name": f"{item.plural}/{name}",
        "singularName": "",
        "namespaced": item.namespaced,
        "kind": kind,
        "verbs": verbs,
    }
    if (group, version) != (item.group, item.version):
        found |= {"group": group, "version": version}
    return found


def _aggregate(item: resources.Resource) -> objects.Object:
    found: objects.Object = {
        "resource": item.plural,
        "responseKind": {"group": item.group, "version": item.version, "kind": item.kind},
        "scope": "Namespaced" if item.namespaced else "Cluster",
        "singularResource": item.singular_name,
        "verbs": list(item.verbs),
    }
    if item.short_names:
        found["shortNames"] = list(item.short_names)
    if item.categories:
        found["categories"] = list(item.categories)
    if item.subresources:
        listed = []
        for name in item.subresources:
            group, version, kind, verbs = _subresource_kind(item, name)
            response = {"group": group, "version": version, "kind": kind}
            listed.append({"subresource": name, "responseKind": response, "verbs": verbs})
        found["subresources"] = listed
    return found
