import datetime
from typing import Any

import pytest

from devkit.apiserver import tables


@pytest.mark.parametrize(
    ("seconds", "told"),
    [
        (-5, "0s"),
        (0, "0s"),
        (119, "119s"),
        (120, "2m"),
        (125, "2m5s"),
        (600, "10m"),
        (10_799, "179m"),
        (10_800, "3h"),
        (11_000, "3h3m"),
        (30_000, "8h"),
        (172_799, "47h"),
        (172_800, "2d"),
        (180_000, "2d2h"),
        (700_000, "8d"),
        (40_000_000, "462d"),
        (63_072_000, "2y"),
        (70_000_000, "2y80d"),
        (300_000_000, "9y"),
    ],
)
def test_ages(seconds: int, told: str) -> None:
    now = datetime.datetime(2030, 1, 1, tzinfo=datetime.UTC)
    then = now - datetime.timedelta(seconds=seconds)
    assert tables.age(then.strftime("%Y-%m-%dT%H:%M:%SZ"), now) == told


def test_an_unknown_age() -> None:
    assert tables.age(None) == "<unknown>"


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("a.b", 1),
        ("a.none", None),
        ("none.b", None),
        ("list[1]", "y"),
        ("list[9]", None),
        ("objects[*].n", 5),
        ("labels.example\\.com/x", "l"),
        ("labels['example.com/x']", "l"),
        ("a.b.c", None),
    ],
)
def test_paths(path: str, value: Any) -> None:
    obj = {
        "a": {"b": 1},
        "list": ["x", "y"],
        "objects": [{"n": 5}],
        "labels": {"example.com/x": "l"},
    }
    assert tables.value_at(obj, path) == value


def test_columns_of_a_definition() -> None:
    columns = tables.custom_columns(
        [
            {"name": "Color", "type": "string", "jsonPath": ".spec.color"},
            {"name": "Size", "type": "integer", "jsonPath": ".spec.size", "priority": 1},
            {"name": "Since", "type": "date", "jsonPath": ".metadata.creationTimestamp"},
            {"name": "Deep", "type": "string", "jsonPath": ".spec.deep"},
        ]
    )
    obj = {
        "metadata": {"name": "n", "creationTimestamp": "2000-01-01T00:00:00Z"},
        "spec": {"color": "red", "size": "text", "deep": {"a": 1}},
    }
    cells = [column.cell(obj) for column in columns]
    assert cells[:3] == ["n", "red", None]
    assert cells[3].endswith("y")
    assert cells[4] == '{"a":1}'
    assert [column.priority for column in columns] == [0, 0, 1, 0, 0]
    assert [column.cell({"metadata": {}}) for column in columns][1:3] == [None, None]


def test_a_definition_without_columns_shows_the_age() -> None:
    assert [column.name for column in tables.custom_columns([])] == ["Name", "Age"]
