"""Custom resources: the driver's own, and what a new CRD brings."""

import secrets
import time
from collections.abc import Iterator
from typing import Any

import pytest

from devkit.apiserver import client, cluster

MERGE = "application/merge-patch+json"
CLASS = {"apiVersion": "secrets-store.csi.x-k8s.io/v1", "kind": "SecretProviderClass"}
STATUS = {"apiVersion": "secrets-store.csi.x-k8s.io/v1", "kind": "SecretProviderClassPodStatus"}
CRDS = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"


def create(api: cluster.Cluster, name: str = "c", **fields: Any) -> client.Answer:
    return api.client.request("POST", api.classes(), CLASS | {"metadata": {"name": name}} | fields)


def causes(answer: client.Answer) -> list[tuple[str, str]]:
    assert answer.code == 422
    return [(cause["field"], cause["reason"]) for cause in answer.obj["details"]["causes"]]


def test_unknown_fields_are_pruned_with_a_warning(api: cluster.Cluster) -> None:
    data = [{"objectName": "o", "key": "k", "odd": 1}]
    spec = {"provider": "p", "odd": 1, "secretObjects": [{"secretName": "s", "data": data}]}
    answer = create(api, spec=spec, status={"byPod": [{"id": "x"}]})
    assert answer.code == 201
    assert answer.obj["spec"] == {
        "provider": "p",
        "secretObjects": [{"secretName": "s", "data": [{"objectName": "o", "key": "k"}]}],
    }
    assert answer.obj["status"] == {}
    told = " ".join(answer.warnings)
    for path in ("spec.odd", "spec.secretObjects[0].data[0].odd", "status.byPod"):
        assert f'unknown field \\"{path}\\"' in told


def test_unknown_fields_are_refused_if_asked(api: cluster.Cluster) -> None:
    body = CLASS | {"metadata": {"name": "c"}, "spec": {"odd": 1}}
    answer = api.client.request("POST", f"{api.classes()}?fieldValidation=Strict", body)
    assert answer.code == 400
    assert 'strict decoding error: unknown field "spec.odd"' in answer.obj["message"]


@pytest.mark.parametrize(
    ("spec", "field"),
    [
        ({"provider": 5}, "spec.provider"),
        ({"parameters": {"a": 1}}, "spec.parameters.a"),
        ({"secretObjects": {}}, "spec.secretObjects"),
        ("text", "spec"),
    ],
)
def test_types_are_checked(api: cluster.Cluster, spec: Any, field: str) -> None:
    answer = create(api, spec=spec)
    assert causes(answer) == [(field, "FieldValueTypeInvalid")]
    assert answer.obj["message"].startswith(
        f'SecretProviderClass.secrets-store.csi.x-k8s.io "c" is invalid: {field}: Invalid value: '
    )


def test_null_is_absent(api: cluster.Cluster) -> None:
    assert create(api, spec={"provider": None, "parameters": {"a": "b"}}).obj["spec"] == {
        "parameters": {"a": "b"}
    }


def test_kind_and_version_are_needed(api: cluster.Cluster) -> None:
    answer = api.client.request("POST", api.classes(), {"metadata": {"name": "c"}})
    assert answer.code == 400
    answer = create(api, kind="Odd")
    assert causes(answer) == [("kind", "FieldValueInvalid")]
    assert create(api, apiVersion="secrets-store.csi.x-k8s.io/v1alpha1").code == 400


def test_generation_counts_changes_outside_metadata(api: cluster.Cluster) -> None:
    created = create(api, spec={"provider": "p"}).obj
    assert created["metadata"]["generation"] == 1

    def change(body: Any) -> int:
        answer = api.client.request("PATCH", api.classes("c"), body, content_type=MERGE)
        generation: int = answer.decoded()["metadata"]["generation"]
        return generation

    assert change({"metadata": {"labels": {"a": "b"}}}) == 1
    assert change({"spec": {"provider": "q"}}) == 2
    assert change({"spec": {"provider": "q"}}) == 2
    assert change({"status": {}}) == 3


