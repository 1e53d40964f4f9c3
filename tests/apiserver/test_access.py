"""Authorisation by RBAC objects, and the words of a refusal."""

import time
from collections.abc import Iterator
from typing import Any

import pytest

from devkit.apiserver import client, cluster

RULES: list[dict[str, Any]] = [
    {"apiGroups": [""], "resources": ["pods"], "verbs": ["get", "list"]},
    {"apiGroups": [""], "resources": ["secrets"], "resourceNames": ["one"], "verbs": ["get"]},
    {
        "apiGroups": ["secrets-store.csi.x-k8s.io"],
        "resources": ["secretproviderclasspodstatuses/status"],
        "verbs": ["get", "update"],
    },
    {"nonResourceURLs": ["/metrics/*"], "verbs": ["get"]},
]
RBAC = "rbac.authorization.k8s.io/v1"
ACCESS = "/apis/authorization.k8s.io/v1/"


@pytest.fixture
def bearer(api: cluster.Cluster) -> Iterator[client.Client]:
    """A service account with the rules above."""
    made = api.as_user(api.account_token("sa", RULES))
    wait_for_rules(api, made)
    yield made
    made.close()


def wait_for_rules(api: cluster.Cluster, made: client.Client) -> None:
    """A real server learns of bindings by its own watch."""
    deadline_mono = time.monotonic() + 20
    while made.request("GET", api.at("pods")).code == 403:
        assert time.monotonic() < deadline_mono
        time.sleep(0.05)


def refused(answer: client.Answer) -> str:
    assert answer.code == 403
    assert answer.obj["reason"] == "Forbidden"
    message: str = answer.obj["message"]
    return message


def test_what_a_rule_allows(api: cluster.Cluster, bearer: client.Client) -> None:
    assert bearer.request("GET", api.at("pods")).code == 200
    assert bearer.request("GET", "/api/v1/pods").code == 200
    assert bearer.request("GET", api.at("pods", "none")).code == 404
    assert bearer.request("GET", api.at("secrets", "one")).code == 404


def test_the_words_of_a_refusal(api: cluster.Cluster, bearer: client.Client) -> None:
    user = f'User "system:serviceaccount:{api.namespace}:sa"'
    place = f'in the namespace "{api.namespace}"'
    assert refused(bearer.request("GET", api.at("secrets", "two"))) == (
        f'secrets "two" is forbidden: {user} cannot get resource "secrets" in API group "" {place}'
    )
    assert refused(bearer.request("GET", api.at("secrets"))) == (
        f'secrets is forbidden: {user} cannot list resource "secrets" in API group "" {place}'
    )
    assert refused(bearer.request("GET", "/api/v1/nodes/n")) == (
        f'nodes "n" is forbidden: {user} cannot get resource "nodes" in API group "" '
        "at the cluster scope"
    )
    assert refused(bearer.request("POST", api.classes(), {})) == (
        "secretproviderclasses.secrets-store.csi.x-k8s.io is forbidden: "
        f'{user} cannot create resource "secretproviderclasses" in API group '
        f'"secrets-store.csi.x-k8s.io" {place}'
    )
    assert refused(bearer.request("GET", "/odd")) == f'forbidden: {user} cannot get path "/odd"'


@pytest.mark.parametrize(
    ("method", "tail", "verb"),
    [
        ("GET", "?watch=1", "watch"),
        ("POST", "", "create"),
        ("DELETE", "", "deletecollection"),
        ("PUT", "/a", "update"),
        ("PATCH", "/a", "patch"),
        ("DELETE", "/a", "delete"),
    ],
)
def test_verbs_are_told_apart(
    api: cluster.Cluster, bearer: client.Client, method: str, tail: str, verb: str
) -> None:
    kind = "application/merge-patch+json"
    answer = bearer.request(method, api.at("pods") + tail, {}, content_type=kind)
    assert f'cannot {verb} resource "pods"' in refused(answer)


def test_subresources_are_told_apart(api: cluster.Cluster, bearer: client.Client) -> None:
    status = f"{api.pod_statuses('a')}/status"
    assert bearer.request("GET", status).code == 404
    assert "secretproviderclasspodstatuses" in refused(bearer.request("GET", api.pod_statuses("a")))
    assert 'resource "pods/status"' in refused(
        bearer.request("GET", f"{api.at('pods', 'a')}/status")
    )


def test_paths_are_allowed_by_prefix(api: cluster.Cluster, bearer: client.Client) -> None:
    assert bearer.request("GET", "/metrics/slis").code in (200, 404)
    refused(bearer.request("GET", "/metricsandmore"))
    for path in ("/healthz", "/version", "/api", "/apis"):
        assert bearer.request("GET", path).code == 200


