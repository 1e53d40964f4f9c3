"""Who owns which fields: managedFields of ordinary writes, and server-side apply.

Source: structured-merge-diff `merge.Updater`, apimachinery `managedfields`.
"""

from dataclasses import dataclass
from typing import Any

from devkit.apiserver import errors, fieldsets, objects, schema

UPDATE, APPLY = "Update", "Apply"
# Fields that nobody owns.
_STRIPPED: fieldsets.Paths = {("f:apiVersion",), ("f:kind",), ("f:metadata",)} | {
    ("f:metadata", f"f:{name}")
    for name in (
        "name",
        "namespace",
        "creationTimestamp",
        "deletionTimestamp",
        "deletionGracePeriodSeconds",
        "selfLink",
        "uid",
        "generation",
        "managedFields",
        "resourceVersion",
    )
}


@dataclass(frozen=True, slots=True)
class Manager:
    """Who writes, how, in which version and through which subresource."""

    name: str
    operation: str
    api_version: str
    subresource: str = ""


Owners = dict[Manager, fieldsets.Paths]


def _read(obj: objects.Object) -> tuple[Owners, dict[Manager, str]]:
    """Return the owners an object knows, and when each wrote last."""
    owners: Owners = {}
    times: dict[Manager, str] = {}
    for entry in obj.get("metadata", {}).get("managedFields") or ():
        manager = Manager(
            entry.get("manager", ""),
            entry.get("operation", ""),
            entry.get("apiVersion", ""),
            entry.get("subresource", ""),
        )
        owners[manager] = fieldsets.decode(entry.get("fieldsV1") or {})
        times[manager] = entry.get("time", "")
    return owners, times


def _write(obj: objects.Object, owners: Owners, times: dict[Manager, str]) -> None:
    entries = []
    for manager, paths in owners.items():
        if not paths:
            continue
        entry = {
            "manager": manager.name,
            "operation": manager.operation,
            "apiVersion": manager.api_version,
            "time": times[manager],
            "fieldsType": "FieldsV1",
            "fieldsV1": fieldsets.encode(paths),
        }
        if manager.subresource:
            entry["subresource"] = manager.subresource
        entries.append(entry)
    entries.sort(key=lambda entry: (entry["operation"], entry["time"], entry["manager"]))
    if entries:
        obj["metadata"]["managedFields"] = entries
    else:
        obj["metadata"].pop("managedFields", None)


def track(old: objects.Object, new: objects.Object, manager: Manager, shape: schema.Schema) -> None:
    """Note in `new` who owns what after an ordinary write.

    Args:
        old: the object before; for a new one, its kind's empty object.
        new: the object after; its managedFields are set.
        manager: who writes.
        shape: the kind's schema.
    """
    # An update may hand in managed fields itself, which is how they are edited.
    owners, times = _read(new if new.get("metadata", {}).get("managedFields") else old)
    _, difference = _handed_over(owners, old, new, shape, manager)
    mine = (owners.get(manager, set()) - difference.removed) | difference.changed
    mine -= _STRIPPED
    if mine != owners.get(manager):
        times[manager] = objects.timestamp()
    owners[manager] = mine
    _write(new, owners, times)


def _handed_over(
    owners: Owners,
    old: objects.Object,
    new: objects.Object,
    shape: schema.Schema,
    manager: Manager,
) -> tuple[Owners, fieldsets.Comparison]:
    """Take from all others in `owners` what a write changes; return what each has lost to it."""
    difference = fieldsets.compare(_bare(old), _bare(new), shape)
    lost: Owners = {}
    for other, paths in owners.items():
        if other == manager:
            continue
        if taken := paths & difference.changed:
            lost[other] = taken
        owners[other] = paths - difference.changed - difference.removed
    return lost, difference


def _bare(obj: objects.Object) -> objects.Object:
    if "managedFields" not in obj.get("metadata", {}):
        return obj
    meta = {key: value for key, value in obj["metadata"].items() if key != "managedFields"}
    return {**obj, "metadata": meta}


