"""JSON merge patch (RFC 7396) and JSON patch (RFC 6902)."""

from typing import Any

from devkit.apiserver import errors, objects


def merge(target: Any, patch: Any) -> Any:
    """Return `target` with a merge patch applied; null removes a key, lists are replaced."""
    if not isinstance(patch, dict):
        return objects.copy(patch)
    result = dict(target) if isinstance(target, dict) else {}
    for key, value in patch.items():
        if value is None:
            result.pop(key, None)
        else:
            result[key] = merge(result.get(key), value)
    return result


class _Refused(Exception):
    """An operation of a JSON patch does not fit the document."""


def _tokens(pointer: str) -> list[str]:
    if pointer == "":
        return []
    if not pointer.startswith("/"):
        raise _Refused(f"invalid JSON pointer {pointer!r}")
    return [part.replace("~1", "/").replace("~0", "~") for part in pointer[1:].split("/")]


def _index(items: list[Any], token: str, *, inserting: bool = False) -> int:
    if inserting and token == "-":
        return len(items)
    if not token.isdigit() or int(token) > len(items) - (0 if inserting else 1):
        raise _Refused(f"index {token!r} is out of bounds")
    return int(token)


def _step(value: Any, token: str) -> Any:
    if isinstance(value, dict):
        if token not in value:
            raise _Refused(f"path has no {token!r}")
        return value[token]
    if isinstance(value, list):
        return value[_index(value, token)]
    raise _Refused(f"path goes through a plain value at {token!r}")


def _read(document: Any, pointer: str) -> Any:
    for token in _tokens(pointer):
        document = _step(document, token)
    return document


def _parent(document: Any, pointer: str) -> tuple[Any, str]:
    tokens = _tokens(pointer)
    for token in tokens[:-1]:
        document = _step(document, token)
    return document, tokens[-1]


def _add(document: Any, pointer: str, value: Any) -> Any:
    if not _tokens(pointer):
        return value
    parent, last = _parent(document, pointer)
    if isinstance(parent, dict):
        parent[last] = value
    elif isinstance(parent, list):
        parent.insert(_index(parent, last, inserting=True), value)
    else:
        raise _Refused(f"path {pointer!r} has no container")
    return document


def _remove(document: Any, pointer: str) -> Any:
    if not _tokens(pointer):
        raise _Refused("the whole document cannot be removed")
    parent, last = _parent(document, pointer)
    _step(parent, last)
    if isinstance(parent, dict):
        del parent[last]
    else:
        del parent[_index(parent, last)]
    return document


def _replace(document: Any, pointer: str, value: Any) -> Any:
    """Put a value in the place of another; in a map it may be a new one, as the server has it."""
    if not _tokens(pointer):
        return value
    parent, last = _parent(document, pointer)
    if isinstance(parent, list):
        parent[_index(parent, last)] = value
        return document
    return _add(document, pointer, value)


def _operate(document: Any, operation: Any) -> Any:
    if not isinstance(operation, dict):
        raise _Refused("an operation must be an object")
    path = str(operation.get("path", ""))
    if operation.get("op") in ("add", "replace", "test") and "value" not in operation:
        raise _Refused("missing value")
    match operation.get("op"):
        case "add":
            return _add(document, path, objects.copy(operation["value"]))
        case "remove":
            return _remove(document, path)
        case "replace":
            return _replace(document, path, objects.copy(operation["value"]))
        case "move":
            value = _read(document, str(operation.get("from", "")))
            return _add(_remove(document, str(operation["from"])), path, value)
        case "copy":
            value = _read(document, str(operation.get("from", "")))
            return _add(document, path, objects.copy(value))
        case "test":
            _test(document, path, operation["value"])
            return document
        case other:
            raise _Refused(f"unexpected kind: {other}")


def _test(document: Any, path: str, wanted: Any) -> None:
    try:
        found = _read(document, path)
    except _Refused:
        # An absent path counts as null, so that a patch can test that something is not there.
        found = None
    if found != wanted or isinstance(found, bool) is not isinstance(wanted, bool):
        raise _Refused(f"testing value {path} failed: test failed")


def apply_json_patch(document: Any, patch: Any) -> Any:
    """Return the document after all operations of a JSON patch.

    Raises: errors.StatusError: 400 if the patch is no list, 422 if an operation does not fit.
    """
    if not isinstance(patch, list):
        raise errors.bad_request(
            "error decoding patch: json: cannot unmarshal into Go value of type jsonpatch.Patch"
        )
    document = objects.copy(document)
    for operation in patch:
        try:
            document = _operate(document, operation)
        except _Refused as refused:
            raise errors.unprocessable(
                "the server rejected our request due to an error in our request"
            ) from refused
    return document
