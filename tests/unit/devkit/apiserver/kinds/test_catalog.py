import pytest

from devkit.apiserver import crds, resources, store
from devkit.apiserver.kinds import catalog

GROUP = "secrets-store.csi.x-k8s.io"


@pytest.fixture
def kept() -> store.Store:
    return store.Store()


@pytest.fixture
def kinds(kept: store.Store) -> catalog.Catalog:
    return catalog.Catalog(kept)


def install(kept: store.Store) -> resources.Resource:
    for crd in crds.secrets_store_crds():
        crd["metadata"]["uid"] = crd["metadata"]["name"]
        kept.put(catalog.CRD_STORAGE, crd)
    return resources.Resource(GROUP, "v1", "secretproviderclasses", "SecretProviderClass")


def test_a_crd_in_the_store_is_served(kept: store.Store, kinds: catalog.Catalog) -> None:
    install(kept)
    found = kinds.table.find(GROUP, "v1", "secretproviderclasses")
    assert found is not None
    assert kinds.strategy(found).kind == "SecretProviderClass"
    assert kinds.schema(found)["type"] == "object"
    assert [column.name for column in kinds.columns(found)] == ["Name", "Age"]
    assert kinds.storage_version(found.storage_key) == f"{GROUP}/v1"


def test_a_changed_crd_is_served_as_it_is_now(kept: store.Store, kinds: catalog.Catalog) -> None:
    install(kept)
    crd = crds.secrets_store_crds()[0]
    crd["metadata"]["uid"] = "u"
    crd["spec"]["versions"][1]["served"] = False
    kept.put(catalog.CRD_STORAGE, crd)
    assert kinds.table.find(GROUP, "v1", "secretproviderclasses") is not None
    assert kinds.table.find(GROUP, "v1alpha1", "secretproviderclasses") is None


def test_a_crd_takes_its_objects_along(kept: store.Store, kinds: catalog.Catalog) -> None:
    storage = install(kept).storage_key
    kept.put(storage, {"metadata": {"name": "c", "namespace": "n", "uid": "u"}})
    kept.remove(catalog.CRD_STORAGE, "", f"secretproviderclasses.{GROUP}")
    assert kept.all_of(storage) == []
    assert kinds.table.find(GROUP, "v1", "secretproviderclasses") is None
    assert kinds.storage_version(storage) == ""


@pytest.mark.parametrize("item", resources.BUILT_IN, ids=lambda item: item.plural)
def test_every_built_in_kind_has_rules(kinds: catalog.Catalog, item: resources.Resource) -> None:
    assert kinds.strategy(item).kind == item.kind
    assert kinds.strategy(item) is kinds.strategy(item)
    assert kinds.columns(item)
    assert kinds.schema(item) == {}
