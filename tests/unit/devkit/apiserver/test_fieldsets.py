from typing import Any

import pytest

from devkit.apiserver import fieldsets, schema

CONTAINER: schema.Schema = {
    "type": "object",
    "properties": {
        "name": {"type": "string"},
        "image": {"type": "string"},
        "protocol": {"type": "string", "default": "TCP"},
    },
}
SHAPE: schema.Schema = {
    "type": "object",
    "required": ["containers"],
    "properties": {
        "labels": {"type": "object", "additionalProperties": {"type": "string"}},
        "containers": {
            "type": "array",
            "x-kubernetes-list-type": "map",
            "x-kubernetes-list-map-keys": ["name", "protocol"],
            "items": CONTAINER,
        },
        "names": {"type": "array", "x-kubernetes-list-type": "set", "items": {"type": "string"}},
        "whole": {"type": "object", "x-kubernetes-map-type": "atomic"},
        "list": {"type": "array", "items": {"type": "object"}},
        "part": {"type": "object", "default": {}, "properties": {"x": {"type": "string"}}},
    },
}
KEY = 'k:{"name":"a","protocol":"TCP"}'


def test_what_an_applier_owns() -> None:
    value = {
        "labels": {"l": "1"},
        "containers": [{"name": "a", "image": "i"}],
        "names": ["x"],
        "whole": {"a": 1},
        "list": [{}],
        "part": {},
    }
    assert fieldsets.of_object(value, SHAPE) == {
        ("f:labels", "f:l"),
        ("f:containers", KEY),
        ("f:containers", KEY, "f:name"),
        ("f:containers", KEY, "f:image"),
        ("f:names", 'v:"x"'),
        ("f:whole",),
        ("f:list",),
        ("f:part",),
    }


@pytest.mark.parametrize(
    ("old", "new", "added", "modified", "removed"),
    [
        ({}, {"labels": {"l": "1"}}, {("f:labels",), ("f:labels", "f:l")}, set(), set()),
        ({"labels": {}}, {"labels": {"l": "1"}}, {("f:labels", "f:l")}, set(), set()),
        (
            {"labels": {"l": "1", "m": "2"}},
            {"labels": {"l": "3"}},
            set(),
            {("f:labels", "f:l")},
            {("f:labels", "f:m")},
        ),
        ({"whole": {"a": 1}}, {"whole": {"b": 1}}, set(), {("f:whole",)}, set()),
        ({"list": [{}]}, {"list": []}, set(), {("f:list",)}, set()),
        ({"names": ["x"]}, {"names": ["y"]}, {("f:names", 'v:"y"')}, set(), {("f:names", 'v:"x"')}),
        (
            {"containers": [{"name": "a", "image": "i"}]},
            {"containers": [{"name": "a", "image": "j"}]},
            set(),
            {("f:containers", KEY, "f:image")},
            set(),
        ),
        ({"part": "text"}, {"part": {"x": "1"}}, set(), {("f:part",)}, set()),
        ({"labels": {"l": "1"}}, {"labels": {"l": "1"}}, set(), set(), set()),
    ],
)
def test_differences(
    old: Any,
    new: Any,
    added: fieldsets.Paths,
    modified: fieldsets.Paths,
    removed: fieldsets.Paths,
) -> None:
    found = fieldsets.compare(old, new, SHAPE)
    assert (found.added, found.modified, found.removed) == (added, modified, removed)
    assert found.changed == added | modified


def test_encoding_and_back() -> None:
    paths = {
        ("f:labels",),
        ("f:labels", "f:l"),
        ("f:containers", KEY),
        ("f:containers", KEY, "f:image"),
        ("f:whole",),
    }
    encoded = fieldsets.encode(paths)
    assert encoded == {
        "f:containers": {KEY: {".": {}, "f:image": {}}},
        "f:labels": {".": {}, "f:l": {}},
        "f:whole": {},
    }
    assert fieldsets.decode(encoded) == paths
    assert fieldsets.decode({}) == set()


def test_the_empty_object_of_a_kind() -> None:
    assert fieldsets.zero(SHAPE) == {"containers": [], "part": {}}


def test_paths_for_people() -> None:
    path = ("f:containers", KEY, "f:image")
    assert fieldsets.human(path) == '.containers[name="a",protocol="TCP"].image'
    assert fieldsets.human(("f:names", 'v:"x"')) == '.names[="x"]'