def test_a_role_holds_in_its_namespace(api: cluster.Cluster, bearer: client.Client) -> None:
    rules = [{"apiGroups": [""], "resources": ["configmaps"], "verbs": ["*"]}]
    role = {"metadata": {"name": "r"}, "rules": rules}
    api.client.request("POST", api.at("roles", group_version=RBAC), role).decoded()
    reference = {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "r"}
    subject = {"kind": "ServiceAccount", "name": "sa", "namespace": api.namespace}
    binding = {"metadata": {"name": "r"}, "roleRef": reference, "subjects": [subject]}
    api.client.request("POST", api.at("rolebindings", group_version=RBAC), binding).decoded()
    deadline_mono = time.monotonic() + 20
    while bearer.request("GET", api.at("configmaps")).code == 403:
        assert time.monotonic() < deadline_mono
        time.sleep(0.05)
    refused(bearer.request("GET", "/api/v1/namespaces/default/configmaps"))
    refused(bearer.request("GET", "/api/v1/configmaps"))


def test_a_missing_role_is_told(api: cluster.Cluster, bearer: client.Client) -> None:
    reference = {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "none"}
    subject = {"kind": "Group", "name": "system:serviceaccounts"}
    binding = {"metadata": {"name": "r"}, "roleRef": reference, "subjects": [subject]}
    api.client.request("POST", api.at("rolebindings", group_version=RBAC), binding).decoded()
    told = 'RBAC: role.rbac.authorization.k8s.io "none" not found'
    deadline_mono = time.monotonic() + 20
    while not refused(bearer.request("GET", api.at("secrets"))).endswith(told):
        assert time.monotonic() < deadline_mono
        time.sleep(0.05)


def test_nobody_may_look_at_versions_only(api: cluster.Cluster) -> None:
    stranger = api.as_user("")
    assert stranger.request("GET", "/version").code == 200
    assert 'User "system:anonymous" cannot list' in refused(stranger.request("GET", api.at("pods")))
    refused(stranger.request("GET", "/apis"))
    stranger.close()


@pytest.mark.parametrize(("verb", "allowed"), [("get", True), ("delete", False)])
def test_one_can_ask_what_one_may(
    api: cluster.Cluster, bearer: client.Client, verb: str, allowed: bool
) -> None:
    asked = {"verb": verb, "resource": "pods", "namespace": api.namespace}
    body: dict[str, Any] = {"spec": {"resourceAttributes": asked}}
    found = bearer.request("POST", f"{ACCESS}selfsubjectaccessreviews", body)
    assert (found.code, found.obj["status"]["allowed"]) == (201, allowed)
    body["spec"]["user"] = f"system:serviceaccount:{api.namespace}:sa"
    found = api.client.request("POST", f"{ACCESS}subjectaccessreviews", body)
    assert found.obj["status"]["allowed"] is allowed
    refused(bearer.request("POST", f"{ACCESS}subjectaccessreviews", body))


def test_one_can_list_what_one_may(api: cluster.Cluster, bearer: client.Client) -> None:
    body = {"spec": {"namespace": api.namespace}}
    status = bearer.request("POST", f"{ACCESS}selfsubjectrulesreviews", body).obj["status"]
    assert {
        "verbs": ["get", "list"],
        "apiGroups": [""],
        "resources": ["pods"],
    } in status["resourceRules"]
    assert {"verbs": ["get"], "nonResourceURLs": ["/metrics/*"]} in status["nonResourceRules"]


def test_an_administrator_can_act_as_another(api: cluster.Cluster, bearer: client.Client) -> None:
    name = f"system:serviceaccount:{api.namespace}:sa"
    headers = {"impersonate-user": name}
    assert api.client.request("GET", api.at("pods"), headers=headers).code == 200
    answer = api.client.request("GET", api.at("secrets"), headers=headers)
    assert f'User "{name}" cannot list' in refused(answer)


@pytest.mark.parametrize(
    ("rule", "field"),
    [
        ({"apiGroups": [""], "resources": ["pods"]}, "rules[0].verbs"),
        ({"apiGroups": [""], "verbs": ["get"]}, "rules[0].resources"),
        ({"resources": ["pods"], "verbs": ["get"]}, "rules[0].apiGroups"),
    ],
)
def test_a_rule_is_checked(api: cluster.Cluster, rule: dict[str, Any], field: str) -> None:
    body = {"metadata": {"name": "r"}, "rules": [rule]}
    answer = api.client.request("POST", api.at("roles", group_version=RBAC), body)
    assert answer.code == 422
    assert field in [cause["field"] for cause in answer.obj["details"]["causes"]]


def test_a_binding_keeps_its_role(api: cluster.Cluster) -> None:
    reference = {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "a"}
    body: dict[str, Any] = {
        "metadata": {"name": "b"},
        "roleRef": reference,
        "subjects": [{"kind": "User", "name": "u"}],
    }
    path = api.at("rolebindings", group_version=RBAC)
    created = api.client.request("POST", path, body).obj
    assert created["subjects"][0]["apiGroup"] == "rbac.authorization.k8s.io"
    body["roleRef"] = reference | {"name": "other"}
    answer = api.client.request("PUT", f"{path}/b", body)
    assert answer.code == 422
    assert answer.obj["details"]["causes"][0]["field"] == "roleRef"
