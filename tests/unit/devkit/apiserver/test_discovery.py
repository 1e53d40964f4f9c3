import json

import pytest

from devkit.apiserver import crds, discovery, resources, store
from devkit.apiserver.kinds import catalog

AGGREGATED = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList"


@pytest.fixture
def found(kept: store.Store) -> discovery.Discovery:
    return discovery.Discovery(catalog.Catalog(kept))


def test_every_resource_is_listed(found: discovery.Discovery) -> None:
    listed = set()
    for item in resources.BUILT_IN:
        answer = found.answer(f"/apis/{item.api_version}" if item.group else "/api/v1", "")
        assert answer is not None
        listed |= {entry["name"] for entry in json.loads(answer.body)["resources"]}
    for item in resources.BUILT_IN:
        assert item.plural in listed
        assert {f"{item.plural}/{name}" for name in item.subresources} <= listed


@pytest.mark.parametrize("version", ["v2", "v2beta1"])
def test_the_aggregated_form(found: discovery.Discovery, version: str) -> None:
    accept = AGGREGATED.replace("v=v2;", f"v={version};")
    answer = found.answer("/apis", f"{accept},application/json")
    assert answer is not None
    assert answer.content_type.endswith(f"v={version};as=APIGroupDiscoveryList")
    assert json.loads(answer.body)["apiVersion"] == f"apidiscovery.k8s.io/{version}"


@pytest.mark.parametrize(
    "accept", ["", "application/json", f"application/json,{AGGREGATED}", "a/b;v=v9;as=Odd"]
)
def test_the_plain_form(found: discovery.Discovery, accept: str) -> None:
    answer = found.answer("/apis", accept)
    assert answer is not None
    assert json.loads(answer.body)["kind"] == "APIGroupList"


@pytest.mark.parametrize("path", ["/", "/odd", "/apis/odd", "/apis/apps/v9", "/api/v2"])
def test_unknown_paths(found: discovery.Discovery, path: str) -> None:
    assert found.answer(path, "") is None


def test_new_resources_are_seen(found: discovery.Discovery, kept: store.Store) -> None:
    path = "/apis/secrets-store.csi.x-k8s.io/v1"
    assert found.answer(path, "") is None
    crd = crds.secrets_store_crds()[0]
    crd["metadata"]["uid"] = "u"
    kept.put(catalog.CRD_STORAGE, crd)
    assert found.answer(path, "") is not None
    assert found.answer(path, "") is found.answer(path, "")
