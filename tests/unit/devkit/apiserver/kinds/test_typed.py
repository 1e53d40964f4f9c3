from typing import Any

import pytest

from devkit.apiserver import errors, schema
from devkit.apiserver.kinds import typed

PART: schema.Schema = {"type": "object", "properties": {"x": {"type": "string"}}}
SHAPE: schema.Schema = {
    "type": "object",
    "required": ["needed"],
    schema.ALWAYS: ["part"],
    "properties": {
        "text": {"type": "string"},
        "data": {"type": "string", "format": "byte"},
        "flag": {"type": "boolean"},
        "count": {"type": "integer"},
        "ratio": {"type": "number"},
        "port": {"x-kubernetes-int-or-string": True},
        "size": {"type": "string", "format": "quantity"},
        "choice": {"type": "string", "enum": ["a", "b"]},
        "path": {"type": "string", "enum": ["", "File"]},
        "storageClassName": {"type": "string"},
        "list": {"type": "array", "items": {"type": "integer"}},
        "needed": {"type": "array", "items": {"type": "string"}},
        "map": {"type": "object", "additionalProperties": {"type": "string"}},
        "part": PART,
        "parts": {"type": "array", "items": {**PART, schema.ALWAYS: ["x"]}},
        "free": {"type": "object", "x-kubernetes-preserve-unknown-fields": True},
    },
}


def decode(**value: Any) -> tuple[dict[str, Any], list[str], list[errors.Cause]]:
    return value, *typed.decode(value, SHAPE, "Thing")


@pytest.mark.parametrize(
    "value",
    [
        {"text": "x", "flag": False, "count": 0, "ratio": 1.5, "port": "http"},
        {"port": 80, "list": [1], "map": {"k": ""}, "part": {}, "free": {}},
        {"needed": [], "path": "", "storageClassName": ""},
        {"free": {"any": [{"thing": None}]}},
    ],
)
def test_what_fits_stays(value: dict[str, Any]) -> None:
    found, dropped, causes = decode(**value)
    assert (found, dropped, causes) == (value, [], [])


@pytest.mark.parametrize("value", [{"text": ""}, {"text": None}, {"list": []}, {"map": {}}])
def test_what_is_empty_is_forgotten(value: dict[str, Any]) -> None:
    assert decode(**value) == ({}, [], [])


def test_nulls_inside_are_empty_values() -> None:
    found, _, _ = decode(list=[None, 1], map={"k": None}, parts=[None])
    assert found == {"list": [0, 1], "map": {"k": ""}, "parts": [{}]}


def test_unknown_fields_are_dropped() -> None:
    found, dropped, _ = decode(odd=1, part={"odd": 1, "x": "y"}, parts=[{"odd": 1}])
    assert found == {"part": {"x": "y"}, "parts": [{}]}
    assert dropped == ["odd", "part.odd", "parts[0].odd"]


def test_numbers_as_quantities() -> None:
    assert decode(size=2)[0] == {"size": "2"}
    assert decode(size=1.5)[0] == {"size": "1.5"}


def test_values_not_allowed_are_noted() -> None:
    _, _, causes = decode(choice="c")
    assert [(cause.field, cause.reason) for cause in causes] == [
        ("choice", "FieldValueNotSupported")
    ]


@pytest.mark.parametrize(
    ("field", "value", "sent", "wanted"),
    [
        ("text", 1, "number", "string"),
        ("data", 1, "number", "[]uint8"),
        ("flag", "true", "string", "bool"),
        ("count", "1", "string", "int64"),
        ("count", True, "bool", "int64"),
        ("ratio", "1", "string", "float64"),
        ("port", [], "array", "intstr.IntOrString"),
        ("list", {}, "object", "slice"),
        ("map", [], "array", "map[string]string"),
        ("part", "x", "string", "struct"),
    ],
)
def test_wrong_types_are_refused(field: str, value: Any, sent: str, wanted: str) -> None:
    with pytest.raises(errors.StatusError) as caught:
        decode(**{field: value})
    assert caught.value.message == (
        f'Thing in version "v1" cannot be handled as a Thing: json: cannot unmarshal {sent} into '
        f"Go struct field Thing.{field} of type {wanted}"
    )


def test_what_is_always_there() -> None:
    value: dict[str, Any] = {"parts": [{}], "metadata": {}}
    typed.fill(value, SHAPE)
    assert value == {"parts": [{"x": {}}], "metadata": {}, "part": {}}
