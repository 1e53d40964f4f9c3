"""Structural schemas of custom resources: pruning, defaults and validation.

Source: apiextensions-apiserver (structural pruning, defaulting), kube-openapi (texts).
"""

import re
from collections.abc import Iterator
from typing import Any

from devkit.apiserver import errors, objects

Schema = dict[str, Any]
_PRESERVE = "x-kubernetes-preserve-unknown-fields"
# Which fields of a built-in type are always there; added when its file is read.
ALWAYS = "x-devkit-always"
INT_OR_STRING = "x-kubernetes-int-or-string"
_EMBEDDED = "x-kubernetes-embedded-resource"
_TYPE_META = ("apiVersion", "kind", "metadata")


def prune(value: Any, schema: Schema, path: str = "") -> list[str]:
    """Drop in place what the schema does not know; return the paths that were dropped.

    Nulls that the schema does not allow go too.

    The root's apiVersion, kind and metadata are not the schema's business: leave them out of
    `value` or expect them kept (`path` empty marks the root).
    """
    dropped: list[str] = []
    if isinstance(value, dict):
        embedded = path == "" or bool(schema.get(_EMBEDDED))
        _prune_object(value, schema, path, embedded, dropped)
    elif isinstance(value, list) and isinstance(schema.get("items"), dict):
        for number, item in enumerate(value):
            dropped += prune(item, schema["items"], f"{path}[{number}]")
    return dropped


def _prune_object(
    value: objects.Object, schema: Schema, path: str, embedded: bool, dropped: list[str]
) -> None:
    properties = schema.get("properties") or {}
    additional = schema.get("additionalProperties")
    for key in list(value):
        if embedded and key in _TYPE_META:
            continue
        below = f"{path}.{key}" if path else key
        field = properties.get(key, additional)
        if value[key] is None and isinstance(field, dict) and not field.get("nullable"):
            # Null where null cannot be is absent; nobody is told.
            del value[key]
        elif key in properties:
            dropped += prune(value[key], properties[key], below)
        elif isinstance(additional, dict):
            dropped += prune(value[key], additional, below)
        elif not additional and not schema.get(_PRESERVE):
            del value[key]
            dropped.append(below)


def apply_defaults(value: Any, schema: Schema) -> None:
    """Set the schema's defaults in place; null where null is not allowed counts as absent."""
    if isinstance(value, dict):
        for key, below in (schema.get("properties") or {}).items():
            absent = key not in value or (value[key] is None and not below.get("nullable"))
            if absent and "default" in below:
                value[key] = objects.copy(below["default"])
            if key in value:
                apply_defaults(value[key], below)
        additional = schema.get("additionalProperties")
        if isinstance(additional, dict):
            for key in value.keys() - (schema.get("properties") or {}).keys():
                apply_defaults(value[key], additional)
    elif isinstance(value, list) and isinstance(schema.get("items"), dict):
        for item in value:
            apply_defaults(item, schema["items"])


def _type_of(value: Any) -> str:
    match value:
        case None:
            return "null"
        case bool():
            return "boolean"
        case int():
            return "integer"
        case float():
            return "number"
        case str():
            return "string"
        case list():
            return "array"
        case _:
            return "object"


def _fits(found: str, wanted: str, value: Any) -> bool:
    if found == wanted or (wanted == "number" and found == "integer"):
        return True
    return wanted == "integer" and found == "number" and value == int(value)


def validate(value: Any, schema: Schema, path: str = "") -> list[errors.Cause]:
    """Check a value against a schema; return what is wrong, in the order of the fields."""
    found = _type_of(value)
    wanted = schema.get("type", "")
    if value is None and (schema.get("nullable") or not wanted):
        return []
    if schema.get(INT_OR_STRING):
        wanted = "string" if found == "string" else "integer"
    if wanted and not _fits(found, wanted, value):
        return [_cause("FieldValueTypeInvalid", path, found, f"must be of type {wanted}", found)]
    causes = list(_value_causes(value, schema, path))
    if isinstance(value, dict):
        causes += _object_causes(value, schema, path)
    elif isinstance(value, list):
        causes += _list_causes(value, schema, path)
    return causes


def _cause(reason: str, path: str, value: Any, what: str, shown: str = "") -> errors.Cause:
    told = objects.encode(value).decode()
    tail = f': "{shown}"' if shown else ""
    return errors.Cause(
        reason, path or "<nil>", f"Invalid value: {told}: {path} in body {what}{tail}"
    )


