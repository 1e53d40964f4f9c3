"""Authorisation by the Role, ClusterRole and binding objects in the store.

Source: kubernetes `plugin/pkg/auth/authorizer/rbac`, apiserver `responsewriters` (the texts).
"""

from collections.abc import Iterator

from devkit.apiserver import calls, objects, resources, routes, selectors, store

_GROUP = "rbac.authorization.k8s.io"
_MASTERS = "system:masters"
Rule = objects.Object


def describe(user: calls.User, route: routes.Route) -> str:
    """Return the sentence that tells what a user may not do."""
    if not route.is_resource:
        return f'User "{user.name}" cannot {route.verb} path "{route.path}"'
    resource = route.resource + (f"/{route.subresource}" if route.subresource else "")
    where = f'in the namespace "{route.namespace}"' if route.namespace else "at the cluster scope"
    return (
        f'User "{user.name}" cannot {route.verb} resource "{resource}" in API group '
        f'"{route.group}" {where}'
    )


class Authorizer:
    """Looks through the bindings at every request, as they are then."""

    def __init__(self, kept: store.Store) -> None:
        self._store = kept

    def refusal(self, user: calls.User, route: routes.Route) -> str:
        """Return why the user may not do this; empty if they may."""
        if _MASTERS in user.groups:
            return ""
        missing: list[str] = []
        for rule in self._rules(user, route.namespace, missing):
            if _allows(rule, route):
                return ""
        told = describe(user, route)
        if missing:
            listed = missing[0] if len(missing) == 1 else f"[{', '.join(missing)}]"
            told += f": RBAC: {listed}"
        return told

    def rules(self, user: calls.User, namespace: str) -> list[Rule]:
        """Return all rules that hold for a user in a namespace."""
        if _MASTERS in user.groups:
            everything = ["*"]
            return [
                {"verbs": everything, "apiGroups": everything, "resources": everything},
                {"verbs": everything, "nonResourceURLs": everything},
            ]
        return list(self._rules(user, namespace, []))

    def _rules(self, user: calls.User, namespace: str, missing: list[str]) -> Iterator[Rule]:
        bindings = [("", obj) for obj in self._store.all_of(f"clusterrolebindings.{_GROUP}")]
        if namespace:
            bindings += [
                (namespace, obj)
                for obj in self._store.all_of(f"rolebindings.{_GROUP}")
                if objects.namespace_of(obj) == namespace
            ]
        for scope, binding in bindings:
            if any(_is(subject, user, scope) for subject in binding.get("subjects") or ()):
                yield from self._rules_of(binding["roleRef"], scope, missing)

    def _rules_of(self, reference: Rule, scope: str, missing: list[str]) -> Iterator[Rule]:
        kind, name = reference["kind"].lower(), reference["name"]
        place = scope if kind == "role" else ""
        entry = self._store.get(f"{kind}s.{_GROUP}", place, name)
        if entry is None:
            missing.append(f'{kind}.{_GROUP} "{name}" not found')
            return
        yield from entry.obj.get("rules") or ()
        # The aggregation controller would write these into the role.
        aggregated = (entry.obj.get("aggregationRule") or {}).get("clusterRoleSelectors") or ()
        for selector in aggregated:
            requirements = selectors.from_label_selector(selector)
            for role in self._store.all_of(f"clusterroles.{_GROUP}"):
                labels = objects.metadata(role).get("labels", {})
                if role is not entry.obj and all(item.matches(labels) for item in requirements):
                    yield from role.get("rules") or ()


def _is(subject: Rule, user: calls.User, namespace: str) -> bool:
    match subject["kind"]:
        case "User":
            return bool(subject["name"] == user.name)
        case "Group":
            return subject["name"] in user.groups
        case "ServiceAccount":
            account_namespace = subject.get("namespace") or namespace
            return user.name == f"system:serviceaccount:{account_namespace}:{subject['name']}"
    return False


def _allows(rule: Rule, route: routes.Route) -> bool:
    if not _has(rule.get("verbs"), route.verb):
        return False
    if not route.is_resource:
        return any(_url_matches(url, route.path) for url in rule.get("nonResourceURLs") or ())
    if not _has(rule.get("apiGroups"), route.group):
        return False
    resource = route.resource + (f"/{route.subresource}" if route.subresource else "")
    listed = rule.get("resources") or ()
    any_of_subresource = f"*/{route.subresource}" if route.subresource else None
    if "*" not in listed and resource not in listed and any_of_subresource not in listed:
        return False
    names = rule.get("resourceNames")
    return not names or route.name in names


