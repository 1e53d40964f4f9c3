"""Strategic merge patch: a merge patch that knows which lists of the built-in kinds are maps.

The table names lists by their path below the kind, with pod templates folded onto `PodSpec`.
Lists that are not in it are replaced, as a merge patch would.

Source: the patchStrategy and patchMergeKey tags of the Kubernetes API types.
"""

from typing import Any

from devkit.apiserver import errors, objects

DIRECTIVES = ("$patch", "$retainKeys")
_PRIMITIVE = ""

_CONTAINER = {
    "env": "name",
    "ports": "containerPort",
    "volumeMounts": "mountPath",
    "volumeDevices": "devicePath",
}
_POD_SPEC = {
    "containers": "name",
    "initContainers": "name",
    "ephemeralContainers": "name",
    "volumes": "name",
    "imagePullSecrets": "name",
    "hostAliases": "ip",
    "topologySpreadConstraints": "topologyKey",
    "schedulingGates": "name",
    "resourceClaims": "name",
} | {
    f"{kind}.{name}": key
    for kind in ("containers", "initContainers", "ephemeralContainers")
    for name, key in _CONTAINER.items()
}

# How deep below each kind its pod spec lies.
_POD_SPEC_AT = {
    "Pod": "spec",
    "Deployment": "spec.template.spec",
    "ReplicaSet": "spec.template.spec",
    "DaemonSet": "spec.template.spec",
    "StatefulSet": "spec.template.spec",
    "Job": "spec.template.spec",
    "CronJob": "spec.jobTemplate.spec.template.spec",
}
_ANY_KIND = {"metadata.ownerReferences": "uid", "metadata.finalizers": _PRIMITIVE}
_BY_KIND: dict[str, dict[str, str]] = {
    "ServiceAccount": {"secrets": "name", "imagePullSecrets": "name"},
    "Service": {"spec.ports": "port", "status.conditions": "type"},
    "Namespace": {"status.conditions": "type"},
    "Node": {
        "spec.podCIDRs": _PRIMITIVE,
        "status.addresses": "type",
        "status.conditions": "type",
    },
    "CSINode": {"spec.drivers": "name"},
    "PodDisruptionBudget": {"status.conditions": "type"},
    "PersistentVolumeClaim": {"status.conditions": "type"},
    "Pod": {
        "status.conditions": "type",
        "status.podIPs": "ip",
        "status.hostIPs": "ip",
        "status.resourceClaimStatuses": "name",
    },
    "ValidatingAdmissionPolicy": {
        "spec.matchConditions": "name",
        "spec.variables": "name",
    },
} | {
    kind: {"status.conditions": "type"}
    for kind in ("Deployment", "ReplicaSet", "DaemonSet", "StatefulSet", "Job")
}


def merge_keys(kind: str) -> dict[str, str]:
    """Return path → merge key of the kind's lists; an empty key means a set of plain values."""
    keys = dict(_ANY_KIND) | _BY_KIND.get(kind, {})
    if at := _POD_SPEC_AT.get(kind):
        keys |= {f"{at}.{path}": key for path, key in _POD_SPEC.items()}
    return keys


def apply(document: objects.Object, patch: Any, kind: str) -> objects.Object:
    """Return the document with a strategic merge patch applied.

    Args:
        document: the object as it is; not changed.
        patch: the decoded body.
        kind: the object's kind, which tells the lists that are maps.
    Raises: errors.StatusError: 400 if the patch is no object or a list item lacks its merge key.
    """
    if not isinstance(patch, dict):
        raise errors.bad_request("error decoding patch: a patch must be a JSON object")
    merged = _merge_map(document, patch, "", merge_keys(kind))
    return merged if isinstance(merged, dict) else {}


def _merge_map(target: Any, patch: objects.Object, path: str, keys: dict[str, str]) -> Any:
    directive = patch.get("$patch")
    if directive == "delete":
        return {}
    if directive not in (None, "replace", "merge"):
        raise errors.bad_request(f"unknown $patch type: {directive}")
    result: objects.Object = dict(target) if isinstance(target, dict) else {}
    if directive == "replace":
        result = {}
    if "$retainKeys" in patch:
        kept = patch["$retainKeys"]
        result = {key: value for key, value in result.items() if key in kept}
    for key, value in patch.items():
        if key in DIRECTIVES or key.startswith("$setElementOrder/"):
            continue
        if key.startswith("$deleteFromPrimitiveList/"):
            name = key.partition("/")[2]
            result[name] = [item for item in result.get(name) or [] if item not in value]
            continue
        below = f"{path}.{key}" if path else key
        if value is None:
            result.pop(key, None)
        elif isinstance(value, dict):
            merged = _merge_map(result.get(key), value, below, keys)
            if value.get("$patch") == "delete":
                result.pop(key, None)
            else:
                result[key] = merged
        elif isinstance(value, list):
            order = patch.get(f"$setElementOrder/{key}")
            result[key] = _merge_list(result.get(key), value, below, keys, order)
        else:
            result[key] = value
    for key, order in patch.items():
        if key.startswith("$setElementOrder/"):
            name = key.partition("/")[2]
            below = f"{path}.{name}" if path else name
            if name not in patch and isinstance(result.get(name), list) and below in keys:
                result[name] = _ordered(result[name], order, keys[below])
    return result


def _merge_list(
    target: Any, patch: list[Any], path: str, keys: dict[str, str], order: Any
) -> list[Any]:
    items = list(target) if isinstance(target, list) else []
    if {"$patch": "replace"} in patch:
        return [objects.copy(item) for item in patch if item != {"$patch": "replace"}]
    if path not in keys:
        return [objects.copy(item) for item in patch]
    merge_key = keys[path]
    if merge_key == _PRIMITIVE:
        items += [item for item in patch if item not in items]
    else:
        for item in patch:
            items = _merge_item(items, item, path, keys)
    return _ordered(items, order, merge_key) if isinstance(order, list) else items


def _merge_item(items: list[Any], item: Any, path: str, keys: dict[str, str]) -> list[Any]:
    merge_key = keys[path]
    if not isinstance(item, dict) or merge_key not in item:
        raise errors.bad_request(f"map: {item} does not contain declared merge key: {merge_key}")
    identity = item[merge_key]
    if item.get("$patch") == "delete":
        return [old for old in items if old.get(merge_key) != identity]
    for position, old in enumerate(items):
        if old.get(merge_key) == identity:
            items[position] = _merge_map(old, item, path, keys)
            return items
    return [*items, _merge_map({}, item, path, keys)]


def _ordered(items: list[Any], order: list[Any], merge_key: str) -> list[Any]:
    """Sort as `$setElementOrder` says; what it does not name keeps its place after its forerunner.

    A list item that only the server has follows the item it followed before.
    """
    if merge_key == _PRIMITIVE:
        wanted = list(order)
        identities = list(items)
    else:
        wanted = [item.get(merge_key) for item in order if isinstance(item, dict)]
        identities = [item.get(merge_key) for item in items]
    named = [identity for identity in wanted if identity in identities]
    result = list(named)
    for position, identity in enumerate(identities):
        if identity in named:
            continue
        before = identities[position - 1] if position else None
        at = result.index(before) + 1 if before in result else 0
        result.insert(at, identity)
    by_identity = dict(zip(map(str, identities), items, strict=True))
    return [by_identity[str(identity)] for identity in result]
