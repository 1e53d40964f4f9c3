"""Service accounts: the tokens they get, and what is known of their bearers."""

import base64
import json
import time
from typing import Any

import pytest

from devkit.apiserver import cluster

REVIEWS = "/apis/authentication.k8s.io/v1/tokenreviews"
API_AUDIENCE = "https://kubernetes.default.svc.cluster.local"


@pytest.fixture
def account(api: cluster.Cluster) -> str:
    """The path of a service account."""
    body = {"metadata": {"name": "sa"}}
    api.client.request("POST", api.at("serviceaccounts"), body).decoded()
    return api.at("serviceaccounts", "sa")


@pytest.fixture
def pod(api: cluster.Cluster, account: str) -> dict[str, Any]:
    spec = {
        "nodeName": "n1",
        "serviceAccountName": "sa",
        "containers": [{"name": "c", "image": "i"}],
    }
    body = {"metadata": {"name": "p"}, "spec": spec}
    return api.client.request("POST", api.at("pods"), body).decoded()


def ask(api: cluster.Cluster, account: str, **spec: Any) -> dict[str, Any]:
    return api.client.request("POST", f"{account}/token", {"spec": spec}).decoded()


def bound_to(pod: dict[str, Any]) -> dict[str, Any]:
    meta = pod["metadata"]
    return {"apiVersion": "v1", "kind": "Pod", "name": meta["name"], "uid": meta["uid"]}


def claims(token: str) -> dict[str, Any]:
    payload = token.split(".")[1]
    found: dict[str, Any] = json.loads(
        base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4))
    )
    return found


def review(api: cluster.Cluster, token: str, *audiences: str) -> dict[str, Any]:
    body = {
        "apiVersion": "authentication.k8s.io/v1",
        "kind": "TokenReview",
        "spec": {"token": token, "audiences": list(audiences)},
    }
    answer = api.client.request("POST", REVIEWS, body)
    assert answer.code == 201
    status: dict[str, Any] = answer.obj["status"]
    return status


def test_a_token_says_whose_it_is(api: cluster.Cluster, account: str) -> None:
    answer = ask(api, account, audiences=["vault", "other"], expirationSeconds=700)
    assert answer["spec"]["audiences"] == ["vault", "other"]
    assert answer["status"]["expirationTimestamp"].endswith("Z")
    found = claims(answer["status"]["token"])
    uid = api.client.request("GET", account).obj["metadata"]["uid"]
    assert found["aud"] == ["vault", "other"]
    assert found["sub"] == f"system:serviceaccount:{api.namespace}:sa"
    assert found["exp"] - found["iat"] == 700
    assert abs(found["iat"] - time.time()) < 60
    assert found["nbf"] == found["iat"]
    assert found["kubernetes.io"] == {
        "namespace": api.namespace,
        "serviceaccount": {"name": "sa", "uid": uid},
    }


def test_a_token_is_for_the_server_by_default(api: cluster.Cluster, account: str) -> None:
    found = claims(ask(api, account)["status"]["token"])
    assert found["aud"] == [API_AUDIENCE]
    assert found["exp"] - found["iat"] == 3600


def test_a_token_is_bound_to_a_pod(api: cluster.Cluster, account: str, pod: dict[str, Any]) -> None:
    token = ask(api, account, audiences=["vault"], boundObjectRef=bound_to(pod))["status"]["token"]
    found = claims(token)["kubernetes.io"]
    assert found["pod"] == {"name": "p", "uid": pod["metadata"]["uid"]}
    assert found["node"] == {"name": "n1"}
    extra = review(api, token, "vault")["user"]["extra"]
    assert extra["authentication.kubernetes.io/pod-name"] == ["p"]
    assert extra["authentication.kubernetes.io/pod-uid"] == [pod["metadata"]["uid"]]
    assert extra["authentication.kubernetes.io/node-name"] == ["n1"]


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"name": "none"}, 404),
        ({"uid": "other"}, 409),
        ({"kind": "Job", "apiVersion": "batch/v1"}, 400),
    ],
)
def test_a_token_cannot_be_bound_to_what_is_not_there(
    api: cluster.Cluster, account: str, pod: dict[str, Any], change: dict[str, str], code: int
) -> None:
    body = {"spec": {"boundObjectRef": bound_to(pod) | change}}
    assert api.client.request("POST", f"{account}/token", body).code == code


