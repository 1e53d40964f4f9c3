"""Version, health, discovery and OpenAPI."""

from typing import Any

import pytest

from devkit.apiserver import cluster

AGGREGATED = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList"
CLASSES = "secrets-store.csi.x-k8s.io"


def test_version(api: cluster.Cluster) -> None:
    found = api.client.request("GET", "/version").obj
    assert found["major"] == "1"
    assert found["gitVersion"].startswith(f"v1.{found['minor']}.")
    assert api.client.request("POST", "/version", {}).code == 405


@pytest.mark.parametrize("path", ["/healthz", "/readyz", "/livez"])
def test_health(api: cluster.Cluster, path: str) -> None:
    answer = api.client.request("GET", path)
    assert (answer.code, answer.body) == (200, b"ok")


def test_groups(api: cluster.Cluster) -> None:
    assert api.client.request("GET", "/api").obj["versions"] == ["v1"]
    found = api.client.request("GET", "/apis").obj
    assert found["kind"] == "APIGroupList"
    groups = {group["name"]: group for group in found["groups"]}
    group = groups[CLASSES]
    assert [item["version"] for item in group["versions"]] == ["v1", "v1alpha1"]
    assert group["preferredVersion"]["version"] == "v1"
    one = api.client.request("GET", f"/apis/{CLASSES}").obj
    assert (one["kind"], one["name"]) == ("APIGroup", CLASSES)
    assert one["versions"] == group["versions"]


def by_name(listed: list[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    return {item["name"]: item for item in listed}


def test_resources(api: cluster.Cluster) -> None:
    core = by_name(api.client.request("GET", "/api/v1").obj["resources"])
    assert core["pods"]["kind"] == "Pod"
    assert core["pods"]["namespaced"] is True
    assert core["pods"]["shortNames"] == ["po"]
    assert set(core["pods"]["verbs"]) >= {"create", "get", "list", "patch", "update", "watch"}
    assert core["nodes"]["namespaced"] is False
    assert core["serviceaccounts/token"]["kind"] == "TokenRequest"
    assert core["serviceaccounts/token"]["group"] == "authentication.k8s.io"
    assert core["pods/eviction"]["kind"] == "Eviction"
    found = api.client.request("GET", f"/apis/{CLASSES}/v1").obj
    assert (found["kind"], found["groupVersion"]) == ("APIResourceList", f"{CLASSES}/v1")
    assert by_name(found["resources"]).keys() == {
        "secretproviderclasses",
        "secretproviderclasspodstatuses",
    }


@pytest.mark.parametrize("path", ["/api", "/apis"])
def test_aggregated_discovery(api: cluster.Cluster, path: str) -> None:
    answer = api.client.request("GET", path, accept=f"{AGGREGATED},application/json")
    assert "as=APIGroupDiscoveryList" in answer.headers["content-type"]
    found = answer.obj
    assert found["kind"] == "APIGroupDiscoveryList"
    groups = {item["metadata"].get("name", ""): item for item in found["items"]}
    name = "" if path == "/api" else CLASSES
    (version,) = (item for item in groups[name]["versions"] if item["version"] == "v1")
    resources = {item["resource"]: item for item in version["resources"]}
    if path == "/api":
        pods = resources["pods"]
        assert pods["responseKind"]["kind"] == "Pod"
        assert pods["scope"] == "Namespaced"
        assert "status" in {item["subresource"] for item in pods["subresources"]}
    else:
        assert resources["secretproviderclasses"]["singularResource"] == "secretproviderclass"


@pytest.mark.parametrize("place", ["api/v1", f"apis/{CLASSES}/v1", "apis/apps/v1"])
def test_openapi_tells_that_writes_are_validated(api: cluster.Cluster, place: str) -> None:
    index = api.client.request("GET", "/openapi/v3").obj["paths"]
    url = index[place]["serverRelativeURL"]
    assert url.startswith(f"/openapi/v3/{place}?hash=")
    document = api.client.request("GET", url).obj
    assert document["openapi"].startswith("3.")
    operations = [item["patch"] for item in document["paths"].values() if "patch" in item]
    # What is passed on to a pod or node has no body of its own.
    patches = [item for item in operations if "requestBody" in item]
    assert patches
    for patch in patches:
        assert "fieldValidation" in {item["name"] for item in patch["parameters"]}
        assert "application/merge-patch+json" in patch["requestBody"]["content"]
        assert patch["x-kubernetes-group-version-kind"]["kind"]


def test_openapi_has_the_schema_of_a_class(api: cluster.Cluster) -> None:
    document = api.client.request("GET", f"/openapi/v3/apis/{CLASSES}/v1").obj
    (schema,) = (
        item
        for item in document["components"]["schemas"].values()
        if {"group": CLASSES, "version": "v1", "kind": "SecretProviderClass"}
        in item.get("x-kubernetes-group-version-kind", ())
    )
    spec = schema["properties"]["spec"]
    assert spec["properties"]["provider"]["type"] == "string"
    assert spec["properties"]["parameters"]["additionalProperties"]["type"] == "string"


def test_an_unknown_openapi_document_is_not_found(api: cluster.Cluster) -> None:
    assert api.client.request("GET", "/openapi/v3/apis/nope/v1").code == 404
