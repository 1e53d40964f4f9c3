"""Which columns the built-in kinds have in a table.

Source: kubernetes `printers/internalversion`.
"""

from collections.abc import Callable
from typing import Any

from devkit.apiserver import objects, tables


def _at(
    name: str, path: str, default: Any = "<none>", type: str = "string", priority: int = 0
) -> tables.Column:
    def cell(obj: objects.Object) -> Any:
        found = tables.value_at(obj, path)
        return default if found is None or found == "" else found

    return tables.Column(name, cell, type, priority=priority)


def _size(name: str, *paths: str) -> tables.Column:
    def cell(obj: objects.Object) -> int:
        return sum(len(tables.value_at(obj, path) or ()) for path in paths)

    return tables.Column(name, cell)


def _selector(obj: objects.Object) -> str:
    labels = tables.value_at(obj, "spec.selector.matchLabels") or {}
    return ",".join(f"{key}={value}" for key, value in sorted(labels.items())) or "<none>"


def _node_selector(obj: objects.Object) -> str:
    labels = tables.value_at(obj, "spec.template.spec.nodeSelector") or {}
    return ",".join(f"{key}={value}" for key, value in sorted(labels.items())) or "<none>"


def _of_containers(name: str, field: str) -> tables.Column:
    def cell(obj: objects.Object) -> str:
        containers = tables.value_at(obj, "spec.template.spec.containers") or []
        return ",".join(str(item.get(field, "")) for item in containers)

    return tables.Column(name, cell, priority=1)


_WIDE = [
    _of_containers("Containers", "name"),
    _of_containers("Images", "image"),
    tables.Column("Selector", _selector, priority=1),
]


def _pod_ready(obj: objects.Object) -> str:
    total = len(tables.value_at(obj, "spec.containers") or [])
    statuses = tables.value_at(obj, "status.containerStatuses") or []
    ready = [
        item for item in statuses if item.get("ready") and tables.value_at(item, "state.running")
    ]
    return f"{len(ready)}/{total}"


def _pod_status(obj: objects.Object) -> str:
    if "deletionTimestamp" in objects.metadata(obj):
        return "Terminating"
    return str(
        tables.value_at(obj, "status.reason") or tables.value_at(obj, "status.phase") or "Unknown"
    )


def _restarts(obj: objects.Object) -> str:
    statuses = tables.value_at(obj, "status.containerStatuses") or []
    return str(sum(status.get("restartCount", 0) for status in statuses))


def _node_status(obj: objects.Object) -> str:
    for condition in tables.value_at(obj, "status.conditions") or []:
        if condition.get("type") == "Ready":
            return "Ready" if condition.get("status") == "True" else "NotReady"
    return "Unknown"


def _node_roles(obj: objects.Object) -> str:
    prefix = "node-role.kubernetes.io/"
    labels = objects.metadata(obj).get("labels", {})
    found = sorted(key.removeprefix(prefix) for key in labels if key.startswith(prefix))
    return ",".join(found) or "<none>"


def _last_seen(obj: objects.Object) -> str:
    when = obj.get("lastTimestamp") or obj.get("eventTime") or obj.get("firstTimestamp")
    return tables.age(when or objects.metadata(obj).get("creationTimestamp"))


def _first_seen(obj: objects.Object) -> str:
    when = obj.get("firstTimestamp") or obj.get("eventTime")
    return tables.age(when or objects.metadata(obj).get("creationTimestamp"))


def _event_source(obj: objects.Object) -> str:
    source = obj.get("source") or {}
    parts = (
        source.get("component") or obj.get("reportingComponent"),
        source.get("host") or obj.get("reportingInstance"),
    )
    return ", ".join(str(part) for part in parts if part)


def _event_object(obj: objects.Object) -> str:
    involved = obj.get("involvedObject") or {}
    return f"{str(involved.get('kind', '')).lower()}/{involved.get('name', '')}"


def _ready_of(path_have: str, path_want: str, default_want: int) -> Callable[[Any], str]:
    def cell(obj: objects.Object) -> str:
        want = tables.value_at(obj, path_want)
        return f"{tables.value_at(obj, path_have) or 0}/{default_want if want is None else want}"

    return cell