def test_a_lifetime_has_a_lower_bound(api: cluster.Cluster, account: str) -> None:
    answer = api.client.request("POST", f"{account}/token", {"spec": {"expirationSeconds": 599}})
    assert answer.code == 422
    (cause,) = answer.obj["details"]["causes"]
    assert cause["field"] == "spec.expirationSeconds"


def test_an_absent_account_gets_no_token(api: cluster.Cluster) -> None:
    path = api.at("serviceaccounts", "none")
    assert api.client.request("POST", f"{path}/token", {"spec": {}}).code == 404


def test_a_review_tells_who_it_is(api: cluster.Cluster, account: str) -> None:
    token = ask(api, account, audiences=["vault", "more"])["status"]["token"]
    status = review(api, token, "vault", "unknown")
    assert status["authenticated"] is True
    assert status["audiences"] == ["vault"]
    assert status["user"]["username"] == f"system:serviceaccount:{api.namespace}:sa"
    assert set(status["user"]["groups"]) == {
        "system:serviceaccounts",
        f"system:serviceaccounts:{api.namespace}",
        "system:authenticated",
    }


def test_a_review_refuses(api: cluster.Cluster, account: str) -> None:
    token = ask(api, account, audiences=["vault"])["status"]["token"]
    for bad in (review(api, token), review(api, "nonsense"), review(api, token[:-4], "vault")):
        assert not bad.get("authenticated")
        assert bad["error"]


def test_a_token_ends_with_its_account(api: cluster.Cluster, account: str) -> None:
    token = ask(api, account, audiences=["vault"])["status"]["token"]
    api.client.request("DELETE", account)
    assert not review(api, token, "vault").get("authenticated")


def test_a_token_ends_with_its_pod(api: cluster.Cluster, account: str, pod: dict[str, Any]) -> None:
    token = ask(api, account, audiences=["vault"], boundObjectRef=bound_to(pod))["status"]["token"]
    api.client.request("DELETE", api.at("pods", "p"), {"gracePeriodSeconds": 0})
    assert not review(api, token, "vault").get("authenticated")


def test_a_token_is_a_way_in(api: cluster.Cluster, account: str) -> None:
    token = ask(api, account)["status"]["token"]
    bearer = api.as_user(token)
    body = {"apiVersion": "authentication.k8s.io/v1", "kind": "SelfSubjectReview"}
    path = "/apis/authentication.k8s.io/v1/selfsubjectreviews"
    found = bearer.request("POST", path, body).obj["status"]["userInfo"]
    assert found["username"] == f"system:serviceaccount:{api.namespace}:sa"
    bearer.close()


def test_a_bad_token_is_not_a_way_in(api: cluster.Cluster, account: str) -> None:
    wrong_audience = ask(api, account, audiences=["vault"])["status"]["token"]
    for token in ("nonsense", wrong_audience):
        bearer = api.as_user(token)
        answer = bearer.request("GET", api.at("pods"))
        assert answer.code == 401
        assert answer.obj["reason"] == "Unauthorized"
        assert answer.obj["message"] == "Unauthorized"
        bearer.close()


def test_keys_are_published(api: cluster.Cluster) -> None:
    found = api.client.request("GET", "/.well-known/openid-configuration").obj
    assert found["issuer"] == API_AUDIENCE
    assert found["jwks_uri"] == f"{api.url}/openid/v1/jwks"
    answer = api.client.request("GET", "/openid/v1/jwks", accept="*/*")
    assert answer.headers["content-type"] == "application/jwk-set+json"
    keys = answer.obj["keys"]
    assert keys
    assert all(key["kty"] in ("RSA", "EC") and key["kid"] for key in keys)
