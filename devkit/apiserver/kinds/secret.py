"""Secrets and ConfigMaps: encodings, sizes, types and immutability.

Source: core validation of Secret and ConfigMap.
"""

import base64
import binascii
import json
import re

from devkit.apiserver import errors, objects
from devkit.apiserver.kinds import strategy, typed

LIMIT_BYTES = 1024 * 1024
_KEY = re.compile(r"[-._a-zA-Z0-9]+")
_IMMUTABLE = "field is immutable when `immutable` is set"


def _key_causes(field: str, key: str) -> list[errors.Cause]:
    at = f"{field}[{key}]"
    if len(key) > 253:
        return [errors.invalid_value(at, key, "must be no more than 253 characters")]
    if not _KEY.fullmatch(key):
        return [
            errors.invalid_value(
                at,
                key,
                "a valid config key must consist of letters, digits, '-', '_' or '.' "
                f"(regex: '{_KEY.pattern}')",
            )
        ]
    if key in (".", ".."):
        return [errors.invalid_value(at, key, f"must not be '{key}'")]
    if key.startswith(".."):
        return [errors.invalid_value(at, key, "must not start with '..'")]
    return []


def _decoded_size(kind: str, value: str) -> int:
    """Return the size of base64 data. Raises: errors.StatusError: 400 if it is none."""
    try:
        return len(base64.b64decode(value.replace("\n", "").replace("\r", ""), validate=True))
    except (binascii.Error, ValueError) as error:
        raise typed.refused(kind, "illegal base64 data at input byte 0") from error


def _size_causes(field: str, size: int) -> list[errors.Cause]:
    if size <= LIMIT_BYTES:
        return []
    return [errors.too_long(field, f"may not be more than {LIMIT_BYTES} bytes")]


def _immutability_causes(
    new: objects.Object, old: objects.Object, fields: tuple[str, ...]
) -> list[errors.Cause]:
    if not old.get("immutable"):
        return []
    causes = []
    if not new.get("immutable"):
        causes.append(errors.forbidden_field("immutable", _IMMUTABLE))
    for field in fields:
        if (new.get(field) or {}) != (old.get(field) or {}):
            causes.append(errors.forbidden_field(field, _IMMUTABLE))
    return causes


class Secret(strategy.Strategy):
    """core/v1 Secret. `stringData` is folded into `data` and never stored."""

    def decode(self, obj: objects.Object) -> strategy.Decoded:
        decoded = super().decode(obj)
        for value in obj.get("data", {}).values():
            _decoded_size("Secret", value)
        return decoded

    def complete(self, obj: objects.Object) -> None:
        super().complete(obj)
        if texts := obj.pop("stringData", {}):
            encoded = {
                key: base64.b64encode(value.encode()).decode() for key, value in texts.items()
            }
            obj["data"] = {**obj.get("data", {}), **encoded}
        if not obj.get("type"):
            obj["type"] = "Opaque"

    def validate(self, obj: objects.Object) -> list[errors.Cause]:
        data = obj.get("data", {})
        causes: list[errors.Cause] = []
        size = 0
        for key, value in data.items():
            causes += _key_causes("data", key)
            size += _decoded_size("Secret", value)
        causes += _size_causes("data", size)
        return causes + self._type_causes(obj, data)

    def _type_causes(self, obj: objects.Object, data: dict[str, str]) -> list[errors.Cause]:
        match obj["type"]:
            case "kubernetes.io/tls":
                return _needed(data, "tls.crt") + _needed(data, "tls.key")
            case "kubernetes.io/ssh-auth":
                return _needed(data, "ssh-privatekey")
            case "kubernetes.io/basic-auth":
                if "username" in data or "password" in data:
                    return []
                return [
                    errors.required("data[username]"),
                    errors.required("data[password]"),
                ]
            case "kubernetes.io/dockerconfigjson":
                return _json_needed(data, ".dockerconfigjson")
            case "kubernetes.io/dockercfg":
                return _json_needed(data, ".dockercfg")
            case "kubernetes.io/service-account-token":
                key = "kubernetes.io/service-account.name"
                if objects.metadata(obj).get("annotations", {}).get(key):
                    return []
                return [errors.required(f"metadata.annotations[{key}]")]
        return []

    def validate_update(self, new: objects.Object, old: objects.Object) -> list[errors.Cause]:
        causes = []
        if new["type"] != old["type"]:
            causes.append(errors.invalid_value("type", new["type"], "field is immutable"))
        return causes + _immutability_causes(new, old, ("data",))


def _needed(data: dict[str, str], key: str) -> list[errors.Cause]:
    return [] if key in data else [errors.required(f"data[{key}]")]


def _json_needed(data: dict[str, str], key: str) -> list[errors.Cause]:
    if key not in data:
        return [errors.required(f"data[{key}]")]
    try:
        json.loads(base64.b64decode(data[key]))
    except ValueError:
        # The value is a secret; it must not be told.
        return [errors.invalid_value(f"data[{key}]", "<secret contents redacted>", "must be JSON")]
    return []


class ConfigMap(strategy.Strategy):
    """core/v1 ConfigMap."""

    def decode(self, obj: objects.Object) -> strategy.Decoded:
        decoded = super().decode(obj)
        for value in obj.get("binaryData", {}).values():
            _decoded_size("ConfigMap", value)
        return decoded

    def validate(self, obj: objects.Object) -> list[errors.Cause]:
        causes: list[errors.Cause] = []
        size = 0
        for key, value in obj.get("data", {}).items():
            causes += _key_causes("data", key)
            size += len(value.encode())
        for key, value in obj.get("binaryData", {}).items():
            causes += _key_causes("binaryData", key)
            size += _decoded_size("ConfigMap", value)
        return causes + _size_causes("", size)

    def validate_update(self, new: objects.Object, old: objects.Object) -> list[errors.Cause]:
        return _immutability_causes(new, old, ("data", "binaryData"))
