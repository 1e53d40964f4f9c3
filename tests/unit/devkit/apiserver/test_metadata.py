from typing import Any

import pytest

from devkit.apiserver import metadata


@pytest.mark.parametrize("name", ["a", "0", "a-b.c", "x" * 253])
def test_good_subdomains(name: str) -> None:
    assert metadata.subdomain(name) == ""


@pytest.mark.parametrize("name", ["", "A", "-a", "a-", "a..b", "a_b", ".a", "x" * 254, "ä"])
def test_bad_subdomains(name: str) -> None:
    assert metadata.subdomain(name)


@pytest.mark.parametrize(("name", "good"), [("a-b", True), ("a.b", False), ("x" * 64, False)])
def test_labels_as_names(name: str, good: bool) -> None:
    assert (metadata.label(name) == "") is good


@pytest.mark.parametrize(
    ("name", "good"), [("A:b C", True), (".", False), ("..", False), ("a/b", False), ("%", False)]
)
def test_path_segments(name: str, good: bool) -> None:
    assert (metadata.path_segment(name) == "") is good


@pytest.mark.parametrize("name", ["a", "A.b_c-d", "example.com/a", "x" * 63])
def test_good_keys(name: str) -> None:
    assert metadata.qualified_name(name) == []


@pytest.mark.parametrize(
    ("name", "faults"),
    [("", 2), ("/a", 1), ("A.com/b", 1), ("a/", 2), ("-a", 1), ("x" * 64, 1), ("a b", 1)],
)
def test_bad_keys(name: str, faults: int) -> None:
    assert len(metadata.qualified_name(name)) == faults


@pytest.mark.parametrize(
    ("value", "good"),
    [("", True), ("a", True), ("A.b_c", True), ("-a", False), ("x" * 64, False), ("ü" * 32, False)],
)
def test_label_values(value: str, good: bool) -> None:
    assert (metadata.label_value(value) == "") is good


def test_a_new_object_gets_its_identity() -> None:
    obj: dict[str, Any] = {
        "metadata": {"generateName": "g-", "deletionTimestamp": "x", "generation": 9}
    }
    metadata.fill_new(obj)
    meta = obj["metadata"]
    assert meta["name"].startswith("g-")
    assert len(meta["name"]) == 7
    assert meta["uid"]
    assert meta["creationTimestamp"].endswith("Z")
    assert meta.keys().isdisjoint({"deletionTimestamp", "generation"})


def test_a_long_base_leaves_room_for_the_suffix() -> None:
    obj: dict[str, Any] = {"metadata": {"generateName": "x" * 70}}
    metadata.fill_new(obj)
    assert len(obj["metadata"]["name"]) == 63


def test_an_update_keeps_the_identity() -> None:
    old = {"metadata": {"uid": "u", "creationTimestamp": "c", "generation": 2}}
    new: dict[str, Any] = {"metadata": {"uid": "other", "deletionTimestamp": "d", "labels": {}}}
    metadata.carry_over(new, old)
    assert new["metadata"] == old["metadata"] | {"labels": {}}


def test_empty_texts_are_forgotten() -> None:
    meta = {"name": "", "generation": 0, "labels": {"a": ""}}
    metadata.clean(meta)
    assert meta == {"generation": 0, "labels": {"a": ""}}


def test_annotations_are_counted_together() -> None:
    meta = {"name": "a", "annotations": {"a": "x" * 200_000, "b": "x" * 70_000}}
    (cause,) = metadata.validate(meta, metadata.subdomain)
    assert (cause.field, cause.reason) == ("metadata.annotations", "FieldValueTooLong")


def test_no_finalizers_on_the_way_out() -> None:
    old: dict[str, Any] = {"finalizers": ["example.com/a"]}
    new: dict[str, Any] = {"finalizers": ["example.com/a", "example.com/b"]}
    assert metadata.validate_update(new, old) == []
    (cause,) = metadata.validate_update(new, old | {"deletionTimestamp": "x"})
    assert cause.reason == "FieldValueForbidden"
