from typing import Any

import pytest

from devkit.apiserver import schema

TEXT: schema.Schema = {"type": "string"}
SHAPE: schema.Schema = {
    "type": "object",
    "properties": {
        "spec": {
            "type": "object",
            "properties": {
                "name": TEXT,
                "maybe": {"type": "string", "nullable": True},
                "labels": {"type": "object", "additionalProperties": TEXT},
                "free": {"type": "object", "x-kubernetes-preserve-unknown-fields": True},
                "items": {
                    "type": "array",
                    "items": {"type": "object", "properties": {"a": TEXT}},
                },
                "embedded": {
                    "type": "object",
                    "x-kubernetes-embedded-resource": True,
                    "properties": {},
                },
            },
        }
    },
}


def test_prune() -> None:
    value: dict[str, Any] = {
        "kind": "Thing",
        "metadata": {"any": 1},
        "odd": 1,
        "spec": {
            "name": "n",
            "odd": 1,
            "maybe": None,
            "labels": {"x": "y", "z": None},
            "free": {"x": {"y": 1}},
            "items": [{"a": "1", "b": 2}, {"a": None}],
            "embedded": {"kind": "K", "metadata": {}, "odd": 1},
        },
    }
    dropped = schema.prune(value, SHAPE)
    assert dropped == ["odd", "spec.odd", "spec.items[0].b", "spec.embedded.odd"]
    assert value == {
        "kind": "Thing",
        "metadata": {"any": 1},
        "spec": {
            "name": "n",
            "maybe": None,
            "labels": {"x": "y"},
            "free": {"x": {"y": 1}},
            "items": [{"a": "1"}, {}],
            "embedded": {"kind": "K", "metadata": {}},
        },
    }


def test_defaults() -> None:
    inner: schema.Schema = {"type": "object", "properties": {"b": {"default": 2}}}
    shape: schema.Schema = {
        "properties": {
            "a": {"default": [1]},
            "deep": {"default": {}, "properties": {"b": {"default": 2}}},
            "items": {"items": inner},
            "map": {"additionalProperties": inner},
            "null": {"default": 1, "nullable": True},
        }
    }
    value: dict[str, Any] = {"a": None, "items": [{}, {"b": 3}], "map": {"k": {}}, "null": None}
    schema.apply_defaults(value, shape)
    assert value == {
        "a": [1],
        "deep": {"b": 2},
        "items": [{"b": 2}, {"b": 3}],
        "map": {"k": {"b": 2}},
        "null": None,
    }
    value["a"].append(2)
    assert shape["properties"]["a"]["default"] == [1]


@pytest.mark.parametrize(
    ("shape", "good", "bad", "reason"),
    [
        ({"type": "string"}, "a", 1, "FieldValueTypeInvalid"),
        ({"type": "integer"}, 1, "1", "FieldValueTypeInvalid"),
        ({"type": "integer"}, 1.0, 1.5, "FieldValueTypeInvalid"),
        ({"type": "integer"}, 1, True, "FieldValueTypeInvalid"),
        ({"type": "number"}, 1, "1", "FieldValueTypeInvalid"),
        ({"type": "boolean"}, False, 0, "FieldValueTypeInvalid"),
        ({"type": "array"}, [], {}, "FieldValueTypeInvalid"),
        ({"type": "object"}, {}, [], "FieldValueTypeInvalid"),
        ({"type": "string"}, "a", None, "FieldValueTypeInvalid"),
        ({"x-kubernetes-int-or-string": True}, "a", [], "FieldValueTypeInvalid"),
        ({"type": "string", "enum": ["a"]}, "a", "b", "FieldValueNotSupported"),
        ({"type": "string", "pattern": "^a+$"}, "aa", "b", "FieldValueInvalid"),
        ({"type": "string", "minLength": 2}, "aa", "a", "FieldValueInvalid"),
        ({"type": "string", "maxLength": 1}, "a", "aa", "FieldValueTooLong"),
        ({"type": "integer", "minimum": 2}, 2, 1, "FieldValueInvalid"),
        ({"type": "integer", "minimum": 2, "exclusiveMinimum": True}, 3, 2, "FieldValueInvalid"),
        ({"type": "integer", "maximum": 2}, 2, 3, "FieldValueInvalid"),
        ({"type": "integer", "maximum": 2, "exclusiveMaximum": True}, 1, 2, "FieldValueInvalid"),
        ({"type": "integer", "multipleOf": 3}, 6, 7, "FieldValueInvalid"),
        ({"type": "array", "maxItems": 1}, [1], [1, 2], "FieldValueTooMany"),
        ({"type": "array", "minItems": 1}, [1], [], "FieldValueInvalid"),
        ({"type": "array", "x-kubernetes-list-type": "set"}, [1, 2], [1, 1], "FieldValueDuplicate"),
        (
            {
                "type": "array",
                "x-kubernetes-list-type": "map",
                "x-kubernetes-list-map-keys": ["k"],
            },
            [{"k": 1}, {"k": 2}],
            [{"k": 1, "v": 1}, {"k": 1, "v": 2}],
            "FieldValueDuplicate",
        ),
        ({"type": "object", "required": ["a"]}, {"a": 1}, {}, "FieldValueRequired"),
        ({"type": "object", "maxProperties": 1}, {"a": 1}, {"a": 1, "b": 1}, "FieldValueTooMany"),
        ({"type": "object", "minProperties": 1}, {"a": 1}, {}, "FieldValueInvalid"),
    ],
)
def test_validate(shape: schema.Schema, good: Any, bad: Any, reason: str) -> None:
    assert schema.validate(good, shape, "x") == []
    (cause,) = schema.validate(bad, shape, "x")
    assert cause.reason == reason


def test_null_where_it_may_be() -> None:
    assert schema.validate(None, {"type": "string", "nullable": True}, "x") == []
    assert schema.validate(None, {}, "x") == []


def test_paths_lead_to_the_fault() -> None:
    value = {"spec": {"labels": {"k": 1}, "items": [{"a": "x"}, {"a": 5}]}}
    causes = schema.validate(value, SHAPE)
    assert [cause.field for cause in causes] == ["spec.labels.k", "spec.items[1].a"]
    assert causes[0].message == (
        'Invalid value: "integer": spec.labels.k in body must be of type string: "integer"'
    )
