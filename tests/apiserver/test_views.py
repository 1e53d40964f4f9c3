"""Objects, their metadata, and tables: what an Accept header gets."""

from typing import Any

import pytest

from devkit.apiserver import cluster

ONE = "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1"
MANY = "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1"
TABLE = "application/json;as=Table;v=v1;g=meta.k8s.io"


@pytest.fixture(autouse=True)
def secret(api: cluster.Cluster) -> dict[str, Any]:
    body = {"metadata": {"name": "a", "labels": {"l": "1"}}, "data": {"k": "dg=="}}
    return api.client.request("POST", api.at("secrets"), body).decoded()


def test_metadata_of_one(api: cluster.Cluster, secret: dict[str, Any]) -> None:
    found = api.client.request("GET", api.at("secrets", "a"), accept=ONE).obj
    assert found == {
        "kind": "PartialObjectMetadata",
        "apiVersion": "meta.k8s.io/v1",
        "metadata": secret["metadata"],
    }


def test_metadata_of_many(api: cluster.Cluster, secret: dict[str, Any]) -> None:
    found = api.client.request("GET", f"{api.at('secrets')}?limit=1", accept=MANY).obj
    assert (found["kind"], found["apiVersion"]) == ("PartialObjectMetadataList", "meta.k8s.io/v1")
    assert found["metadata"]["resourceVersion"]
    (item,) = found["items"]
    assert item["kind"] == "PartialObjectMetadata"
    assert item["metadata"] == secret["metadata"]


def test_a_list_is_not_the_metadata_of_one(api: cluster.Cluster) -> None:
    answer = api.client.request("GET", api.at("secrets"), accept=ONE)
    assert (answer.code, answer.obj["reason"]) == (406, "NotAcceptable")


@pytest.mark.parametrize(
    "accept",
    [
        "text/html",
        "application/*",
        "application/json;as=Odd;g=meta.k8s.io;v=v1",
        "application/json;as=Table;g=meta.k8s.io;v=v9",
    ],
)
def test_what_cannot_be_written_is_not_acceptable(api: cluster.Cluster, accept: str) -> None:
    answer = api.client.request("GET", api.at("secrets"), accept=accept)
    assert (answer.code, answer.obj["reason"]) == (406, "NotAcceptable")


@pytest.mark.parametrize(
    ("accept", "kind"),
    [
        ("*/*", "SecretList"),
        ("application/json;charset=utf-8", "SecretList"),
        (f"application/json;as=Odd;g=x;v=v1,{TABLE},application/json", "Table"),
        (f"{MANY},application/json", "PartialObjectMetadataList"),
        ("text/html,application/json", "SecretList"),
    ],
)
def test_the_first_form_that_can_be_written_is_taken(
    api: cluster.Cluster, accept: str, kind: str
) -> None:
    assert api.client.request("GET", api.at("secrets"), accept=accept).obj["kind"] == kind


def test_a_table(api: cluster.Cluster) -> None:
    found = api.client.request("GET", api.at("secrets"), accept=TABLE).obj
    assert (found["kind"], found["apiVersion"]) == ("Table", "meta.k8s.io/v1")
    names = [column["name"] for column in found["columnDefinitions"]]
    assert names == ["Name", "Type", "Data", "Age"]
    (row,) = found["rows"]
    assert row["cells"][:3] == ["a", "Opaque", 1]
    assert row["object"]["kind"] == "PartialObjectMetadata"
    assert row["object"]["metadata"]["name"] == "a"


@pytest.mark.parametrize(("include", "kind"), [("Object", "Secret"), ("None", None)])
def test_what_a_row_brings_along(api: cluster.Cluster, include: str, kind: str | None) -> None:
    path = f"{api.at('secrets', 'a')}?includeObject={include}"
    (row,) = api.client.request("GET", path, accept=TABLE).obj["rows"]
    assert (row.get("object") or {}).get("kind") == kind


@pytest.mark.parametrize(
    ("plural", "group_version", "body", "columns", "cells"),
    [
        (
            "pods",
            "v1",
            {"spec": {"nodeName": "n1", "containers": [{"name": "c", "image": "i"}]}},
            ["Name", "Ready", "Status", "Restarts", "Age", "IP", "Node"],
            ["x", "0/1", "Pending", "0", "0s", "<none>", "n1"],
        ),
        (
            "configmaps",
            "v1",
            {"data": {"a": "1", "b": "2"}},
            ["Name", "Data", "Age"],
            ["x", 2, "0s"],
        ),
        (
            "secretproviderclasses",
            "secrets-store.csi.x-k8s.io/v1",
            {"kind": "SecretProviderClass", "apiVersion": "secrets-store.csi.x-k8s.io/v1"},
            ["Name", "Age"],
            ["x", "0s"],
        ),
    ],
)
def test_columns_of_kinds(
    api: cluster.Cluster,
    plural: str,
    group_version: str,
    body: dict[str, Any],
    columns: list[str],
    cells: list[Any],
) -> None:
    path = api.at(plural, group_version=group_version)
    api.client.request("POST", path, {"metadata": {"name": "x"}, **body}).decoded()
    found = api.client.request("GET", path, accept=TABLE).obj
    names = [column["name"] for column in found["columnDefinitions"]]
    assert names[: len(columns)] == columns
    (row,) = found["rows"]
    shown = row["cells"][: len(cells)]
    # The clock may have moved on since the object was made.
    shown = ["0s" if cell in ("0s", "1s", "2s") else cell for cell in shown]
    assert shown == cells


def test_events_in_both_groups(api: cluster.Cluster) -> None:
    body = {
        "metadata": {"name": "e", "namespace": api.namespace},
        "involvedObject": {"kind": "Pod", "name": "p", "namespace": api.namespace},
        "reason": "Why",
        "message": "because",
        "type": "Warning",
        "source": {"component": "tests"},
        "count": 3,
    }
    api.client.request("POST", api.at("events"), body).decoded()
    path = api.at("events", "e", "events.k8s.io/v1")
    found = api.client.request("GET", path).obj
    assert found["apiVersion"] == "events.k8s.io/v1"
    assert found["regarding"]["name"] == "p"
    assert found["note"] == "because"
    assert found["deprecatedSource"] == {"component": "tests"}
    assert found["deprecatedCount"] == 3
    selector = "involvedObject.name%3Dp,type%3DWarning"
    assert len(api.client.items(f"{api.at('events')}?fieldSelector={selector}")) == 1


def test_an_event_lies_with_its_object(api: cluster.Cluster) -> None:
    body = {"metadata": {"name": "e"}, "involvedObject": {"namespace": "other", "name": "p"}}
    answer = api.client.request("POST", api.at("events"), body)
    assert answer.code == 422
    assert answer.obj["details"]["causes"][0]["field"] == "involvedObject.namespace"
