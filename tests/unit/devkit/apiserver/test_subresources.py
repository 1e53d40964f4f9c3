from typing import Any

import pytest

from devkit.apiserver import errors, server

PODS = "/api/v1/namespaces/default/pods"
TOKEN = "/api/v1/namespaces/default/serviceaccounts/sa/token"


@pytest.fixture(autouse=True)
def pod(api: server.APIServer) -> dict[str, Any]:
    api.create({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "sa"}})
    api.create({"apiVersion": "v1", "kind": "Node", "metadata": {"name": "n1"}})
    spec = {
        "nodeName": "n1",
        "serviceAccountName": "sa",
        "containers": [{"name": "c", "image": "i"}],
    }
    return api.request("POST", PODS, {"metadata": {"name": "p"}, "spec": spec})


def test_a_token_by_convenience(api: server.APIServer, pod: dict[str, Any]) -> None:
    status = api.service_account_token("sa", audiences=("a",), lifetime_s=600, pod=pod)
    assert status["token"].count(".") == 2


@pytest.mark.parametrize(
    ("spec", "code"),
    [
        ({"expirationSeconds": 1}, 422),
        ({"expirationSeconds": 1 << 33}, 422),
        ({"boundObjectRef": {"apiVersion": "v1", "kind": "Pod", "name": "none"}}, 404),
        ({"boundObjectRef": {"apiVersion": "v1", "kind": "Odd", "name": "p"}}, 400),
        ({"boundObjectRef": {"apiVersion": "v1", "kind": "Pod", "name": "p", "uid": "x"}}, 409),
        ({"audiences": 5}, 400),
    ],
)
def test_tokens_refused(api: server.APIServer, spec: dict[str, Any], code: int) -> None:
    with pytest.raises(errors.StatusError) as caught:
        api.request("POST", TOKEN, {"spec": spec})
    assert caught.value.code == code


def test_a_pod_of_another_account(api: server.APIServer, pod: dict[str, Any]) -> None:
    api.create({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "other"}})
    with pytest.raises(errors.StatusError, match="different serviceaccount"):
        api.service_account_token("other", pod=pod)


def test_other_kinds_are_refused(api: server.APIServer) -> None:
    for body in ({"kind": "Odd"}, [1]):
        with pytest.raises(errors.StatusError) as caught:
            api.request("POST", TOKEN, body)
        assert caught.value.code == 400


def test_binding_and_eviction_run_dry(api: server.APIServer) -> None:
    body: dict[str, Any] = {"metadata": {"name": "q"}}
    body["spec"] = {"containers": [{"name": "c", "image": "i"}]}
    before = api.request("POST", PODS, body)
    target = {"target": {"kind": "Node", "name": "n1"}}
    api.request("POST", f"{PODS}/q/binding?dryRun=All", target)
    api.request("POST", f"{PODS}/q/eviction?dryRun=All", {"metadata": {"name": "q"}})
    assert api.request("GET", f"{PODS}/q") == before
    api.request("POST", f"{PODS}/q/binding", target)
    found = api.request("GET", f"{PODS}/q")
    assert found["spec"]["nodeName"] == "n1"
    assert found["status"]["conditions"][0]["type"] == "PodScheduled"