def _value_causes(value: Any, schema: Schema, path: str) -> Iterator[errors.Cause]:
    if "enum" in schema and value not in schema["enum"]:
        yield errors.not_supported(path, value, [str(item) for item in schema["enum"]])
    if isinstance(value, str):
        yield from _text_causes(value, schema, path)
    elif isinstance(value, (int, float)) and not isinstance(value, bool):
        yield from _number_causes(value, schema, path)


def _text_causes(value: str, schema: Schema, path: str) -> Iterator[errors.Cause]:
    if len(value) > schema.get("maxLength", len(value)):
        yield errors.too_long(path, f"may not be more than {schema['maxLength']} bytes")
    if len(value) < schema.get("minLength", 0):
        what = f"should be at least {schema['minLength']} chars long"
        yield _cause("FieldValueInvalid", path, value, what)
    # Go's RE2 and Python's re agree on the patterns that CRDs use.
    if "pattern" in schema and not re.search(schema["pattern"], value):
        what = f"should match '{schema['pattern']}'"
        yield _cause("FieldValueInvalid", path, value, what)


def _number_causes(value: float, schema: Schema, path: str) -> Iterator[errors.Cause]:
    low, high = schema.get("minimum"), schema.get("maximum")
    if low is not None and (value < low or (schema.get("exclusiveMinimum") and value == low)):
        what = f"should be greater than or equal to {low}"
        yield _cause("FieldValueInvalid", path, value, what)
    if high is not None and (value > high or (schema.get("exclusiveMaximum") and value == high)):
        what = f"should be less than or equal to {high}"
        yield _cause("FieldValueInvalid", path, value, what)
    if "multipleOf" in schema and value % schema["multipleOf"]:
        what = f"should be a multiple of {schema['multipleOf']}"
        yield _cause("FieldValueInvalid", path, value, what)


def _object_causes(value: objects.Object, schema: Schema, path: str) -> list[errors.Cause]:
    causes = []
    properties = schema.get("properties") or {}
    for key in schema.get("required") or []:
        if key not in value:
            causes.append(errors.required(f"{path}.{key}" if path else key))
    if len(value) > schema.get("maxProperties", len(value)):
        causes.append(
            errors.Cause(
                "FieldValueTooMany",
                path,
                f"Too many: must have at most {schema['maxProperties']} items",
            )
        )
    if len(value) < schema.get("minProperties", 0):
        what = f"should have at least {schema['minProperties']} properties"
        causes.append(_cause("FieldValueInvalid", path, value, what))
    additional = schema.get("additionalProperties")
    for key, item in value.items():
        below = properties.get(key)
        if below is None and isinstance(additional, dict):
            below = additional
        if below is not None:
            causes += validate(item, below, f"{path}.{key}" if path else key)
    return causes


def _list_causes(value: list[Any], schema: Schema, path: str) -> list[errors.Cause]:
    causes = []
    if len(value) > schema.get("maxItems", len(value)):
        causes.append(
            errors.Cause(
                "FieldValueTooMany",
                path,
                f"Too many: {len(value)}: must have at most {schema['maxItems']} items",
            )
        )
    if len(value) < schema.get("minItems", 0):
        what = f"should have at least {schema['minItems']} items"
        causes.append(_cause("FieldValueInvalid", path, value, what))
    if isinstance(schema.get("items"), dict):
        for number, item in enumerate(value):
            causes += validate(item, schema["items"], f"{path}[{number}]")
    return causes + _duplicate_causes(value, schema, path)


def _duplicate_causes(value: list[Any], schema: Schema, path: str) -> list[errors.Cause]:
    kind = schema.get("x-kubernetes-list-type")
    keys = schema.get("x-kubernetes-list-map-keys") or []
    if kind not in ("set", "map"):
        return []
    causes, seen = [], set()
    for number, item in enumerate(value):
        if kind == "map" and isinstance(item, dict):
            item = {key: item.get(key) for key in keys}
        identity = objects.encode(item)
        if identity in seen:
            causes.append(
                errors.Cause(
                    "FieldValueDuplicate",
                    f"{path}[{number}]",
                    f"Duplicate value: {identity.decode()}",
                )
            )
        seen.add(identity)
    return causes
