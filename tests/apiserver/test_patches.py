"""The patch types and what they do to maps and lists."""

from typing import Any

import pytest

from devkit.apiserver import client, cluster

JSON = "application/json-patch+json"
MERGE = "application/merge-patch+json"
STRATEGIC = "application/strategic-merge-patch+json"


@pytest.fixture
def secret(api: cluster.Cluster) -> str:
    """The path of a Secret with two keys and a label."""
    body = {
        "metadata": {"name": "a", "labels": {"l": "1"}},
        "data": {"a": "dg==", "b": "dw=="},
    }
    api.client.request("POST", api.at("secrets"), body).decoded()
    return api.at("secrets", "a")


def patch(api: cluster.Cluster, path: str, body: Any, kind: str) -> client.Answer:
    return api.client.request("PATCH", path, body, content_type=kind)


def owner(name: str) -> dict[str, str]:
    return {"apiVersion": "v1", "kind": "Pod", "name": name, "uid": f"uid-{name}"}


@pytest.mark.parametrize("kind", [MERGE, STRATEGIC])
def test_a_merge_sets_and_drops_keys(api: cluster.Cluster, secret: str, kind: str) -> None:
    body = {"data": {"a": None, "c": "eA=="}, "metadata": {"labels": {"m": "2"}}}
    changed = patch(api, secret, body, kind).obj
    assert changed["data"] == {"b": "dw==", "c": "eA=="}
    assert changed["metadata"]["labels"] == {"l": "1", "m": "2"}


def test_a_merge_replaces_lists_and_a_strategic_merge_adds(
    api: cluster.Cluster, secret: str
) -> None:
    def owners(name: str) -> dict[str, Any]:
        return {"metadata": {"ownerReferences": [owner(name)]}}

    patch(api, secret, owners("p"), STRATEGIC)
    both = patch(api, secret, owners("q"), STRATEGIC).obj["metadata"]["ownerReferences"]
    assert {item["name"] for item in both} == {"p", "q"}
    again = patch(api, secret, owners("q"), STRATEGIC).obj["metadata"]["ownerReferences"]
    assert again == both
    one = patch(api, secret, owners("r"), MERGE).obj["metadata"]["ownerReferences"]
    assert one == [owner("r")]


def test_a_strategic_merge_deletes_an_owner_by_uid(api: cluster.Cluster, secret: str) -> None:
    body = {"metadata": {"ownerReferences": [owner("p"), owner("q")]}}
    patch(api, secret, body, STRATEGIC)
    body = {"metadata": {"ownerReferences": [{"uid": "uid-p", "$patch": "delete"}]}}
    assert patch(api, secret, body, STRATEGIC).obj["metadata"]["ownerReferences"] == [owner("q")]


def test_a_strategic_merge_knows_sets_of_texts(api: cluster.Cluster, secret: str) -> None:
    for name in ("example.com/x", "example.com/y"):
        changed = patch(api, secret, {"metadata": {"finalizers": [name]}}, STRATEGIC).obj
    assert changed["metadata"]["finalizers"] == ["example.com/y", "example.com/x"]
    body = {"metadata": {"$deleteFromPrimitiveList/finalizers": ["example.com/y"]}}
    changed = patch(api, secret, body, STRATEGIC).obj
    assert changed["metadata"]["finalizers"] == ["example.com/x"]
    patch(api, secret, {"metadata": {"finalizers": None}}, MERGE)


def test_a_strategic_merge_can_replace_a_map(api: cluster.Cluster, secret: str) -> None:
    changed = patch(api, secret, {"data": {"$patch": "replace", "c": "eA=="}}, STRATEGIC).obj
    assert changed["data"] == {"c": "eA=="}
    changed = patch(api, secret, {"data": {"$patch": "delete"}}, STRATEGIC).obj
    assert "data" not in changed


def test_a_list_item_needs_its_merge_key(api: cluster.Cluster, secret: str) -> None:
    patch(api, secret, {"metadata": {"ownerReferences": [owner("q")]}}, STRATEGIC)
    body = {"metadata": {"ownerReferences": [{"name": "p"}]}}
    answer = patch(api, secret, body, STRATEGIC)
    assert answer.code == 500
    assert answer.obj["message"].endswith("does not contain declared merge key: uid")


def test_a_strategic_merge_knows_a_pods_lists(api: cluster.Cluster) -> None:
    pod = {
        "metadata": {"name": "p"},
        "spec": {
            "containers": [
                {"name": "a", "image": "a:1", "env": [{"name": "A", "value": "1"}]},
                {"name": "b", "image": "b:1"},
            ]
        },
    }
    api.client.request("POST", api.at("pods"), pod).decoded()
    body: dict[str, Any] = {"spec": {"containers": [{"name": "b", "image": "b:2"}]}}
    path = api.at("pods", "p")
    changed = patch(api, path, body, STRATEGIC).obj["spec"]["containers"]
    assert [(item["name"], item["image"]) for item in changed] == [("a", "a:1"), ("b", "b:2")]
    status = {"status": {"conditions": [{"type": "Ready", "status": "True"}]}}
    patch(api, f"{path}/status", status, STRATEGIC)
    status = {"status": {"conditions": [{"type": "Odd", "status": "False"}]}}
    found = patch(api, f"{path}/status", status, STRATEGIC).obj["status"]["conditions"]
    assert {item["type"] for item in found} == {"Ready", "Odd"}


