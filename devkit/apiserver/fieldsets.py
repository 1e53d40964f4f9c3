"""Sets of field paths: what a manager owns, and what differs between two objects.

A path is a tuple of elements as FieldsV1 writes them: `f:name` for a field or map key, `k:{…}` for
an item of a list of objects, `v:…` for an item of a set. A set is a Python set of such tuples.

Source: structured-merge-diff `typed` (ToFieldSet, Compare) and `fieldpath` (the encoding).
"""

import json
from dataclasses import dataclass, field
from typing import Any

from devkit.apiserver import objects, schema

Path = tuple[str, ...]
Paths = set[Path]
_EMPTY: schema.Schema = {}


def below(shape: schema.Schema, key: str) -> schema.Schema:
    """Return the shape of a field or map value; empty if the schema does not know it."""
    found = (shape.get("properties") or _EMPTY).get(key) or shape.get("additionalProperties")
    return found if isinstance(found, dict) else _EMPTY


def is_atomic(value: Any, shape: schema.Schema) -> bool:
    """Tell whether a list or map is owned only as a whole."""
    if isinstance(value, dict):
        return bool(shape.get("x-kubernetes-map-type") == "atomic")
    return bool(shape.get("x-kubernetes-list-type", "atomic") == "atomic")


def element(item: Any, shape: schema.Schema) -> str:
    """Return the path element of an item of a list that is a set or a map."""
    if shape.get("x-kubernetes-list-type") == "set":
        return f"v:{objects.encode(item).decode()}"
    properties = shape["items"].get("properties") or _EMPTY
    keys = {}
    for key in sorted(shape.get("x-kubernetes-list-map-keys") or ()):
        value = item.get(key, properties.get(key, _EMPTY).get("default"))
        if value is not None:
            keys[key] = value
    return f"k:{objects.encode(keys).decode()}"


def of_object(value: Any, shape: schema.Schema) -> Paths:
    """Return the paths that whoever applies this value owns."""
    found: Paths = set()
    _collect(value, shape, (), found)
    return found


def _collect(value: Any, shape: schema.Schema, path: Path, found: Paths) -> None:
    if not isinstance(value, (dict, list)) or is_atomic(value, shape):
        found.add(path)
    elif isinstance(value, dict):
        properties = shape.get("properties") or _EMPTY
        for key, item in value.items():
            inner = (*path, f"f:{key}")
            _collect(item, below(shape, key), inner, found)
            if item is None or item == {} or key not in properties:
                found.add(inner)
    else:
        for item in value:
            inner = (*path, element(item, shape))
            _collect(item, shape["items"], inner, found)
            found.add(inner)


@dataclass(slots=True)
class Comparison:
    """Which paths an update brought, changed and took away."""

    added: Paths = field(default_factory=set)
    modified: Paths = field(default_factory=set)
    removed: Paths = field(default_factory=set)

    @property
    def changed(self) -> Paths:
        return self.added | self.modified


_ABSENT = object()


def zero(shape: schema.Schema) -> objects.Object:
    """Return the empty object of a kind: the parts that are always there, be they empty.

    A new object is compared with it, so that nobody owns such a part as a whole.
    """
    found: objects.Object = {}
    required = shape.get("required") or ()
    for name, field_shape in (shape.get("properties") or _EMPTY).items():
        if field_shape.get("default") == {}:
            found[name] = zero(field_shape)
        elif field_shape.get("type") == "array" and name in required:
            found[name] = []
    return found


def compare(old: Any, new: Any, shape: schema.Schema) -> Comparison:
    """Return the differences between two objects of one kind."""
    found = Comparison()
    _compare(old, new, shape, (), found)
    return found


def _compare(old: Any, new: Any, shape: schema.Schema, path: Path, found: Comparison) -> None:
    before = {} if old is _ABSENT else _parts(old, shape)
    after = {} if new is _ABSENT else _parts(new, shape)
    if old is _ABSENT:
        found.added.add(path)
    elif new is _ABSENT:
        found.removed.add(path)
    elif old == new:
        return
    elif before is None or after is None or not (before or after):
        found.modified.add(path)
        return
    before, after = before or {}, after or {}
    for key in before.keys() | after.keys():
        inner = below(shape, key[2:]) if key.startswith("f:") else shape["items"]
        _compare(before.get(key, _ABSENT), after.get(key, _ABSENT), inner, (*path, key), found)


def _parts(value: Any, shape: schema.Schema) -> dict[str, Any] | None:
    """Return a granular value's parts by path element; None for a leaf."""
    if not isinstance(value, (dict, list)) or is_atomic(value, shape):
        return None
    if isinstance(value, dict):
        return {f"f:{key}": item for key, item in value.items()}
    return {element(item, shape): item for item in value}


def encode(paths: Paths) -> objects.Object:
    """Return a set as FieldsV1."""
    root: objects.Object = {}
    for path in sorted(paths):
        node = root
        for depth, part in enumerate(path):
            # A leaf that gets children is still a member itself.
            if depth and not node and path[:depth] in paths:
                node["."] = {}
            node = node.setdefault(part, {})
    return root


def decode(fields: objects.Object) -> Paths:
    """Read a set from FieldsV1."""
    found: Paths = set()

    def walk(node: objects.Object, path: Path) -> None:
        if not node and path:
            found.add(path)
        for key, inner in node.items():
            if key == ".":
                found.add(path)
            else:
                walk(inner, (*path, key))

    walk(fields, ())
    return found


def human(path: Path) -> str:
    """Return a path as conflict messages show it, e.g. `.spec.containers[name="a"].image`."""
    told = ""
    for part in path:
        kind, _, value = part.partition(":")
        if kind == "f":
            told += f".{value}"
        elif kind == "v":
            told += f"[={value}]"
        else:
            pairs = json.loads(value).items()
            listed = ",".join(f"{key}={objects.encode(item).decode()}" for key, item in pairs)
            told += f"[{listed}]"
    return told
