"""Decoding of built-in kinds: types are checked, unknown fields dropped, empty ones forgotten.

Does what reading JSON into the API server's structs does: null is absent, an empty list or map that
need not be there is absent, a wrong type refuses the whole body. Values that are none of an
enumeration are noted on the way, for validation to tell.
"""

from typing import Any

from devkit.apiserver import errors, objects, schema

_SENT: dict[type, str] = {
    bool: "bool",
    int: "number",
    float: "number",
    str: "string",
    list: "array",
    dict: "object",
}
_EMPTY: dict[str, Any] = {"string": "", "boolean": False, "integer": 0, "number": 0}


def refused(kind: str, why: str, version: str = "v1") -> errors.StatusError:
    """Return the 400 of a body that cannot be decoded as its kind."""
    return errors.bad_request(f'{kind} in version "{version}" cannot be handled as a {kind}: {why}')


def decode(
    value: objects.Object, shape: schema.Schema, kind: str, path: str = ""
) -> tuple[list[str], list[errors.Cause]]:
    """Clean an object in place; return the unknown fields dropped and the values not allowed.

    Raises: errors.StatusError: 400 if a value has a type its field cannot take.
    """
    decoder = _Decoder(kind)
    decoder.fields(value, shape, path)
    return decoder.dropped, decoder.causes


def fill(value: objects.Object, shape: schema.Schema) -> None:
    """Add in place the parts of an object that are always there, be they empty."""
    for name in shape.get(schema.ALWAYS) or ():
        value.setdefault(name, {})
    properties = shape.get("properties")
    if properties is None:
        return
    for key, item in value.items():
        below = properties.get(key)
        if below is None or key == "metadata":
            continue
        if isinstance(item, dict):
            fill(item, below)
        elif isinstance(item, list) and isinstance(below.get("items"), dict):
            for element in item:
                if isinstance(element, dict):
                    fill(element, below["items"])


class _Decoder:
    def __init__(self, kind: str) -> None:
        self._kind = kind
        self.dropped: list[str] = []
        self.causes: list[errors.Cause] = []

    def fields(self, value: objects.Object, shape: schema.Schema, path: str) -> None:
        properties = shape["properties"]
        required = shape.get("required") or ()
        for key in list(value):
            below = f"{path}.{key}" if path else key
            field = properties.get(key)
            item = value[key]
            if field is None:
                self.dropped.append(below)
                del value[key]
            elif item is None:
                del value[key]
            else:
                value[key] = item = self.value(item, field, below)
                if not item and key not in required and _is_forgotten(item, field, key):
                    del value[key]

    def value(self, item: Any, shape: schema.Schema, path: str) -> Any:
        """Return a value as its field keeps it."""
        match shape.get("type"):
            case "string":
                return self._text(item, shape, path)
            case "object":
                self._object(item, shape, path)
            case "array":
                self._expect(item, (list,), "slice", path)
                for number, element in enumerate(item):
                    item[number] = self._element(element, shape["items"], f"{path}[{number}]")
            case "boolean":
                self._expect(item, (bool,), "bool", path)
            case "integer":
                self._expect(item, (int,), "int64", path)
            case "number":
                self._expect(item, (int, float), "float64", path)
            case _ if shape.get(schema.INT_OR_STRING):
                self._expect(item, (int, str), "intstr.IntOrString", path)
        return item

    def _text(self, item: Any, shape: schema.Schema, path: str) -> str:
        if shape.get("format") == "quantity" and type(item) in (int, float):
            return str(item)
        wanted = "[]uint8" if shape.get("format") == "byte" else "string"
        self._expect(item, (str,), wanted, path)
        # An empty text counts as absent, and statuses are not checked.
        allowed = shape.get("enum")
        if allowed and item and item not in allowed and not path.startswith("status."):
            self.causes.append(errors.not_supported(path, item, allowed))
        return str(item)

    def _object(self, item: Any, shape: schema.Schema, path: str) -> None:
        if _is_struct(shape):
            self._expect(item, (dict,), "struct", path)
            self.fields(item, shape, path)
            return
        below = shape.get("additionalProperties")
        if not isinstance(below, dict):
            return
        self._expect(item, (dict,), f"map[string]{below.get('type', 'struct')}", path)
        for key in item:
            item[key] = self._element(item[key], below, f"{path}.{key}")

    def _element(self, item: Any, shape: schema.Schema, path: str) -> Any:
        # A null inside a list or map is its type's empty value.
        if item is None:
            return _EMPTY.get(shape.get("type", ""), {})
        return self.value(item, shape, path)

    def _expect(self, item: Any, types: tuple[type, ...], wanted: str, path: str) -> None:
        if isinstance(item, types) and (not isinstance(item, bool) or bool in types):
            return
        raise refused(
            self._kind,
            f"json: cannot unmarshal {_SENT[type(item)]} into Go struct field "
            f"{self._kind}.{path} of type {wanted}",
        )


def _is_forgotten(item: Any, shape: schema.Schema, key: str) -> bool:
    """Whether an empty value counts as absent: texts, lists and maps, but not parts or numbers."""
    if item == "":
        # Two fields tell empty and absent apart: a path's type, and the name of no storage class.
        return "" not in shape.get("enum", ()) and key != "storageClassName"
    return item == [] or (item == {} and isinstance(shape.get("additionalProperties"), dict))


def _is_struct(shape: schema.Schema) -> bool:
    return "properties" in shape