_NUMBER = "integer"
_COLUMNS: dict[str, list[tables.Column]] = {
    "pods": [
        tables.NAME,
        tables.Column("Ready", _pod_ready),
        tables.Column("Status", _pod_status),
        tables.Column("Restarts", _restarts),
        tables.AGE,
        _at("IP", "status.podIP", priority=1),
        _at("Node", "spec.nodeName", priority=1),
        _at("Nominated Node", "status.nominatedNodeName", priority=1),
        _at("Readiness Gates", "spec.readinessGates", priority=1),
    ],
    "secrets": [tables.NAME, _at("Type", "type"), _size("Data", "data"), tables.AGE],
    "configmaps": [tables.NAME, _size("Data", "data", "binaryData"), tables.AGE],
    "namespaces": [tables.NAME, _at("Status", "status.phase"), tables.AGE],
    "nodes": [
        tables.NAME,
        tables.Column("Status", _node_status),
        tables.Column("Roles", _node_roles),
        tables.AGE,
        _at("Version", "status.nodeInfo.kubeletVersion", ""),
    ],
    "events": [
        tables.Column("Last Seen", _last_seen),
        _at("Type", "type", ""),
        _at("Reason", "reason", ""),
        tables.Column("Object", _event_object),
        _at("Subobject", "involvedObject.fieldPath", "", priority=1),
        tables.Column("Source", _event_source, priority=1),
        tables.Column("Message", lambda obj: str(obj.get("message", "")).strip()),
        tables.Column("First Seen", _first_seen, priority=1),
        tables.Column("Count", lambda obj: str(obj.get("count") or 1), priority=1),
        tables.Column("Name", objects.name_of, format="name", priority=1),
    ],
    "deployments.apps": [
        tables.NAME,
        tables.Column("Ready", _ready_of("status.readyReplicas", "spec.replicas", 1)),
        _at("Up-to-date", "status.updatedReplicas", 0, _NUMBER),
        _at("Available", "status.availableReplicas", 0, _NUMBER),
        tables.AGE,
        *_WIDE,
    ],
    "replicasets.apps": [
        tables.NAME,
        _at("Desired", "spec.replicas", 0, _NUMBER),
        _at("Current", "status.replicas", 0, _NUMBER),
        _at("Ready", "status.readyReplicas", 0, _NUMBER),
        tables.AGE,
        *_WIDE,
    ],
    "statefulsets.apps": [
        tables.NAME,
        tables.Column("Ready", _ready_of("status.readyReplicas", "spec.replicas", 1)),
        tables.AGE,
    ],
    "daemonsets.apps": [
        tables.NAME,
        _at("Desired", "status.desiredNumberScheduled", 0, _NUMBER),
        _at("Current", "status.currentNumberScheduled", 0, _NUMBER),
        _at("Ready", "status.numberReady", 0, _NUMBER),
        _at("Up-to-date", "status.updatedNumberScheduled", 0, _NUMBER),
        _at("Available", "status.numberAvailable", 0, _NUMBER),
        tables.Column("Node Selector", _node_selector),
        tables.AGE,
        *_WIDE,
    ],
    "jobs.batch": [
        tables.NAME,
        tables.Column("Completions", _ready_of("status.succeeded", "spec.completions", 1)),
        tables.AGE,
    ],
    "csidrivers.storage.k8s.io": [
        tables.NAME,
        _at("AttachRequired", "spec.attachRequired", True, "boolean"),
        _at("PodInfoOnMount", "spec.podInfoOnMount", False, "boolean"),
        _at("StorageCapacity", "spec.storageCapacity", False, "boolean"),
        tables.Column(
            "TokenRequests",
            lambda obj: (
                ",".join(
                    item.get("audience", "")
                    for item in tables.value_at(obj, "spec.tokenRequests") or []
                )
                or "<unset>"
            ),
        ),
        _at("RequiresRepublish", "spec.requiresRepublish", False, "boolean"),
        tables.Column(
            "Modes", lambda obj: ",".join(tables.value_at(obj, "spec.volumeLifecycleModes") or [])
        ),
        tables.AGE,
    ],
    "csinodes.storage.k8s.io": [tables.NAME, _size("Drivers", "spec.drivers"), tables.AGE],
    "poddisruptionbudgets.policy": [
        tables.NAME,
        tables.Column(
            "Min Available", lambda obj: str(tables.value_at(obj, "spec.minAvailable") or "N/A")
        ),
        tables.Column(
            "Max Unavailable", lambda obj: str(tables.value_at(obj, "spec.maxUnavailable") or "N/A")
        ),
        _at("Allowed Disruptions", "status.disruptionsAllowed", 0, _NUMBER),
        tables.AGE,
    ],
    "leases.coordination.k8s.io": [
        tables.NAME,
        _at("Holder", "spec.holderIdentity", ""),
        tables.AGE,
    ],
    "clusterroles.rbac.authorization.k8s.io": [
        tables.NAME,
        _at("Created At", "metadata.creationTimestamp", ""),
    ],
    "roles.rbac.authorization.k8s.io": [
        tables.NAME,
        _at("Created At", "metadata.creationTimestamp", ""),
    ],
    "customresourcedefinitions.apiextensions.k8s.io": [
        tables.NAME,
        _at("Created At", "metadata.creationTimestamp", ""),
    ],
} | {
    f"{plural}.rbac.authorization.k8s.io": [
        tables.NAME,
        tables.Column(
            "Role",
            lambda obj: (
                f"{tables.value_at(obj, 'roleRef.kind')}/{tables.value_at(obj, 'roleRef.name')}"
            ),
        ),
        tables.AGE,
    ]
    for plural in ("rolebindings", "clusterrolebindings")
}


def of(storage: str) -> list[tables.Column]:
    """Return the columns of a built-in resource; name and age for those without their own."""
    return _COLUMNS.get(storage, [tables.NAME, tables.AGE])
