import json

import pytest

from devkit.apiserver import errors, openapi, resources, server, store
from devkit.apiserver.kinds import catalog


@pytest.fixture
def documents(kept: store.Store) -> openapi.Documents:
    return openapi.Documents(catalog.Catalog(kept))


def body(documents: openapi.Documents, path: str) -> dict[str, dict[str, dict[str, str]]]:
    answer = documents.answer(path, "application/json")
    assert answer is not None
    found: dict[str, dict[str, dict[str, str]]] = json.loads(answer.body)
    return found


def test_every_group_has_a_document(documents: openapi.Documents) -> None:
    index = body(documents, "/openapi/v3")["paths"]
    wanted = {f"apis/{item.api_version}" if item.group else "api/v1" for item in resources.BUILT_IN}
    assert index.keys() == wanted
    for place in wanted:
        assert body(documents, f"/openapi/v3/{place}")["components"]["schemas"]


def test_other_paths_are_not_its_business(documents: openapi.Documents) -> None:
    assert documents.answer("/version", "") is None
    assert documents.answer("/apis", "") is None


@pytest.mark.parametrize(
    ("path", "accept", "code"),
    [
        ("/openapi/v3/apis/odd/v1", "*/*", 404),
        ("/openapi/v2", "application/json", 404),
        ("/openapi/v3", "application/com.github.proto-openapi.spec.v3@v1.0+protobuf", 406),
    ],
)
def test_refusals(documents: openapi.Documents, path: str, accept: str, code: int) -> None:
    with pytest.raises(errors.StatusError) as caught:
        documents.answer(path, accept)
    assert caught.value.code == code


def test_the_address_changes_with_the_contents(api: server.APIServer) -> None:
    place = "apis/secrets-store.csi.x-k8s.io/v1"

    def address() -> str:
        found: str = api.request("GET", "/openapi/v3")["paths"][place]["serverRelativeURL"]
        return found

    before = address()
    name = "secretproviderclasses.secrets-store.csi.x-k8s.io"
    crd = api.get("apiextensions.k8s.io/v1", "CustomResourceDefinition", name)
    properties = crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]
    properties["spec"]["properties"]["more"] = {"type": "string"}
    api.update(crd)
    assert address() != before
