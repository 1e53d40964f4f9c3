from typing import Any

import pytest

from devkit.apiserver import errors, server, writing

SECRETS = "/api/v1/namespaces/default/secrets"
CLASSES = "/apis/secrets-store.csi.x-k8s.io/v1/namespaces/default/secretproviderclasses"


def test_patch_types_by_kind() -> None:
    assert writing.STRATEGIC in writing.types_of_patch(custom=False)
    assert writing.STRATEGIC not in writing.types_of_patch(custom=True)


def test_a_body_is_not_changed(api: server.APIServer) -> None:
    body: dict[str, Any] = {"metadata": {"name": "a"}, "stringData": {"k": "v"}, "data": {}}
    before = str(body)
    api.request("POST", SECRETS, body)
    assert str(body) == before


def test_what_was_read_is_not_changed_by_later_writes(api: server.APIServer) -> None:
    first = api.request("POST", SECRETS, {"metadata": {"name": "a"}, "data": {"k": "dg=="}})
    merge = "application/merge-patch+json"
    api.request("PATCH", f"{SECRETS}/a", {"data": {"k": "dw=="}}, merge)
    assert first["data"] == {"k": "dg=="}


@pytest.mark.parametrize(
    ("method", "path", "body", "kind", "code"),
    [
        ("POST", SECRETS, {"metadata": {"name": "a", "resourceVersion": "1"}}, "", 500),
        ("POST", SECRETS, {"metadata": {"name": "a", "namespace": "x"}}, "", 400),
        ("POST", SECRETS, {"metadata": 5}, "", 400),
        ("PUT", f"{SECRETS}/a", {"metadata": {}}, "", 400),
        ("PUT", f"{SECRETS}/a", {"metadata": {"name": "b"}}, "", 400),
        ("PUT", f"{SECRETS}/b", {"metadata": {"name": "b"}}, "", 404),
        ("PUT", f"{SECRETS}/a", {"metadata": {"name": "a", "resourceVersion": "x"}}, "", 500),
        ("PUT", f"{SECRETS}/a", {"metadata": {"name": "a", "uid": "x"}}, "", 409),
        ("PATCH", f"{SECRETS}/a", {"metadata": {"name": "b"}}, writing.MERGE, 400),
        ("PATCH", f"{SECRETS}/a", {"metadata": {"uid": "x"}}, writing.MERGE, 422),
        ("PATCH", f"{SECRETS}/a", [], writing.MERGE, 400),
        (
            "PATCH",
            f"{SECRETS}/a",
            [{"op": "replace", "path": "", "value": 1}],
            writing.JSON_PATCH,
            400,
        ),
        ("PATCH", f"{SECRETS}/b", {}, writing.MERGE, 404),
    ],
)
def test_refusals(
    api: server.APIServer, method: str, path: str, body: Any, kind: str, code: int
) -> None:
    api.request("POST", SECRETS, {"metadata": {"name": "a"}})
    with pytest.raises(errors.StatusError) as caught:
        api.request(method, path, body, kind or "application/json")
    assert caught.value.code == code


def test_generation_follows_the_spec(api: server.APIServer) -> None:
    kind = {"apiVersion": "secrets-store.csi.x-k8s.io/v1", "kind": "SecretProviderClass"}
    made = api.request("POST", CLASSES, kind | {"metadata": {"name": "c", "generation": 7}})
    assert made["metadata"]["generation"] == 1
    made["metadata"]["labels"] = {"a": "b"}
    made = api.request("PUT", f"{CLASSES}/c", made)
    assert made["metadata"]["generation"] == 1
    made["spec"] = {"provider": "p"}
    assert api.request("PUT", f"{CLASSES}/c", made)["metadata"]["generation"] == 2


def test_a_status_write_keeps_the_rest(api: server.APIServer) -> None:
    pod = {
        "metadata": {"name": "p", "ownerReferences": []},
        "spec": {"nodeName": "n", "containers": [{"name": "c", "image": "i"}]},
    }
    path = "/api/v1/namespaces/default/pods"
    made = api.request("POST", path, pod)
    owner = {"apiVersion": "v1", "kind": "Pod", "name": "x", "uid": "x"}
    made["metadata"] |= {"ownerReferences": [owner], "annotations": {"a": "b"}}
    made["spec"] = {"nodeName": "other"}
    made["status"] = {"phase": "Running"}
    after = api.request("PUT", f"{path}/p/status", made)
    assert after["status"] == {"phase": "Running"}
    assert after["spec"]["nodeName"] == "n"
    assert after["metadata"]["annotations"] == {"a": "b"}
    assert "ownerReferences" not in after["metadata"]


def test_objects_are_stored_in_one_version(api: server.APIServer) -> None:
    old = CLASSES.replace("/v1/", "/v1alpha1/")
    kind = {"apiVersion": "secrets-store.csi.x-k8s.io/v1alpha1", "kind": "SecretProviderClass"}
    made = api.request("POST", old, kind | {"metadata": {"name": "c"}})
    assert made["apiVersion"] == "secrets-store.csi.x-k8s.io/v1alpha1"
    stored = api.get("secrets-store.csi.x-k8s.io/v1", "SecretProviderClass", "c", "default")
    assert stored["apiVersion"] == "secrets-store.csi.x-k8s.io/v1"


def test_events_can_be_sent_in_their_new_form(api: server.APIServer) -> None:
    body = {"metadata": {"name": "e"}, "note": "m", "regarding": {"namespace": "default"}}
    api.request("POST", "/apis/events.k8s.io/v1/namespaces/default/events", body)
    assert api.get("v1", "Event", "e", "default")["message"] == "m"