def apply(
    live: objects.Object,
    config: objects.Object,
    manager: Manager,
    shape: schema.Schema,
    *,
    force: bool,
) -> objects.Object:
    """Return the live object with an applied configuration merged in.

    Args:
        live: the stored object, or its kind's empty object if there is none.
        config: what the manager wants; fields it had applied before and now leaves out go away.
        manager: who applies.
        shape: the kind's schema.
        force: take fields from other managers instead of failing.
    Raises: errors.StatusError: 409 with the fields that others own.
    """
    owners, times = _read(live)
    before = owners.get(manager, set())
    mine = fieldsets.of_object(config, shape) - _STRIPPED
    owners[manager] = mine
    merged: objects.Object = merge(_bare(live), config, shape)
    kept: fieldsets.Paths = set().union(*owners.values())
    abandoned = {path for path in before - mine if not _is_held(path, kept)}
    merged = remove(merged, abandoned, shape)
    lost, _ = _handed_over(owners, live, merged, shape, manager)
    lost = {other: paths for other, paths in lost.items() if paths - _STRIPPED}
    if lost and not force:
        raise _conflict(lost)
    if mine != before:
        times[manager] = objects.timestamp()
    _write(merged, owners, times)
    return merged


def _is_held(path: fieldsets.Path, kept: fieldsets.Paths) -> bool:
    """Whether somebody owns the path or something below it."""
    return any(other[: len(path)] == path for other in kept)


def _conflict(lost: Owners) -> errors.StatusError:
    causes = []
    told = []
    for manager, paths in lost.items():
        using = f'conflict with "{manager.name}"'
        if manager.subresource:
            using += f' with subresource "{manager.subresource}"'
        using += f" using {manager.api_version}"
        for path in sorted(paths - _STRIPPED):
            field = fieldsets.human(path)
            told.append(f"{using}: {field}")
            causes.append({"reason": "FieldManagerConflict", "message": using, "field": field})
    count = f"{len(told)} conflict" + ("s" if len(told) > 1 else "")
    return errors.StatusError(
        409, "Conflict", f"Apply failed with {count}: {'; '.join(told)}", {"causes": causes}
    )


def merge(live: Any, config: Any, shape: schema.Schema) -> Any:
    """Return `config` laid over `live`; lists that are sets or maps merge by their items."""
    if isinstance(config, dict) and isinstance(live, dict):
        if fieldsets.is_atomic(config, shape):
            return objects.copy(config)
        merged = dict(live)
        for key, value in config.items():
            if value is not None:
                merged[key] = merge(live.get(key), value, fieldsets.below(shape, key))
        return merged
    if (
        isinstance(config, list)
        and isinstance(live, list)
        and not fieldsets.is_atomic(config, shape)
    ):
        return _merge_list(live, config, shape)
    if isinstance(config, dict):
        return {key: merge(None, value, {}) for key, value in config.items() if value is not None}
    return objects.copy(config)


def _merge_list(live: list[Any], config: list[Any], shape: schema.Schema) -> list[Any]:
    wanted = {fieldsets.element(item, shape): item for item in config}
    present = {fieldsets.element(item, shape): item for item in live}
    merged = []
    left = list(wanted)
    for key, item in present.items():
        if key not in wanted:
            merged.append(item)
            continue
        # The configuration decides on the order of its items; the others keep their places.
        turn = left.pop(0)
        merged.append(merge(present.get(turn), wanted[turn], shape["items"]))
    return merged + [merge(present.get(key), wanted[key], shape["items"]) for key in left]


def remove(value: Any, paths: fieldsets.Paths, shape: schema.Schema) -> Any:
    """Return a value without the fields and items that `paths` name."""
    if not paths or not isinstance(value, (dict, list)) or fieldsets.is_atomic(value, shape):
        return value
    inner: dict[str, fieldsets.Paths] = {}
    gone = set()
    for path in paths:
        if len(path) == 1:
            gone.add(path[0])
        else:
            inner.setdefault(path[0], set()).add(path[1:])
    if isinstance(value, dict):
        return {
            key: remove(item, inner.get(f"f:{key}", set()), fieldsets.below(shape, key))
            for key, item in value.items()
            if f"f:{key}" not in gone
        }
    return [
        remove(item, inner.get(fieldsets.element(item, shape), set()), shape["items"])
        for item in value
        if fieldsets.element(item, shape) not in gone
    ]
