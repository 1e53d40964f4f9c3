from typing import Any

import pytest

from devkit.apiserver import errors, managed, schema

SHAPE: schema.Schema = {
    "type": "object",
    "properties": {
        "metadata": {"type": "object", "properties": {"name": {"type": "string"}}},
        "data": {"type": "object", "additionalProperties": {"type": "string"}},
        "items": {
            "type": "array",
            "x-kubernetes-list-type": "map",
            "x-kubernetes-list-map-keys": ["name"],
            "items": {"type": "object", "properties": {"name": {}, "value": {}}},
        },
    },
}
ONE = managed.Manager("one", managed.APPLY, "v1")
TWO = managed.Manager("two", managed.APPLY, "v1")
EDITOR = managed.Manager("editor", managed.UPDATE, "v1")


def obj(**fields: Any) -> dict[str, Any]:
    return {"metadata": {"name": "x"}, **fields}


def apply(live: Any, manager: managed.Manager, *, force: bool = False, **fields: Any) -> Any:
    return managed.apply(live, obj(**fields), manager, SHAPE, force=force)


def owned(found: dict[str, Any]) -> dict[str, Any]:
    return {
        entry["manager"]: entry["fieldsV1"] for entry in found["metadata"].get("managedFields", [])
    }


def test_an_update_owns_what_it_changes() -> None:
    first = obj(data={"a": "1", "b": "1"})
    managed.track({}, first, EDITOR, SHAPE)
    assert owned(first) == {"editor": {"f:data": {".": {}, "f:a": {}, "f:b": {}}}}
    second = obj(data={"a": "1", "b": "2"})
    managed.track(first, second, managed.Manager("other", managed.UPDATE, "v1"), SHAPE)
    assert owned(second) == {
        "editor": {"f:data": {".": {}, "f:a": {}}},
        "other": {"f:data": {"f:b": {}}},
    }
    third = obj()
    managed.track(second, third, EDITOR, SHAPE)
    assert owned(third) == {}


def test_nothing_changed_nothing_noted() -> None:
    first = obj(data={"a": "1"})
    managed.track({}, first, EDITOR, SHAPE)
    second = obj(data={"a": "1"})
    managed.track(first, second, managed.Manager("other", managed.UPDATE, "v1"), SHAPE)
    assert second["metadata"]["managedFields"] == first["metadata"]["managedFields"]


def test_managed_fields_can_be_edited() -> None:
    first = obj(data={"a": "1"})
    managed.track({}, first, EDITOR, SHAPE)
    second = obj(data={"a": "1"})
    entry = first["metadata"]["managedFields"][0] | {"manager": "renamed"}
    second["metadata"]["managedFields"] = [entry]
    managed.track(first, second, EDITOR, SHAPE)
    assert list(owned(second)) == ["renamed"]


def test_an_applier_gives_up_what_it_leaves_out() -> None:
    live = apply({}, ONE, data={"a": "1", "b": "1"}, items=[{"name": "i"}, {"name": "j"}])
    live = apply(live, TWO, data={"a": "1"})
    live = apply(live, ONE, items=[{"name": "j"}])
    assert live["data"] == {"a": "1"}
    assert live["items"] == [{"name": "j"}]


def test_a_conflict_names_the_others() -> None:
    live = apply({}, ONE, data={"a": "1"}, items=[{"name": "i", "value": "1"}])
    with pytest.raises(errors.StatusError) as caught:
        apply(live, TWO, data={"a": "2"}, items=[{"name": "i", "value": "2"}])
    assert caught.value.code == 409
    assert caught.value.message.startswith("Apply failed with 2 conflicts: ")
    assert caught.value.details is not None
    assert [cause["field"] for cause in caught.value.details["causes"]] == [
        ".data.a",
        '.items[name="i"].value',
    ]


def test_force_and_sharing() -> None:
    live = apply({}, ONE, data={"a": "1"})
    shared = apply(live, TWO, data={"a": "1"})
    assert owned(shared) == {"one": {"f:data": {"f:a": {}}}, "two": {"f:data": {"f:a": {}}}}
    taken = apply(shared, TWO, data={"a": "2"}, force=True)
    assert owned(taken) == {"two": {"f:data": {"f:a": {}}}}


def test_items_keep_their_places() -> None:
    live = obj(items=[{"name": "a"}, {"name": "own"}, {"name": "b"}])
    merged = apply(live, ONE, items=[{"name": "b"}, {"name": "a"}, {"name": "c"}])
    assert [item["name"] for item in merged["items"]] == ["b", "own", "a", "c"]


def test_null_is_not_applied() -> None:
    assert apply(obj(data={"a": "1"}), ONE, data={"a": None, "b": "2"})["data"] == {
        "a": "1",
        "b": "2",
    }


def test_a_subresource_is_told() -> None:
    status = managed.Manager("kubelet", managed.UPDATE, "v1", "status")
    live = obj(data={"a": "1"})
    managed.track({}, live, status, SHAPE)
    assert live["metadata"]["managedFields"][0]["subresource"] == "status"
    with pytest.raises(errors.StatusError, match='with subresource "status" using v1'):
        apply(live, ONE, data={"a": "2"})
