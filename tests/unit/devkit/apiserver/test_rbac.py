from typing import Any

import pytest

from devkit.apiserver import calls, identity, rbac, routes, store

GROUP = "rbac.authorization.k8s.io"
SA = identity.service_account("n", "sa", "u")


@pytest.fixture
def authorizer(kept: store.Store) -> rbac.Authorizer:
    return rbac.Authorizer(kept)


def role(kept: store.Store, name: str, *rules: Any, namespace: str = "", **fields: Any) -> None:
    meta = {"name": name, "uid": f"{namespace}/{name}", **fields.pop("meta", {})}
    if namespace:
        meta["namespace"] = namespace
    kind = "roles" if namespace else "clusterroles"
    kept.put(f"{kind}.{GROUP}", {"metadata": meta, "rules": list(rules), **fields})


def bind(
    kept: store.Store, name: str, subject: Any, kind: str = "ClusterRole", namespace: str = ""
) -> None:
    meta = {"name": name, "uid": f"binding {namespace}/{name}"}
    if namespace:
        meta["namespace"] = namespace
    storage = "rolebindings" if namespace else "clusterrolebindings"
    reference = {"kind": kind, "name": name}
    body = {"metadata": meta, "roleRef": reference, "subjects": [subject]}
    kept.put(f"{storage}.{GROUP}", body)


ACCOUNT = {"kind": "ServiceAccount", "name": "sa", "namespace": "n"}
PODS = {"apiGroups": [""], "resources": ["pods"], "verbs": ["get"]}
GET = routes.Route("get", "", "", "v1", "pods", "", "n", "p")


@pytest.mark.parametrize(
    ("rule", "allowed"),
    [
        (PODS, True),
        ({"apiGroups": ["*"], "resources": ["*"], "verbs": ["*"]}, True),
        ({**PODS, "verbs": ["list"]}, False),
        ({**PODS, "apiGroups": ["apps"]}, False),
        ({**PODS, "resources": ["pods/status"]}, False),
        ({**PODS, "resourceNames": ["p"]}, True),
        ({**PODS, "resourceNames": ["q"]}, False),
        ({"nonResourceURLs": ["*"], "verbs": ["*"]}, False),
    ],
)
def test_rules(
    kept: store.Store, authorizer: rbac.Authorizer, rule: dict[str, Any], allowed: bool
) -> None:
    role(kept, "r", rule)
    bind(kept, "r", ACCOUNT)
    assert (authorizer.refusal(SA, GET) == "") is allowed


@pytest.mark.parametrize(
    ("resources", "allowed"),
    [(["pods"], False), (["pods/status"], True), (["*/status"], True), (["*"], True)],
)
def test_subresources(
    kept: store.Store, authorizer: rbac.Authorizer, resources: list[str], allowed: bool
) -> None:
    role(kept, "r", {**PODS, "resources": resources})
    bind(kept, "r", ACCOUNT)
    status = routes.Route("get", "", "", "v1", "pods", "status", "n", "p")
    assert (authorizer.refusal(SA, status) == "") is allowed


@pytest.mark.parametrize(
    ("pattern", "path", "allowed"),
    [
        ("/metrics", "/metrics", True),
        ("/metrics", "/metrics/x", False),
        ("/metrics/*", "/metrics/x", True),
        ("/metrics/*", "/metrics", False),
        ("*", "/any", True),
    ],
)
def test_paths(
    kept: store.Store, authorizer: rbac.Authorizer, pattern: str, path: str, allowed: bool
) -> None:
    role(kept, "r", {"nonResourceURLs": [pattern], "verbs": ["get"]})
    bind(kept, "r", ACCOUNT)
    assert (authorizer.refusal(SA, routes.Route("get", path)) == "") is allowed


@pytest.mark.parametrize(
    ("subject", "allowed"),
    [
        (ACCOUNT, True),
        ({**ACCOUNT, "namespace": "m"}, False),
        ({**ACCOUNT, "name": "other"}, False),
        ({"kind": "User", "name": "system:serviceaccount:n:sa"}, True),
        ({"kind": "Group", "name": "system:serviceaccounts:n"}, True),
        ({"kind": "Group", "name": "system:serviceaccounts:m"}, False),
        ({"kind": "Odd", "name": "sa"}, False),
    ],
)
def test_subjects(
    kept: store.Store, authorizer: rbac.Authorizer, subject: dict[str, str], allowed: bool
) -> None:
    role(kept, "r", PODS)
    bind(kept, "r", subject)
    assert (authorizer.refusal(SA, GET) == "") is allowed


def test_a_role_holds_in_its_namespace(kept: store.Store, authorizer: rbac.Authorizer) -> None:
    role(kept, "r", PODS, namespace="n")
    bind(kept, "r", {"kind": "ServiceAccount", "name": "sa"}, "Role", "n")
    assert authorizer.refusal(SA, GET) == ""
    elsewhere = routes.Route("get", "", "", "v1", "pods", "", "m", "p")
    assert authorizer.refusal(SA, elsewhere)
    everywhere = routes.Route("list", "", "", "v1", "pods")
    assert authorizer.refusal(SA, everywhere)
    assert authorizer.rules(SA, "n") == [PODS]
    assert authorizer.rules(SA, "m") == []


def test_aggregated_roles(kept: store.Store, authorizer: rbac.Authorizer) -> None:
    selector = {"matchLabels": {"aggregate": "yes"}}
    role(kept, "r", aggregationRule={"clusterRoleSelectors": [selector]})
    role(kept, "part", PODS, meta={"labels": {"aggregate": "yes"}})
    bind(kept, "r", ACCOUNT)
    assert authorizer.refusal(SA, GET) == ""


def test_the_words(kept: store.Store, authorizer: rbac.Authorizer) -> None:
    jane = calls.User("jane")
    assert authorizer.refusal(jane, GET) == (
        'User "jane" cannot get resource "pods" in API group "" in the namespace "n"'
    )
    bind(kept, "none", {"kind": "User", "name": "jane"})
    bind(kept, "gone", {"kind": "User", "name": "jane"})
    assert authorizer.refusal(jane, routes.Route("get", "/x")) == (
        'User "jane" cannot get path "/x": RBAC: [clusterrole.rbac.authorization.k8s.io "none" not '
        'found, clusterrole.rbac.authorization.k8s.io "gone" not found]'
    )


def test_masters_may_do_everything(authorizer: rbac.Authorizer) -> None:
    assert authorizer.refusal(calls.ADMIN, GET) == ""
    assert len(authorizer.rules(calls.ADMIN, "n")) == 2


def test_the_default_roles(kept: store.Store, authorizer: rbac.Authorizer) -> None:
    for obj in rbac.default_objects():
        obj["metadata"]["uid"] = f"{obj['kind']} {obj['metadata']['name']}"
        kept.put(f"{obj['kind'].lower()}s.{GROUP}", obj)
    viewer = calls.User("v", groups=("system:authenticated",))
    bind(kept, "view", {"kind": "User", "name": "v"})
    assert authorizer.refusal(viewer, GET) == ""
    secret = routes.Route("get", "", "", "v1", "secrets", "", "n", "s")
    assert authorizer.refusal(viewer, secret)
    assert authorizer.refusal(viewer, routes.Route("get", "/apis/apps/v1")) == ""
    assert authorizer.refusal(identity.ANONYMOUS, routes.Route("get", "/version")) == ""
    assert authorizer.refusal(identity.ANONYMOUS, routes.Route("get", "/apis"))