def test_an_update_needs_the_version(api: cluster.Cluster) -> None:
    created = create(api).obj
    body = CLASS | {"metadata": {"name": "c"}, "spec": {"provider": "p"}}
    answer = api.client.request("PUT", api.classes("c"), body)
    assert causes(answer) == [("metadata.resourceVersion", "FieldValueInvalid")]
    body["metadata"] = created["metadata"]
    assert api.client.request("PUT", api.classes("c"), body).code == 200
    answer = api.client.request("PUT", api.classes("c"), body | {"spec": {}})
    assert (answer.code, answer.obj["reason"]) == (409, "Conflict")


def test_there_is_no_status_subresource(api: cluster.Cluster) -> None:
    create(api)
    path = f"{api.classes('c')}/status"
    assert api.client.request("GET", path).code == 404
    assert api.client.request("PATCH", path, {}, content_type=MERGE).code == 404


def test_the_old_version_is_served_with_a_warning(api: cluster.Cluster) -> None:
    create(api, spec={"provider": "p"})
    answer = api.client.request("GET", api.classes("c", "v1alpha1"))
    assert answer.obj["apiVersion"] == "secrets-store.csi.x-k8s.io/v1alpha1"
    assert answer.obj["spec"] == {"provider": "p"}
    assert answer.warnings == [
        '299 - "secrets-store.csi.x-k8s.io/v1alpha1 is deprecated. '
        'Use secrets-store.csi.x-k8s.io/v1 instead."'
    ]
    answer = api.client.request("GET", api.pod_statuses(version="v1alpha1"))
    assert answer.warnings[0].startswith(
        '299 - "secrets-store.csi.x-k8s.io/v1alpha1 SecretProviderClassPodStatus is deprecated'
    )


def test_a_pod_status_is_written_whole(api: cluster.Cluster) -> None:
    status = {
        "podName": "p",
        "secretProviderClassName": "c",
        "targetPath": "/t",
        "mounted": True,
        "objects": [{"id": "a", "version": "1"}],
    }
    body = STATUS | {"metadata": {"name": "s"}, "status": status}
    created = api.client.request("POST", api.pod_statuses(), body).obj
    assert created["status"] == status
    created["status"]["objects"][0]["version"] = "2"
    changed = api.client.request("PUT", api.pod_statuses("s"), created).obj
    assert changed["status"]["objects"] == [{"id": "a", "version": "2"}]
    assert changed["metadata"]["generation"] == 2


def crd(group: str) -> dict[str, Any]:
    spec = {
        "type": "object",
        "required": ["color"],
        "properties": {
            "color": {"type": "string", "enum": ["red", "blue"]},
            "size": {"type": "integer", "default": 3, "minimum": 1, "maximum": 9},
            "name": {"type": "string", "pattern": "^[a-z]+$", "maxLength": 5},
            "any": {"type": "object", "x-kubernetes-preserve-unknown-fields": True},
            "port": {"x-kubernetes-int-or-string": True},
            "tags": {"type": "array", "maxItems": 2, "items": {"type": "string"}},
        },
    }
    status = {"type": "object", "properties": {"ready": {"type": "boolean"}}}
    schema = {"type": "object", "properties": {"spec": spec, "status": status}}
    version = {
        "name": "v1",
        "served": True,
        "storage": True,
        "subresources": {"status": {}},
        "schema": {"openAPIV3Schema": schema},
        "additionalPrinterColumns": [
            {"name": "Color", "type": "string", "jsonPath": ".spec.color"},
            {"name": "Size", "type": "integer", "jsonPath": ".spec.size"},
        ],
    }
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"things.{group}"},
        "spec": {
            "group": group,
            "scope": "Namespaced",
            "names": {"plural": "things", "kind": "Thing", "shortNames": ["th"]},
            "versions": [version],
        },
    }


@pytest.fixture
def group(api: cluster.Cluster) -> Iterator[str]:
    """The group of a CRD made for the test, served by the time it runs."""
    group = f"g{secrets.token_hex(3)}.example.com"
    api.client.request("POST", CRDS, crd(group)).decoded()
    deadline_mono = time.monotonic() + 20
    while api.client.request("GET", f"/apis/{group}/v1/things").code == 404:
        assert time.monotonic() < deadline_mono, "the custom resource is not served"
        time.sleep(0.05)
    yield group
    api.client.request("DELETE", f"{CRDS}/things.{group}")


