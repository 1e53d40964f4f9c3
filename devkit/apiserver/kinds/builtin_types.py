"""Schemas of the built-in kinds: which fields there are, of what type, and how lists merge.

Loaded once from a generated file. References between types are resolved to shared dictionaries,
which may be cyclic; walk them along a value, never alone.
"""

import functools
import json
import pathlib
from typing import Any

from devkit.apiserver import schema

NUMBERS = pathlib.Path(__file__).with_name("field_numbers.json")
# Marks of our own in a schema start like this.
_OWN = "x-devkit-"
_NAME = "x-devkit-name"
FILE = pathlib.Path(__file__).with_name("builtin_types.json")


@functools.cache
def _load() -> tuple[dict[str, str], dict[str, schema.Schema]]:
    raw = json.loads(FILE.read_text())
    types: dict[str, schema.Schema] = raw["types"]
    for name, found in types.items():
        _mark_always(found)
        found[_NAME] = name
    for found in types.values():
        _linked(found, types)
    return raw["kinds"], types


def _mark_always(shape: schema.Schema) -> None:
    """Note which parts of a type are always there, be they empty."""
    always = [
        name
        for name, below in (shape.get("properties") or {}).items()
        if below.get("default") == {} and name != "metadata"
    ]
    if always:
        shape[schema.ALWAYS] = always


def _linked(node: schema.Schema, types: dict[str, schema.Schema]) -> schema.Schema:
    """Replace the references below a node by the types themselves."""
    for key in ("items", "additionalProperties"):
        if isinstance(node.get(key), dict):
            node[key] = _resolved(node[key], types)
    for name, below in (node.get("properties") or {}).items():
        node["properties"][name] = _resolved(below, types)
    return node


def _resolved(node: schema.Schema, types: dict[str, schema.Schema]) -> Any:
    reference = node.pop("$ref", None)
    if reference is None:
        return _linked(node, types)
    # What stands beside a reference is this field's own way to merge. The copy shares the type's
    # fields, so it does not matter whether they are linked by now.
    return {**types[reference], **node} if node else types[reference]


def of_kind(api_version: str, kind: str) -> schema.Schema:
    """Return the schema of a built-in kind. Raises: KeyError: it is not in the file."""
    kinds, types = _load()
    return types[kinds[f"{api_version}/{kind}"]]


def unfolded(api_version: str, kind: str) -> dict[str, Any]:
    """Return a kind's schema without shared parts; a type inside itself becomes a plain object."""

    def walk(node: Any, above: tuple[int, ...]) -> Any:
        if isinstance(node, list):
            return list(node)
        if not isinstance(node, dict):
            return node
        if id(node) in above:
            return {"type": "object"}
        return {
            key: walk(item, (*above, id(node)))
            for key, item in node.items()
            if not key.startswith(_OWN)
        }

    found: dict[str, Any] = walk(of_kind(api_version, kind), ())
    return found


def names() -> list[str]:
    """Return the short names of all types."""
    return list(_load()[1])


def name_of(shape: schema.Schema) -> str:
    """Return the short name of a type, empty for a schema that is no type of its own."""
    found: str = shape.get(_NAME, "")
    return found


Numbers = dict[int, Any]


def _by_number(fields: dict[str, Any]) -> Numbers:
    return {
        int(key) if isinstance(value, dict) else value: _by_number(value)
        if isinstance(value, dict)
        else key
        for key, value in fields.items()
    }


@functools.cache
def _numbers() -> dict[str, Numbers]:
    raw = json.loads(NUMBERS.read_text())
    return {name: _by_number(fields) for name, fields in raw.items()}


def fields_by_number(shape: schema.Schema) -> Numbers:
    """Return protobuf field number → JSON name of a type; empty if it has no such form here.

    Where a message's fields stand among the type's own, it is number → the same for that message.
    """
    return _numbers().get(name_of(shape), {})


def of_type(name: str) -> schema.Schema:
    """Return the schema of a type by its short name, e.g. `core.v1.PodSpec`."""
    return _load()[1][name]


@functools.cache
def version() -> str:
    """Return the version of the server that the file was read from."""
    found: str = json.loads(FILE.read_text())["version"]
    return found
