from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from devkit.apiserver import errors, patch


@pytest.mark.parametrize(
    ("target", "change", "result"),
    [
        # The cases of RFC 7396, appendix A.
        ({"a": "b"}, {"a": "c"}, {"a": "c"}),
        ({"a": "b"}, {"b": "c"}, {"a": "b", "b": "c"}),
        ({"a": "b"}, {"a": None}, {}),
        ({"a": "b", "b": "c"}, {"a": None}, {"b": "c"}),
        ({"a": ["b"]}, {"a": "c"}, {"a": "c"}),
        ({"a": "c"}, {"a": ["b"]}, {"a": ["b"]}),
        ({"a": {"b": "c"}}, {"a": {"b": "d", "c": None}}, {"a": {"b": "d"}}),
        ({"a": [{"b": "c"}]}, {"a": [1]}, {"a": [1]}),
        (["a", "b"], ["c", "d"], ["c", "d"]),
        ({"a": "b"}, ["c"], ["c"]),
        ({"a": "foo"}, None, None),
        ({"a": "foo"}, "bar", "bar"),
        ({"e": None}, {"a": 1}, {"e": None, "a": 1}),
        ([1, 2], {"a": "b", "c": None}, {"a": "b"}),
        ({}, {"a": {"bb": {"ccc": None}}}, {"a": {"bb": {}}}),
    ],
)
def test_merge(target: Any, change: Any, result: Any) -> None:
    assert patch.merge(target, change) == result


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=2), inner),
    max_leaves=8,
)


@given(JSON, JSON)
def test_merging_twice_is_merging_once(target: Any, change: Any) -> None:
    once = patch.merge(target, change)
    assert patch.merge(once, change) == once


@pytest.mark.parametrize(
    ("operations", "result"),
    [
        ([], {"a": [1, 2], "b": {"c/d": 3}}),
        ([{"op": "add", "path": "/a/1", "value": 9}], {"a": [1, 9, 2], "b": {"c/d": 3}}),
        ([{"op": "add", "path": "/a/-", "value": 9}], {"a": [1, 2, 9], "b": {"c/d": 3}}),
        ([{"op": "remove", "path": "/a/0"}], {"a": [2], "b": {"c/d": 3}}),
        ([{"op": "replace", "path": "/a/0", "value": 9}], {"a": [9, 2], "b": {"c/d": 3}}),
        ([{"op": "replace", "path": "/b/c~1d", "value": 9}], {"a": [1, 2], "b": {"c/d": 9}}),
        ([{"op": "replace", "path": "", "value": {}}], {}),
        ([{"op": "add", "path": "", "value": {"x": 1}}], {"x": 1}),
        ([{"op": "move", "from": "/b/c~1d", "path": "/c"}], {"a": [1, 2], "b": {}, "c": 3}),
        ([{"op": "copy", "from": "/a", "path": "/c"}], {"a": [1, 2], "b": {"c/d": 3}, "c": [1, 2]}),
        ([{"op": "test", "path": "/a", "value": [1, 2]}], {"a": [1, 2], "b": {"c/d": 3}}),
        ([{"op": "test", "path": "/none", "value": None}], {"a": [1, 2], "b": {"c/d": 3}}),
    ],
)
def test_json_patch(operations: list[Any], result: Any) -> None:
    document = {"a": [1, 2], "b": {"c/d": 3}}
    assert patch.apply_json_patch(document, operations) == result
    assert document == {"a": [1, 2], "b": {"c/d": 3}}


@pytest.mark.parametrize(
    "operation",
    [
        {"op": "test", "path": "/a", "value": 2},
        {"op": "test", "path": "/a", "value": True},
        {"op": "remove", "path": "/none"},
        {"op": "remove", "path": ""},
        {"op": "remove", "path": "/l/5"},
        {"op": "add", "path": "/l/x", "value": 1},
        {"op": "add", "path": "/a/b", "value": 1},
        {"op": "add", "path": "no-slash", "value": 1},
        {"op": "add", "path": "/a"},
        {"op": "move", "from": "/none", "path": "/b"},
        {"op": "odd", "path": "/a"},
        "no object",
    ],
)
def test_operations_that_do_not_fit(operation: Any) -> None:
    with pytest.raises(errors.StatusError) as caught:
        patch.apply_json_patch({"a": 1, "l": [1]}, [operation])
    assert caught.value.code == 422


def test_a_json_patch_is_a_list() -> None:
    with pytest.raises(errors.StatusError) as caught:
        patch.apply_json_patch({}, {"op": "add"})
    assert caught.value.code == 400