def _has(listed: list[str] | None, value: str) -> bool:
    return listed is not None and ("*" in listed or value in listed)


def _url_matches(pattern: str, path: str) -> bool:
    if pattern.endswith("*"):
        return path.startswith(pattern[:-1])
    return pattern == path


def _cluster_role(name: str, rules: list[Rule], **labels: str) -> objects.Object:
    meta: objects.Object = {"name": name}
    if labels:
        meta["labels"] = {f"{_GROUP}/aggregate-to-{key}": value for key, value in labels.items()}
    return {
        "apiVersion": f"{_GROUP}/v1",
        "kind": "ClusterRole",
        "metadata": meta,
        "rules": rules,
    }


def _binding(name: str, *groups: str) -> objects.Object:
    return {
        "apiVersion": f"{_GROUP}/v1",
        "kind": "ClusterRoleBinding",
        "metadata": {"name": name},
        "roleRef": {"apiGroup": _GROUP, "kind": "ClusterRole", "name": name},
        "subjects": [{"apiGroup": _GROUP, "kind": "Group", "name": group} for group in groups],
    }


def _aggregating(name: str) -> objects.Object:
    role = _cluster_role(name, [])
    selector = {"matchLabels": {f"{_GROUP}/aggregate-to-{name}": "true"}}
    role["aggregationRule"] = {"clusterRoleSelectors": [selector]}
    return role


def _user_rules(verbs: list[str], *, secret: bool, access: bool) -> list[Rule]:
    """Rules over what the table has in namespaces; secrets and RBAC objects are apart."""
    by_group: dict[str, list[str]] = {}
    for item in resources.BUILT_IN:
        is_secret, is_access = item.plural == "secrets", item.group == _GROUP
        if item.namespaced and is_secret is secret and is_access is access and "get" in item.verbs:
            by_group.setdefault(item.group, []).append(item.plural)
    return [
        {"apiGroups": [group], "resources": plurals, "verbs": verbs}
        for group, plurals in by_group.items()
    ]


_READ = ["get", "list", "watch"]
_WRITE = ["create", "delete", "deletecollection", "patch", "update"]


def default_objects() -> list[objects.Object]:
    """Return the roles and bindings that a cluster has from the start, as far as they matter here.

    Source: the default roles page of the Kubernetes RBAC documentation.
    """
    everything = [
        {"apiGroups": ["*"], "resources": ["*"], "verbs": ["*"]},
        {"nonResourceURLs": ["*"], "verbs": ["*"]},
    ]
    discovery = [
        "/api",
        "/api/*",
        "/apis",
        "/apis/*",
        "/healthz",
        "/livez",
        "/openapi",
        "/openapi/*",
        "/readyz",
        "/version",
        "/version/",
    ]
    public = ["/healthz", "/livez", "/readyz", "/version", "/version/"]
    reviews = ["selfsubjectaccessreviews", "selfsubjectrulesreviews"]
    basic = [
        {"apiGroups": ["authorization.k8s.io"], "resources": reviews, "verbs": ["create"]},
        {
            "apiGroups": ["authentication.k8s.io"],
            "resources": ["selfsubjectreviews"],
            "verbs": ["create"],
        },
    ]
    plain = {"secret": False, "access": False}
    secret = _user_rules([*_READ, *_WRITE], secret=True, access=False)
    access = _user_rules([*_READ, *_WRITE], secret=False, access=True)
    return [
        _cluster_role("cluster-admin", everything),
        _binding("cluster-admin", _MASTERS),
        _cluster_role("system:discovery", [{"nonResourceURLs": discovery, "verbs": ["get"]}]),
        _binding("system:discovery", "system:authenticated"),
        _cluster_role("system:public-info-viewer", [{"nonResourceURLs": public, "verbs": ["get"]}]),
        _binding("system:public-info-viewer", "system:authenticated", "system:unauthenticated"),
        _cluster_role("system:basic-user", basic),
        _binding("system:basic-user", "system:authenticated"),
        _aggregating("admin"),
        _aggregating("edit"),
        _aggregating("view"),
        _cluster_role(
            "system:aggregate-to-view",
            _user_rules(_READ, **plain),
            view="true",
            edit="true",
            admin="true",
        ),
        _cluster_role(
            "system:aggregate-to-edit",
            _user_rules(_WRITE, **plain) + secret,
            edit="true",
            admin="true",
        ),
        _cluster_role("system:aggregate-to-admin", access, admin="true"),
    ]
