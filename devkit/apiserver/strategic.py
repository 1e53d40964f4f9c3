"""Strategic merge patch: a merge patch that knows which lists of the built-in kinds are maps.

The kind's schema tells: a list with a merge key is a map of objects, one that merges without a key
is a set of plain values; all others are replaced.

Source: apimachinery `strategicpatch` (directives, the order of merged lists).
"""

from typing import Any

from devkit.apiserver import errors, objects, schema

_KEY = "x-kubernetes-patch-merge-key"
_HOW = "x-kubernetes-patch-strategy"
_ORDER = "$setElementOrder/"
_DELETE = "$deleteFromPrimitiveList/"
_RETAIN = "$retainKeys"
_EMPTY: schema.Schema = {}


def apply(document: objects.Object, patch: Any, shape: schema.Schema) -> objects.Object:
    """Return the document with a strategic merge patch applied; it is not changed itself.

    Args:
        document: the object as it is.
        patch: the decoded body.
        shape: the kind's schema.
    Raises: errors.StatusError: 400 if the patch is no object or has an unknown directive, 500 if a
        list item lacks its merge key (as the server answers).
    """
    if not isinstance(patch, dict):
        raise errors.bad_request("error decoding patch: a patch must be a JSON object")
    merged: objects.Object = _merge_map(document, patch, shape)
    return merged


def _below(shape: schema.Schema, key: str) -> schema.Schema:
    found = (shape.get("properties") or _EMPTY).get(key) or shape.get("additionalProperties")
    return found if isinstance(found, dict) else _EMPTY


def _merges(shape: schema.Schema) -> bool:
    return shape.get("type") == "array" and "merge" in shape.get(_HOW, "").split(",")


def _merge_map(target: Any, patch: objects.Object, shape: schema.Schema) -> Any:
    directive = patch.get("$patch")
    if directive == "delete":
        return {}
    if directive not in (None, "replace", "merge"):
        raise errors.bad_request(f"unknown patch type found in {{map[$patch:{directive}]}}")
    result: objects.Object = dict(target) if isinstance(target, dict) else {}
    if directive == "replace":
        result = {}
    if _RETAIN in patch:
        result = {key: value for key, value in result.items() if key in patch[_RETAIN]}
    for key, value in patch.items():
        if key in ("$patch", _RETAIN) or key.startswith(_ORDER):
            continue
        if key.startswith(_DELETE):
            name = key.removeprefix(_DELETE)
            result[name] = [item for item in result.get(name) or [] if item not in value]
        elif value is None or (isinstance(value, dict) and value.get("$patch") == "delete"):
            result.pop(key, None)
        else:
            below = _below(shape, key)
            order = patch.get(_ORDER + key)
            result[key] = _merge_value(result.get(key), value, below, order)
    for key, order in patch.items():
        name = key.removeprefix(_ORDER)
        if key.startswith(_ORDER) and name not in patch and isinstance(result.get(name), list):
            result[name] = _merge_list(result[name], [], _below(shape, name), order)
    return result


def _merge_value(target: Any, value: Any, shape: schema.Schema, order: Any) -> Any:
    if isinstance(value, dict):
        if shape.get(_HOW) == "replace":
            return objects.copy(value)
        return _merge_map(target, value, shape)
    if isinstance(value, list):
        items = target if isinstance(target, list) else []
        return _merge_list(items, value, shape, order)
    return value


def _merge_list(
    items: list[Any], patch: list[Any], shape: schema.Schema, order: list[Any] | None
) -> list[Any]:
    if not _merges(shape) or {"$patch": "replace"} in patch:
        return [objects.copy(item) for item in patch if item != {"$patch": "replace"}]
    key = shape.get(_KEY, "")
    if not items and order is None:
        # Nothing to merge with: the items are taken as they are, without those to be deleted.
        return [objects.copy(item) for item in patch if _directive(item) != "delete"]
    merged = list(items)
    for item in patch:
        if key:
            merged = _merge_item(merged, item, key, shape["items"])
        elif item not in merged:
            merged.append(item)
    kept = [item for item in patch if not (isinstance(item, dict) and "$patch" in item)]
    return _ordered(
        merged,
        [_identity(item, key) for item in items],
        [_identity(item, key) for item in (kept if order is None else order)],
        key,
    )


def _directive(item: Any) -> Any:
    return item.get("$patch") if isinstance(item, dict) else None


def _identity(item: Any, key: str) -> Any:
    return item.get(key) if key and isinstance(item, dict) else item


def _merge_item(items: list[Any], item: Any, key: str, shape: schema.Schema) -> list[Any]:
    if not isinstance(item, dict) or key not in item:
        raise errors.StatusError(
            500, "", f"map: an item does not contain declared merge key: {key}"
        )
    found = [position for position, old in enumerate(items) if _identity(old, key) == item[key]]
    if item.get("$patch") == "delete":
        return [old for position, old in enumerate(items) if position not in found]
    if not found:
        return [*items, _merge_map({}, item, shape)]
    items[found[0]] = _merge_map(items[found[0]], item, shape)
    return items


def _ordered(items: list[Any], before: list[Any], wanted: list[Any], key: str) -> list[Any]:
    """Order a merged list: as the patch has it, with the server's own items between.

    An item that only the server has comes before the next one of the patch if it was before it on
    the server, else as late as possible.
    """
    identities = [_identity(item, key) for item in items]
    patched = sorted(
        (item for item in items if _identity(item, key) in wanted),
        key=lambda item: wanted.index(_identity(item, key)),
    )
    own = [item for item, identity in zip(items, identities, strict=True) if identity not in wanted]
    result = []
    while own and patched:
        left, right = _identity(own[0], key), _identity(patched[0], key)
        is_earlier = left in before and right in before and before.index(left) < before.index(right)
        result.append(own.pop(0) if is_earlier else patched.pop(0))
    return result + own + patched