def thing(api: cluster.Cluster, group: str, spec: Any, **more: Any) -> client.Answer:
    body = {"apiVersion": f"{group}/v1", "kind": "Thing", "metadata": {"name": "t"}}
    return api.client.request(
        "POST", api.at("things", group_version=f"{group}/v1"), body | {"spec": spec} | more
    )


def test_a_new_kind_is_served_with_its_defaults(api: cluster.Cluster, group: str) -> None:
    created = thing(api, group, {"color": "red", "any": {"x": [1]}, "port": "http", "odd": 1})
    assert created.code == 201
    assert created.obj["spec"] == {
        "color": "red",
        "size": 3,
        "any": {"x": [1]},
        "port": "http",
    }
    found = api.client.request("GET", f"/apis/{group}/v1").obj
    names = {item["name"]: item.get("shortNames") for item in found["resources"]}
    assert names == {"things": ["th"], "things/status": None}


@pytest.mark.parametrize(
    ("spec", "field", "reason"),
    [
        ({}, "spec.color", "FieldValueRequired"),
        ({"color": "green"}, "spec.color", "FieldValueNotSupported"),
        ({"color": "red", "size": 0}, "spec.size", "FieldValueInvalid"),
        ({"color": "red", "size": 10}, "spec.size", "FieldValueInvalid"),
        ({"color": "red", "size": "3"}, "spec.size", "FieldValueTypeInvalid"),
        ({"color": "red", "name": "A"}, "spec.name", "FieldValueInvalid"),
        ({"color": "red", "name": "abcdef"}, "spec.name", "FieldValueTooLong"),
        ({"color": "red", "tags": ["a", "b", "c"]}, "spec.tags", "FieldValueTooMany"),
    ],
)
def test_a_schema_is_enforced(
    api: cluster.Cluster, group: str, spec: Any, field: str, reason: str
) -> None:
    assert (field, reason) in causes(thing(api, group, spec))


def test_a_status_subresource_stands_apart(api: cluster.Cluster, group: str) -> None:
    created = thing(api, group, {"color": "red"}, status={"ready": True}).obj
    assert "status" not in created
    path = api.at("things", "t", f"{group}/v1")
    body = {"spec": {"color": "blue"}, "status": {"ready": True}}
    main = api.client.request("PATCH", path, body, content_type=MERGE).obj
    assert (main["spec"]["color"], "status" in main) == ("blue", False)
    assert main["metadata"]["generation"] == 2
    body = {"spec": {"color": "red"}, "status": {"ready": True}}
    status = api.client.request("PATCH", f"{path}/status", body, content_type=MERGE).obj
    assert (status["spec"]["color"], status["status"]) == ("blue", {"ready": True})
    assert status["metadata"]["generation"] == 2


def test_printer_columns_are_shown(api: cluster.Cluster, group: str) -> None:
    thing(api, group, {"color": "red"})
    table = "application/json;as=Table;v=v1;g=meta.k8s.io"
    path = api.at("things", group_version=f"{group}/v1")
    found = api.client.request("GET", path, accept=table).obj
    names = [column["name"] for column in found["columnDefinitions"]]
    assert names == ["Name", "Color", "Size"]
    assert found["rows"][0]["cells"] == ["t", "red", 3]


def test_a_definition_says_that_it_is_established(api: cluster.Cluster, group: str) -> None:
    found = api.client.request("GET", f"{CRDS}/things.{group}").obj
    conditions = {item["type"]: item["status"] for item in found["status"]["conditions"]}
    assert conditions["Established"] == "True"
    assert found["spec"]["names"]["listKind"] == "ThingList"
    assert found["spec"]["names"]["singular"] == "thing"
    assert found["status"]["storedVersions"] == ["v1"]


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"metadata": {"name": "other.example.com"}}, "metadata.name"),
        ({"spec": {"scope": "Odd"}}, "spec.scope"),
        ({"spec": {"names": {"kind": "Thing"}}}, "spec.names.plural"),
    ],
)
def test_a_definition_is_checked(api: cluster.Cluster, change: dict[str, Any], field: str) -> None:
    body = crd("checked.example.com")
    for key, value in change.items():
        body[key] = {**body[key], **value}
    assert field in [name for name, _ in causes(api.client.request("POST", CRDS, body))]
