import json

import pytest

from devkit.apiserver import resources, schema
from devkit.apiserver.kinds import builtin_types


@pytest.mark.parametrize("item", resources.BUILT_IN, ids=lambda item: item.plural)
def test_every_kind_of_the_table_has_a_schema(item: resources.Resource) -> None:
    shape = builtin_types.of_kind(item.api_version, item.kind)
    assert shape["type"] == "object"
    assert {"kind", "apiVersion", "metadata"} <= shape["properties"].keys()


def test_unknown_kinds_have_none() -> None:
    with pytest.raises(KeyError):
        builtin_types.of_kind("v9", "Odd")


def test_references_lead_to_types() -> None:
    pod = builtin_types.of_kind("v1", "Pod")
    spec = pod["properties"]["spec"]
    container = spec["properties"]["containers"]["items"]
    assert builtin_types.name_of(container) == "core.v1.Container"
    assert container is builtin_types.of_type("core.v1.Container")
    assert spec["properties"]["containers"]["x-kubernetes-list-map-keys"] == ["name"]
    assert "metadata" not in (pod.get(schema.ALWAYS) or ())
    assert set(pod[schema.ALWAYS]) == {"spec", "status"}


def test_types_inside_themselves_are_cut() -> None:
    found = builtin_types.unfolded("apiextensions.k8s.io/v1", "CustomResourceDefinition")
    text = json.dumps(found)
    assert "x-devkit" not in text
    assert "openAPIV3Schema" in text


def test_field_numbers() -> None:
    secret = builtin_types.of_kind("v1", "Secret")
    numbers = builtin_types.fields_by_number(secret)
    assert (numbers[1], numbers[2], numbers[3]) == ("metadata", "data", "type")
    volume = builtin_types.fields_by_number(builtin_types.of_type("core.v1.Volume"))
    assert (volume[1], volume[2][6], volume[2][28]) == ("name", "secret", "csi")
    assert builtin_types.fields_by_number({}) == {}


@pytest.mark.parametrize("name", builtin_types.names())
def test_every_numbered_field_is_a_property(name: str) -> None:
    shape = builtin_types.of_type(name)

    def check(numbers: builtin_types.Numbers) -> None:
        for field in numbers.values():
            if isinstance(field, dict):
                check(field)
            else:
                assert field in shape["properties"]

    check(builtin_types.fields_by_number(shape))


def test_the_version_is_that_of_a_server() -> None:
    assert builtin_types.version().startswith("v1.")
