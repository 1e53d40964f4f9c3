"""Server-side apply: who owns what, and who gets in whose way."""

from typing import Any

import pytest

from devkit.apiserver import client, cluster

APPLY = "application/apply-patch+yaml"
MERGE = "application/merge-patch+json"
KIND = {"apiVersion": "secrets-store.csi.x-k8s.io/v1", "kind": "SecretProviderClass"}


def apply(
    api: cluster.Cluster, manager: str, spec: dict[str, Any], query: str = "", **meta: Any
) -> client.Answer:
    body = KIND | {"metadata": {"name": "c", **meta}, "spec": spec}
    path = f"{api.classes('c')}?fieldManager={manager}{query}"
    return api.client.request("PATCH", path, body, content_type=APPLY)


def test_apply_creates(api: cluster.Cluster) -> None:
    answer = apply(api, "one", {"provider": "p", "parameters": {"a": "1"}}, labels={"l": "1"})
    assert answer.code == 201
    assert answer.obj["spec"] == {"provider": "p", "parameters": {"a": "1"}}
    (entry,) = answer.obj["metadata"]["managedFields"]
    assert (entry["manager"], entry["operation"]) == ("one", "Apply")
    assert entry["fieldsV1"] == {
        "f:metadata": {"f:labels": {"f:l": {}}},
        "f:spec": {"f:provider": {}, "f:parameters": {"f:a": {}}},
    }


def test_the_same_again_changes_nothing(api: cluster.Cluster) -> None:
    created = apply(api, "one", {"provider": "p"}).obj
    again = apply(api, "one", {"provider": "p"})
    assert (again.code, again.obj) == (200, created)


def test_what_is_left_out_goes(api: cluster.Cluster) -> None:
    apply(api, "one", {"provider": "p", "parameters": {"a": "1", "b": "2"}})
    changed = apply(api, "one", {"provider": "p", "parameters": {"b": "2"}}).obj
    assert changed["spec"] == {"provider": "p", "parameters": {"b": "2"}}


def test_what_others_own_stays(api: cluster.Cluster) -> None:
    apply(api, "one", {"parameters": {"a": "1", "b": "2"}})
    apply(api, "two", {"parameters": {"a": "1"}})
    changed = apply(api, "one", {"parameters": {"b": "2"}}).obj
    assert changed["spec"]["parameters"] == {"a": "1", "b": "2"}


def test_a_different_value_conflicts(api: cluster.Cluster) -> None:
    apply(api, "one", {"provider": "p"})
    answer = apply(api, "two", {"provider": "q"})
    assert answer.code == 409
    assert answer.obj["reason"] == "Conflict"
    (cause,) = answer.obj["details"]["causes"]
    assert (cause["reason"], cause["field"]) == ("FieldManagerConflict", ".spec.provider")
    assert 'conflict with "one"' in cause["message"]


def test_force_takes_over(api: cluster.Cluster) -> None:
    apply(api, "one", {"provider": "p", "parameters": {"a": "1"}})
    changed = apply(api, "two", {"provider": "q"}, "&force=true").obj
    assert changed["spec"]["provider"] == "q"
    owners = {
        entry["manager"]: entry["fieldsV1"]["f:spec"]
        for entry in changed["metadata"]["managedFields"]
    }
    assert owners == {"one": {"f:parameters": {"f:a": {}}}, "two": {"f:provider": {}}}


def test_an_ordinary_write_takes_over_and_conflicts_later(api: cluster.Cluster) -> None:
    apply(api, "one", {"provider": "p"})
    path = f"{api.classes('c')}?fieldManager=editor"
    api.client.request("PATCH", path, {"spec": {"provider": "q"}}, content_type=MERGE)
    answer = apply(api, "one", {"provider": "p"})
    assert answer.code == 409
    assert 'conflict with "editor"' in answer.obj["message"]


def test_a_manager_is_needed(api: cluster.Cluster) -> None:
    answer = api.client.request("PATCH", api.classes("c"), KIND, content_type=APPLY)
    assert answer.code == 422
    assert answer.obj["details"]["causes"][0]["field"] == "fieldManager"


def test_managed_fields_are_not_applied(api: cluster.Cluster) -> None:
    answer = apply(api, "one", {}, managedFields=[{"manager": "x"}])
    assert answer.code == 400
    assert answer.obj["message"] == "metadata.managedFields must be nil"


def test_a_dry_run_applies_nothing(api: cluster.Cluster) -> None:
    answer = apply(api, "one", {"provider": "p"}, "&dryRun=All")
    assert answer.code == 201
    assert api.client.request("GET", api.classes("c")).code == 404


def test_lists_of_objects_merge_by_their_keys(api: cluster.Cluster) -> None:
    def container(name: str, **more: Any) -> dict[str, Any]:
        return {"name": name, "image": f"{name}:1", **more}

    def deploy(manager: str, containers: list[Any]) -> client.Answer:
        labels = {"a": "b"}
        template = {"metadata": {"labels": labels}, "spec": {"containers": containers}}
        body = {
            "apiVersion": "apps/v1",
            "kind": "Deployment",
            "metadata": {"name": "d"},
            "spec": {"selector": {"matchLabels": labels}, "template": template},
        }
        path = api.at("deployments", "d", "apps/v1")
        return api.client.request(
            "PATCH", f"{path}?fieldManager={manager}", body, content_type=APPLY
        )

    assert deploy("one", [container("a", ports=[{"containerPort": 80}])]).code == 201
    both = deploy("two", [container("b")]).obj["spec"]["template"]["spec"]["containers"]
    assert [item["name"] for item in both] == ["a", "b"]
    assert both[0]["ports"] == [{"containerPort": 80, "protocol": "TCP"}]
    left = deploy("one", [container("c")]).obj["spec"]["template"]["spec"]["containers"]
    assert {item["name"] for item in left} == {"b", "c"}


@pytest.mark.parametrize("body", [b"kind: [", b"just text"])
def test_a_configuration_must_be_an_object(api: cluster.Cluster, body: bytes) -> None:
    path = f"{api.classes('c')}?fieldManager=m"
    assert api.client.request("PATCH", path, body, content_type=APPLY).code == 400


def test_yaml_is_read(api: cluster.Cluster) -> None:
    body = (
        b"apiVersion: secrets-store.csi.x-k8s.io/v1\nkind: SecretProviderClass\n"
        b"metadata: {name: c}\nspec:\n  provider: p\n"
    )
    path = f"{api.classes('c')}?fieldManager=m"
    answer = api.client.request("PATCH", path, body, content_type=APPLY)
    assert answer.obj["spec"] == {"provider": "p"}
