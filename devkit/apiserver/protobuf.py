"""Bodies in Kubernetes' protobuf form, which newer `kubectl create` and `kubectl auth` send.

Only reading: answers are always JSON, which those clients accept as well. The schema tells the
types, the file of field numbers which field is which.

Source: apimachinery `runtime/serializer/protobuf` (the envelope), protobuf's encoding guide.
"""

import base64
import datetime
import json
from collections.abc import Callable, Iterator
from typing import Any

from devkit.apiserver import errors, objects, schema
from devkit.apiserver.kinds import builtin_types

MEDIA_TYPE = "application/vnd.kubernetes.protobuf"
_MAGIC = b"k8s\x00"
_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5
_SIGN = 1 << 63


class _Broken(Exception):
    """The bytes are no protobuf of the expected shape."""


def decode(body: bytes) -> objects.Object:
    """Return the object in a protobuf body.

    Raises: errors.StatusError: 400 if it is none, 415 for kinds that have no such form here.
    """
    if not body.startswith(_MAGIC):
        raise errors.bad_request("the object provided is unrecognized: no protobuf magic number")
    try:
        envelope = dict(_fields(body[len(_MAGIC) :]))
        meta = dict(_fields(envelope.get(1, b"")))
        api_version, kind = meta.get(1, b"").decode(), meta.get(2, b"").decode()
        try:
            shape = builtin_types.of_kind(api_version, kind)
        except KeyError:
            raise errors.unsupported_media_type(("application/json", "application/yaml")) from None
        raw = envelope.get(2, b"")
        return {"kind": kind, "apiVersion": api_version, **_message(raw, shape)}
    except (_Broken, UnicodeDecodeError, AttributeError, TypeError):
        # What the bytes held may be secret; only that they are broken is told.
        raise errors.bad_request("the object provided is unrecognized: broken protobuf") from None


def _fields(data: bytes) -> Iterator[tuple[int, Any]]:
    """Yield field number and value: a number for varints, bytes for everything else."""
    position = 0
    while position < len(data):
        tag, position = _varint(data, position)
        wire = tag & 7
        if wire == _VARINT:
            value: Any
            value, position = _varint(data, position)
        else:
            size = {_FIXED64: 8, _FIXED32: 4}.get(wire)
            if wire == _BYTES:
                size, position = _varint(data, position)
            if size is None or position + size > len(data):
                raise _Broken
            value, position = data[position : position + size], position + size
        yield tag >> 3, value


def _varint(data: bytes, position: int) -> tuple[int, int]:
    value = shift = 0
    while position < len(data) and shift < 70:
        byte = data[position]
        position += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, position
        shift += 7
    raise _Broken


def _signed(value: int) -> int:
    return value - 2 * _SIGN if value & _SIGN else value


def _message(
    data: bytes, shape: schema.Schema, names: builtin_types.Numbers | None = None
) -> objects.Object:
    """Return a message's fields by their JSON names; fields without a number are left out."""
    if names is None:
        names = builtin_types.fields_by_number(shape)
    found: objects.Object = {}
    for number, value in _fields(data):
        name = names.get(number)
        if name is None:
            continue
        if isinstance(name, dict):
            found |= _message(value, shape, name)
            continue
        below = shape["properties"][name]
        if below.get("type") == "array":
            found.setdefault(name, []).append(_value(value, below["items"]))
        elif _is_map(below):
            entry = dict(_fields(value))
            key = entry.get(1, b"").decode()
            found.setdefault(name, {})[key] = _map_value(entry.get(2, b""), below)
        else:
            found[name] = _value(value, below)
    return found


def _is_map(shape: schema.Schema) -> bool:
    return isinstance(shape.get("additionalProperties"), dict)


def _map_value(value: Any, shape: schema.Schema) -> Any:
    below = shape["additionalProperties"]
    if below.get("type") == "array":
        # A list inside a map is a message of its own, with the items as its first field.
        return [_value(item, below["items"]) for number, item in _fields(value) if number == 1]
    return _value(value, below)


def _value(value: Any, shape: schema.Schema) -> Any:
    special = _SPECIAL.get(builtin_types.name_of(shape))
    if special is not None:
        return special(value)
    match shape.get("type"):
        case "string" if shape.get("format") == "byte":
            return base64.b64encode(value).decode()
        case "string":
            return value.decode()
        case "boolean":
            return bool(value)
        case "integer":
            return _signed(value)
        case "object" if "properties" in shape:
            return _message(value, shape)
    raise _Broken


def _time(value: bytes) -> str | None:
    fields = dict(_fields(value))
    if not fields:
        return None
    return objects.timestamp(
        datetime.datetime.fromtimestamp(_signed(fields.get(1, 0)), datetime.UTC)
    )


def _micro_time(value: bytes) -> str | None:
    fields = dict(_fields(value))
    if not fields:
        return None
    when = datetime.datetime.fromtimestamp(_signed(fields.get(1, 0)), datetime.UTC)
    return f"{when:%Y-%m-%dT%H:%M:%S}.{fields.get(2, 0) // 1000:06d}Z"


def _quantity(value: bytes) -> str:
    text: bytes = dict(_fields(value)).get(1, b"")
    return text.decode()


def _int_or_string(value: bytes) -> int | str:
    fields = dict(_fields(value))
    if fields.get(1, 0) == 0:
        return _signed(fields.get(2, 0))
    text: bytes = fields.get(3, b"")
    return text.decode()


def _raw_json(value: bytes) -> Any:
    raw = dict(_fields(value)).get(1, b"")
    return json.loads(raw) if raw else None


_SPECIAL: dict[str, Callable[[bytes], Any]] = {
    "meta.v1.Time": _time,
    "meta.v1.MicroTime": _micro_time,
    "meta.v1.FieldsV1": _raw_json,
    "runtime.RawExtension": _raw_json,
    "api.resource.Quantity": _quantity,
    "util.intstr.IntOrString": _int_or_string,
}
