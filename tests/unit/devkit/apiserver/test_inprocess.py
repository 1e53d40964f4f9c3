from typing import Any

import pytest

from devkit.apiserver import errors, server


def secret(name: str = "a", **meta: Any) -> dict[str, Any]:
    return {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name, **meta}}


def test_a_life(api: server.APIServer) -> None:
    made = api.create(secret())
    assert made["metadata"]["namespace"] == "default"
    changed = api.update(made | {"data": {"k": "dg=="}})
    assert api.get("v1", "Secret", "a", "default") == changed
    api.patch(secret(), {"data": {"l": "dw=="}})
    assert api.list_all("v1", "Secret", "default")[0]["data"] == {"k": "dg==", "l": "dw=="}
    api.delete("v1", "Secret", "a", "default", {"preconditions": {"uid": made["metadata"]["uid"]}})
    assert api.list_all("v1", "Secret") == []


def test_subresources(api: server.APIServer) -> None:
    node = api.create({"apiVersion": "v1", "kind": "Node", "metadata": {"name": "n"}})
    api.patch(node, {"status": {"phase": "Running"}}, subresource="status")
    found = api.get("v1", "Node", "n")
    found["status"]["phase"] = "Pending"
    assert api.update(found, "status")["status"]["phase"] == "Pending"


def test_queries_and_escapes(api: server.APIServer) -> None:
    api.create(secret("b", labels={"l": "1"}))
    found = api.request("GET", "/api/v1/secrets?labelSelector=l%3D1&limit=")
    assert len(found["items"]) == 1


def test_failures_are_raised(api: server.APIServer) -> None:
    with pytest.raises(errors.StatusError) as caught:
        api.get("v1", "Secret", "none", "default")
    assert caught.value.details == {"name": "none", "kind": "secrets"}
    with pytest.raises(LookupError):
        api.create({"apiVersion": "v9", "kind": "Odd", "metadata": {}})
