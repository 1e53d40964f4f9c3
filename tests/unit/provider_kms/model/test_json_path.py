import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from provider_kms.model import json_path


@pytest.mark.parametrize(
    ("text", "steps"),
    [
        ("a", ("a",)),
        ("$.a.b", ("a", "b")),
        (".a", ("a",)),
        ("$a", ("a",)),
        ("a[0][12].b", ("a", 0, 12, "b")),
        ('["odd.key"].x', ("odd.key", "x")),
        ("a['it']", ("a", "it")),
        ("[0]", (0,)),
        ("db-name_1", ("db-name_1",)),
        ('a[""]', ("a", "")),
    ],
)
def test_paths(text: str, steps: tuple[Any, ...]) -> None:
    assert json_path.parse(text) == steps


@pytest.mark.parametrize(
    "text",
    [
        "",
        "$",
        "a..b",
        "a.",
        "a[",
        "a[x]",
        "a[-1]",
        "a b",
        "a[0]b",
        "*",
        "a[*]",
        "x" * 257,
        ".".join("a" * 33),
    ],
)
def test_no_paths(text: str) -> None:
    with pytest.raises(ValueError, match="must be a path"):
        json_path.parse(text)


@given(st.text(max_size=40))
def test_any_text_is_read_or_refused(text: str) -> None:
    try:
        steps = json_path.parse(text)
    except ValueError:
        return
    assert steps


@pytest.mark.parametrize(
    ("value", "path", "found"),
    [
        ({"a": {"b": "text"}}, "a.b", b"text"),
        ({"a": ["x", 1.5]}, "a[1]", b"1.5"),
        ({"a": True}, "a", b"true"),
        ({"a": None}, "a", b"null"),
        ({"a": {"c": [1, 2]}}, "a", b'{"c":[1,2]}'),
        (["x"], "[0]", b"x"),
        ({"a": "é"}, "a", "é".encode()),
        ({"": "empty"}, '[""]', b"empty"),
    ],
)
def test_picks(value: Any, path: str, found: bytes) -> None:
    assert json_path.pick(json.dumps(value).encode(), json_path.parse(path)) == found


@pytest.mark.parametrize(
    ("value", "path", "rule"),
    [
        (b"no json marker", "a", "not JSON"),
        (b"\xff", "a", "not JSON"),
        (b"[" * 100_000, "a", "not JSON"),
        (b'{"a": 1}', "b", "step 1"),
        (b'{"a": "marker"}', "a.b", "step 2"),
        (b'{"a": [1]}', "a[1]", "step 2"),
        (b'{"a": [1]}', "a.b", "step 2"),
        (b'{"a": {"0": 1}}', "a[0]", "step 2"),
        (b'{"a": "\\ud800"}', "a", "not Unicode"),
    ],
)
def test_finds_nothing(value: bytes, path: str, rule: str) -> None:
    with pytest.raises(ValueError, match=rule) as caught:
        json_path.pick(value, json_path.parse(path))
    assert "marker" not in str(caught.value)
    assert caught.value.__cause__ is None
