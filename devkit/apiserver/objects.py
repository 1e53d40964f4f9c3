"""Kubernetes objects as plain JSON dictionaries, and the few facts every module asks of them."""

import datetime
import json
from collections.abc import Mapping
from typing import Any, TypeVar, cast

Object = dict[str, Any]
T = TypeVar("T")


def copy(value: T) -> T:
    """Return a deep copy of a JSON value; several times faster than `copy.deepcopy`."""
    if isinstance(value, dict):
        return cast(T, {key: copy(item) for key, item in value.items()})
    if isinstance(value, list):
        return cast(T, [copy(item) for item in value])
    return value


# Made once: with options of its own, json.dumps makes an encoder at every call.
_ENCODER = json.JSONEncoder(separators=(",", ":"), ensure_ascii=False)


def encode(value: Any) -> bytes:
    """Return compact JSON, as the API server writes it."""
    return _ENCODER.encode(value).encode()


def timestamp(when: datetime.datetime | None = None) -> str:
    """Return a `metav1.Time`: RFC 3339 in UTC with whole seconds."""
    when = when or datetime.datetime.now(datetime.UTC)
    return when.strftime("%Y-%m-%dT%H:%M:%SZ")


def parse_timestamp(text: str) -> datetime.datetime:
    """Read a `metav1.Time` or `metav1.MicroTime`. Raises: ValueError."""
    return datetime.datetime.fromisoformat(text.replace("Z", "+00:00"))


def metadata(obj: Mapping[str, Any]) -> Object:
    """Return the object's metadata, an empty dictionary if it has none."""
    found = obj.get("metadata")
    return found if isinstance(found, dict) else {}


def name_of(obj: Mapping[str, Any]) -> str:
    """Return `metadata.name`, empty if there is none."""
    return str(metadata(obj).get("name") or "")


def namespace_of(obj: Mapping[str, Any]) -> str:
    """Return `metadata.namespace`, empty if there is none."""
    return str(metadata(obj).get("namespace") or "")


def key_of(obj: Mapping[str, Any]) -> tuple[str, str]:
    """Return (namespace, name), by which an object is stored."""
    return namespace_of(obj), name_of(obj)


def uid_of(obj: Mapping[str, Any]) -> str:
    """Return `metadata.uid`, empty if there is none."""
    return str(metadata(obj).get("uid") or "")


def group_of(api_version: str) -> str:
    """Return the group of an apiVersion; the core group is the empty text."""
    group, slash, _ = api_version.rpartition("/")
    return group if slash else ""


def arranged(obj: Object) -> Object:
    """Put kind, apiVersion and metadata first, where readers of JSON look for them."""
    first = {key: obj[key] for key in ("kind", "apiVersion", "metadata") if key in obj}
    return first | obj
