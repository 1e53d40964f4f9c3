from typing import Any

import pytest

from devkit.apiserver import errors, schema, strategic

ITEM: schema.Schema = {
    "type": "object",
    "properties": {
        "name": {"type": "string"},
        "value": {"type": "string"},
        "tags": {
            "type": "array",
            "x-kubernetes-patch-strategy": "merge",
            "items": {"type": "string"},
        },
    },
}
SHAPE: schema.Schema = {
    "type": "object",
    "properties": {
        "items": {
            "type": "array",
            "x-kubernetes-patch-strategy": "merge",
            "x-kubernetes-patch-merge-key": "name",
            "items": ITEM,
        },
        "plain": {"type": "array", "items": {"type": "string"}},
        "whole": {"type": "object", "x-kubernetes-patch-strategy": "replace", "properties": {}},
        "map": {"type": "object", "additionalProperties": {"type": "string"}},
    },
}


def item(name: str, value: str = "1", **more: Any) -> dict[str, Any]:
    return {"name": name, "value": value, **more}


@pytest.mark.parametrize(
    ("change", "result"),
    [
        ({"items": [item("b", "2")]}, [item("a"), item("b", "2")]),
        ({"items": [{"name": "a", "value": None}]}, [{"name": "a"}, item("b")]),
        ({"items": [item("c")]}, [item("c"), item("a"), item("b")]),
        ({"items": [{"name": "a", "$patch": "delete"}]}, [item("b")]),
        ({"items": [{"$patch": "replace"}, item("c")]}, [item("c")]),
        (
            {"items": [item("c")], "$setElementOrder/items": [{"name": "b"}, {"name": "c"}]},
            [item("a"), item("b"), item("c")],
        ),
        ({"$setElementOrder/items": [{"name": "b"}, {"name": "a"}]}, [item("b"), item("a")]),
        ({"items": None}, None),
    ],
)
def test_lists_of_objects(change: dict[str, Any], result: Any) -> None:
    document = {"items": [item("a"), item("b")]}
    assert strategic.apply(document, change, SHAPE).get("items") == result
    assert document == {"items": [item("a"), item("b")]}


def test_lists_inside_items() -> None:
    document = {"items": [item("a", tags=["x"])]}
    change: dict[str, Any] = {"items": [{"name": "a", "tags": ["y"]}]}
    assert strategic.apply(document, change, SHAPE)["items"][0]["tags"] == ["y", "x"]
    change = {"items": [{"name": "a", "$deleteFromPrimitiveList/tags": ["x"]}]}
    assert strategic.apply(document, change, SHAPE)["items"][0]["tags"] == []


@pytest.mark.parametrize(
    ("change", "result"),
    [
        ({"plain": ["z"]}, {"plain": ["z"], "whole": {"a": 1}, "map": {"k": "v"}}),
        ({"whole": {"b": 2}}, {"plain": ["x"], "whole": {"b": 2}, "map": {"k": "v"}}),
        ({"map": {"l": "w"}}, {"plain": ["x"], "whole": {"a": 1}, "map": {"k": "v", "l": "w"}}),
        ({"map": {"$patch": "delete"}}, {"plain": ["x"], "whole": {"a": 1}}),
        (
            {"map": {"$patch": "replace", "l": "w"}},
            {"plain": ["x"], "whole": {"a": 1}, "map": {"l": "w"}},
        ),
        ({"$retainKeys": ["map"], "map": {}}, {"map": {"k": "v"}}),
        ({"unknown": [1]}, {"plain": ["x"], "whole": {"a": 1}, "map": {"k": "v"}, "unknown": [1]}),
        ({"$patch": "delete"}, {}),
    ],
)
def test_maps_and_plain_lists(change: dict[str, Any], result: dict[str, Any]) -> None:
    document = {"plain": ["x"], "whole": {"a": 1}, "map": {"k": "v"}}
    assert strategic.apply(document, change, SHAPE) == result


def test_nothing_to_merge_with() -> None:
    change = {"items": [{"value": "no name"}, {"name": "x", "$patch": "delete"}]}
    assert strategic.apply({}, change, SHAPE) == {"items": [{"value": "no name"}]}


@pytest.mark.parametrize(
    ("change", "code"),
    [([], 400), ({"map": {"$patch": "odd"}}, 400), ({"items": [{"value": "no name"}]}, 500)],
)
def test_broken_patches(change: Any, code: int) -> None:
    with pytest.raises(errors.StatusError) as caught:
        strategic.apply({"items": [item("a")]}, change, SHAPE)
    assert caught.value.code == code