@pytest.mark.parametrize(
    ("operations", "data"),
    [
        (
            [{"op": "add", "path": "/data/c", "value": "eA=="}],
            {"a": "dg==", "b": "dw==", "c": "eA=="},
        ),
        ([{"op": "remove", "path": "/data/a"}], {"b": "dw=="}),
        ([{"op": "replace", "path": "/data/a", "value": "eA=="}], {"a": "eA==", "b": "dw=="}),
        (
            [{"op": "replace", "path": "/data/c", "value": "eA=="}],
            {"a": "dg==", "b": "dw==", "c": "eA=="},
        ),
        ([{"op": "move", "from": "/data/a", "path": "/data/c"}], {"b": "dw==", "c": "dg=="}),
        ([{"op": "copy", "from": "/data/a", "path": "/data/b"}], {"a": "dg==", "b": "dg=="}),
        (
            [
                {"op": "test", "path": "/data/a", "value": "dg=="},
                {"op": "remove", "path": "/data/b"},
            ],
            {"a": "dg=="},
        ),
    ],
)
def test_json_patch_operations(
    api: cluster.Cluster, secret: str, operations: list[Any], data: dict[str, str]
) -> None:
    assert patch(api, secret, operations, JSON).obj["data"] == data


@pytest.mark.parametrize(
    "operations",
    [
        [{"op": "test", "path": "/data/a", "value": "no"}],
        [{"op": "remove", "path": "/data/none"}],
        [{"op": "add", "path": "/none/deep", "value": 1}],
        [{"op": "odd", "path": "/data"}],
    ],
)
def test_a_json_patch_that_does_not_fit_is_invalid(
    api: cluster.Cluster, secret: str, operations: list[Any]
) -> None:
    answer = patch(api, secret, operations, JSON)
    assert answer.code == 422
    assert answer.obj["reason"] == "Invalid"
    assert api.client.request("GET", secret).obj["data"] == {"a": "dg==", "b": "dw=="}


@pytest.mark.parametrize(("kind", "body"), [(JSON, {"a": 1}), (MERGE, [1]), (MERGE, b"{x")])
def test_a_patch_of_the_wrong_shape_is_refused(
    api: cluster.Cluster, secret: str, kind: str, body: Any
) -> None:
    assert patch(api, secret, body, kind).code == 400


@pytest.mark.parametrize("kind", [MERGE, STRATEGIC])
def test_an_old_version_in_a_patch_conflicts(api: cluster.Cluster, secret: str, kind: str) -> None:
    old = api.client.request("GET", secret).obj["metadata"]["resourceVersion"]
    body = {"metadata": {"resourceVersion": old}, "data": {"a": "eA=="}}
    assert patch(api, secret, body, kind).code == 200
    answer = patch(api, secret, body | {"data": {"a": "eQ=="}}, kind)
    assert answer.code == 409
    assert answer.obj["reason"] == "Conflict"


def test_a_patch_that_changes_nothing_keeps_the_version(api: cluster.Cluster, secret: str) -> None:
    before = api.client.request("GET", secret).obj
    assert patch(api, secret, {"data": {"a": "dg=="}}, MERGE).obj == before


def test_a_patch_of_nothing_is_not_found(api: cluster.Cluster) -> None:
    assert patch(api, api.at("secrets", "none"), {}, MERGE).code == 404


@pytest.mark.parametrize("field", ["name", "uid"])
def test_a_patch_keeps_the_identity(api: cluster.Cluster, secret: str, field: str) -> None:
    assert patch(api, secret, {"metadata": {field: "other"}}, MERGE).code in (400, 422)


def test_an_unknown_patch_type_is_refused(api: cluster.Cluster, secret: str) -> None:
    answer = patch(api, secret, {}, "application/json")
    assert answer.code == 415
    assert answer.obj["reason"] == "UnsupportedMediaType"


def test_custom_resources_know_no_strategic_merge(api: cluster.Cluster) -> None:
    body = {
        "apiVersion": "secrets-store.csi.x-k8s.io/v1",
        "kind": "SecretProviderClass",
        "metadata": {"name": "c"},
    }
    api.client.request("POST", api.classes(), body).decoded()
    answer = patch(api, api.classes("c"), {}, STRATEGIC)
    assert answer.code == 415
    assert patch(api, api.classes("c"), {"spec": {"provider": "x"}}, MERGE).code == 200
