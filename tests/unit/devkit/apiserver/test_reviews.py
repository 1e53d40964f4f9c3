from typing import Any

import pytest

from devkit.apiserver import errors, server

TOKENS = "/apis/authentication.k8s.io/v1/tokenreviews"
ACCESS = "/apis/authorization.k8s.io/v1/"


@pytest.fixture
def strict() -> server.APIServer:
    return server.APIServer(tls_port=None, rbac=True)


def test_tokens(api: server.APIServer) -> None:
    found = api.request("POST", TOKENS, {"spec": {"token": api.admin_token}})["status"]
    assert found["authenticated"] is True
    assert found["user"]["groups"] == ["system:masters", "system:authenticated"]
    found = api.request("POST", TOKENS, {"spec": {"token": "odd"}})["status"]
    assert found == {"user": {}, "error": "invalid bearer token"}
    with pytest.raises(errors.StatusError):
        api.request("POST", TOKENS, {"spec": {}})


@pytest.mark.parametrize(
    ("user", "attributes", "allowed"),
    [
        ({"user": "u"}, {"resourceAttributes": {"verb": "get", "resource": "pods"}}, False),
        ({"groups": ["system:masters"]}, {"resourceAttributes": {"verb": "get"}}, True),
        (
            {"groups": ["system:authenticated"]},
            {"nonResourceAttributes": {"verb": "get", "path": "/apis"}},
            True,
        ),
    ],
)
def test_access(
    strict: server.APIServer, user: dict[str, Any], attributes: dict[str, Any], allowed: bool
) -> None:
    body = {"spec": user | attributes}
    found = strict.request("POST", f"{ACCESS}subjectaccessreviews", body)
    assert found["status"]["allowed"] is allowed


def test_the_namespace_of_a_local_review_counts(strict: server.APIServer) -> None:
    attributes = {"verb": "get", "resource": "pods"}
    body = {"spec": {"user": "u", "resourceAttributes": attributes}}
    path = f"{ACCESS}namespaces/default/localsubjectaccessreviews"
    assert strict.request("POST", path, body)["status"]["allowed"] is False


@pytest.mark.parametrize(
    "spec",
    [
        {"resourceAttributes": {"verb": "get"}},
        {"user": "u"},
        {
            "user": "u",
            "resourceAttributes": {"verb": "get"},
            "nonResourceAttributes": {"verb": "get", "path": "/"},
        },
    ],
)
def test_incomplete_questions(strict: server.APIServer, spec: dict[str, Any]) -> None:
    with pytest.raises(errors.StatusError) as caught:
        strict.request("POST", f"{ACCESS}subjectaccessreviews", {"spec": spec})
    assert caught.value.code == 422


def test_oneself(api: server.APIServer) -> None:
    path = "/apis/authentication.k8s.io/v1/selfsubjectreviews"
    assert api.request("POST", path, {})["status"]["userInfo"]["username"] == "system:admin"
    body: dict[str, Any] = {"spec": {"namespace": "default"}}
    found = api.request("POST", f"{ACCESS}selfsubjectrulesreviews", body)["status"]
    assert found["resourceRules"] == [{"verbs": ["*"], "apiGroups": ["*"], "resources": ["*"]}]
    body = {"spec": {"resourceAttributes": {"verb": "get", "resource": "pods"}}}
    found = api.request("POST", f"{ACCESS}selfsubjectaccessreviews", body)["status"]
    assert found["allowed"] is True
