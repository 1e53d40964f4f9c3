import pytest

from devkit.apiserver import resources


def test_the_table_is_well_formed() -> None:
    places = [(item.group, item.version, item.plural) for item in resources.BUILT_IN]
    assert len(set(places)) == len(places)
    for item in resources.BUILT_IN:
        assert item.plural == item.plural.lower()
        assert set(item.verbs) <= set(resources.ALL_VERBS)
        if item.status_apart:
            assert "status" in item.subresources


@pytest.mark.parametrize(
    ("api_version", "kind", "name", "namespace", "path"),
    [
        ("v1", "Pod", "p", "n", "/api/v1/namespaces/n/pods/p"),
        ("v1", "Pod", "", "", "/api/v1/pods"),
        ("v1", "Node", "x", "n", "/api/v1/nodes/x"),
        ("apps/v1", "Deployment", "d", "n", "/apis/apps/v1/namespaces/n/deployments/d"),
    ],
)
def test_paths(api_version: str, kind: str, name: str, namespace: str, path: str) -> None:
    table = resources.Table.with_built_ins()
    assert resources.path(table, api_version, kind, name, namespace) == path


def test_unknown_kinds_have_no_path() -> None:
    with pytest.raises(LookupError):
        resources.path(resources.Table(), "v1", "Pod")


def test_what_comes_and_goes() -> None:
    table = resources.Table.with_built_ins()
    before = table.revision
    item = resources.Resource("example.com", "v1", "things", "Thing")
    table.replace((), [item])
    assert table.find("example.com", "v1", "things") is item
    assert table.of_kind("example.com/v1", "Thing") is item
    assert table.any_of_kind("example.com", "Thing") is item
    assert table.serves("example.com", "v1")
    assert table.groups()["example.com"] == ["v1"]
    assert table.revision > before
    table.replace([item], ())
    assert table.find("example.com", "v1", "things") is None
    assert table.any_of_kind("example.com", "Thing") is None
    assert not table.serves("example.com", "v1")
    assert "example.com" not in table.groups()


def test_both_forms_of_events_are_one_storage() -> None:
    table = resources.Table.with_built_ins()
    core, new = table.of_kind("v1", "Event"), table.of_kind("events.k8s.io/v1", "Event")
    assert core is not None
    assert new is not None
    assert core.storage_key == new.storage_key


def test_names_derived_from_the_kind() -> None:
    item = resources.Resource("example.com", "v1", "things", "Thing")
    assert (item.api_version, item.storage_key) == ("example.com/v1", "things.example.com")
    assert (item.kind_of_list, item.singular_name) == ("ThingList", "thing")
