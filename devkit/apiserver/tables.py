"""Objects as rows of a Table, which is what `kubectl get` prints.

Source: kubernetes `printers/internalversion` (which columns a kind has), apiextensions
`additionalPrinterColumns`.
"""

import datetime
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from devkit.apiserver import calls, objects, resources, store, views


@dataclass(frozen=True, slots=True)
class Column:
    """One column; `cell` makes its value from an object. Priority above 0 is for wide output."""

    name: str
    cell: Callable[[objects.Object], Any]
    type: str = "string"
    format: str = ""
    priority: int = 0
    description: str = ""


ColumnSource = Callable[[resources.Resource], list[Column]]


def value_at(obj: Any, path: str) -> Any:
    """Read a dotted path (a simple JSONPath); None where something is missing.

    Parts may be indexed (`a[0]`), starred (`a[*].b` gives the first), or quoted (`['a.b/c']`).
    """
    for part in re.findall(r"\['([^']+)'\]|\[(\d+|\*)\]|([^.\[\]]+)", path.replace("\\.", "\0")):
        quoted, index, plain = part
        if index:
            number = 0 if index == "*" else int(index)
            obj = obj[number] if isinstance(obj, list) and len(obj) > number else None
        else:
            key = quoted or plain.replace("\0", ".")
            obj = obj.get(key) if isinstance(obj, dict) else None
    return obj


def age(text: Any, now: datetime.datetime | None = None) -> str:
    """Return a time as kubectl tells ages: 5s, 3m, 4h, 2d."""
    if not isinstance(text, str):
        return "<unknown>"
    now = now or datetime.datetime.now(datetime.UTC)
    seconds = int((now - objects.parse_timestamp(text)).total_seconds())
    if seconds < 120:
        return f"{max(seconds, 0)}s"
    minutes, hours, days = seconds // 60, seconds // 3600, seconds // 86400
    years = days // 365
    if minutes < 10:
        return _two(minutes, "m", seconds % 60, "s")
    if minutes < 180:
        return f"{minutes}m"
    if hours < 8:
        return _two(hours, "h", minutes % 60, "m")
    if hours < 48:
        return f"{hours}h"
    if days < 8:
        return _two(days, "d", hours % 24, "h")
    if years < 2:
        return f"{days}d"
    return _two(years, "y", days % 365, "d") if years < 8 else f"{years}y"


def _two(large: int, large_unit: str, small: int, small_unit: str) -> str:
    return f"{large}{large_unit}{small}{small_unit}" if small else f"{large}{large_unit}"


def _created(obj: objects.Object) -> str:
    return age(objects.metadata(obj).get("creationTimestamp"))


NAME = Column("Name", objects.name_of, format="name", description="Name of the object")
AGE = Column("Age", _created, description="Time since the object was created")


def _at(
    name: str, path: str, default: Any = "<none>", type: str = "string", priority: int = 0
) -> Column:
    def cell(obj: objects.Object) -> Any:
        found = value_at(obj, path)
        return default if found is None or found == "" else found

    return Column(name, cell, type, priority=priority)


def _size(name: str, *paths: str) -> Column:
    def cell(obj: objects.Object) -> int:
        return sum(len(value_at(obj, path) or ()) for path in paths)

    return Column(name, cell)


def _selector(obj: objects.Object) -> str:
    labels = value_at(obj, "spec.selector.matchLabels") or {}
    return ",".join(f"{key}={value}" for key, value in sorted(labels.items())) or "<none>"


def _node_selector(obj: objects.Object) -> str:
    labels = value_at(obj, "spec.template.spec.nodeSelector") or {}
    return ",".join(f"{key}={value}" for key, value in sorted(labels.items())) or "<none>"


def _of_containers(name: str, field: str) -> Column:
    def cell(obj: objects.Object) -> str:
        containers = value_at(obj, "spec.template.spec.containers") or []
        return ",".join(str(item.get(field, "")) for item in containers)

    return Column(name, cell, priority=1)


_WIDE = [
    _of_containers("Containers", "name"),
    _of_containers("Images", "image"),
    Column("Selector", _selector, priority=1),
]


def _pod_ready(obj: objects.Object) -> str:
    total = len(value_at(obj, "spec.containers") or [])
    statuses = value_at(obj, "status.containerStatuses") or []
    ready = [item for item in statuses if item.get("ready") and value_at(item, "state.running")]
    return f"{len(ready)}/{total}"


def _pod_status(obj: objects.Object) -> str:
    if "deletionTimestamp" in objects.metadata(obj):
        return "Terminating"
    return str(value_at(obj, "status.reason") or value_at(obj, "status.phase") or "Unknown")


def _restarts(obj: objects.Object) -> str:
    statuses = value_at(obj, "status.containerStatuses") or []
    return str(sum(status.get("restartCount", 0) for status in statuses))


def _node_status(obj: objects.Object) -> str:
    for condition in value_at(obj, "status.conditions") or []:
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
    return age(when or objects.metadata(obj).get("creationTimestamp"))


def _first_seen(obj: objects.Object) -> str:
    when = obj.get("firstTimestamp") or obj.get("eventTime")
    return age(when or objects.metadata(obj).get("creationTimestamp"))


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
        want = value_at(obj, path_want)
        return f"{value_at(obj, path_have) or 0}/{default_want if want is None else want}"

    return cell


_NUMBER = "integer"
_COLUMNS: dict[str, list[Column]] = {
    "pods": [
        NAME,
        Column("Ready", _pod_ready),
        Column("Status", _pod_status),
        Column("Restarts", _restarts),
        AGE,
        _at("IP", "status.podIP", priority=1),
        _at("Node", "spec.nodeName", priority=1),
        _at("Nominated Node", "status.nominatedNodeName", priority=1),
        _at("Readiness Gates", "spec.readinessGates", priority=1),
    ],
    "secrets": [NAME, _at("Type", "type"), _size("Data", "data"), AGE],
    "configmaps": [NAME, _size("Data", "data", "binaryData"), AGE],
    "namespaces": [NAME, _at("Status", "status.phase"), AGE],
    "nodes": [
        NAME,
        Column("Status", _node_status),
        Column("Roles", _node_roles),
        AGE,
        _at("Version", "status.nodeInfo.kubeletVersion", ""),
    ],
    "events": [
        Column("Last Seen", _last_seen),
        _at("Type", "type", ""),
        _at("Reason", "reason", ""),
        Column("Object", _event_object),
        _at("Subobject", "involvedObject.fieldPath", "", priority=1),
        Column("Source", _event_source, priority=1),
        Column("Message", lambda obj: str(obj.get("message", "")).strip()),
        Column("First Seen", _first_seen, priority=1),
        Column("Count", lambda obj: str(obj.get("count") or 1), priority=1),
        Column("Name", objects.name_of, format="name", priority=1),
    ],
    "deployments.apps": [
        NAME,
        Column("Ready", _ready_of("status.readyReplicas", "spec.replicas", 1)),
        _at("Up-to-date", "status.updatedReplicas", 0, _NUMBER),
        _at("Available", "status.availableReplicas", 0, _NUMBER),
        AGE,
        *_WIDE,
    ],
    "replicasets.apps": [
        NAME,
        _at("Desired", "spec.replicas", 0, _NUMBER),
        _at("Current", "status.replicas", 0, _NUMBER),
        _at("Ready", "status.readyReplicas", 0, _NUMBER),
        AGE,
        *_WIDE,
    ],
    "statefulsets.apps": [
        NAME,
        Column("Ready", _ready_of("status.readyReplicas", "spec.replicas", 1)),
        AGE,
    ],
    "daemonsets.apps": [
        NAME,
        _at("Desired", "status.desiredNumberScheduled", 0, _NUMBER),
        _at("Current", "status.currentNumberScheduled", 0, _NUMBER),
        _at("Ready", "status.numberReady", 0, _NUMBER),
        _at("Up-to-date", "status.updatedNumberScheduled", 0, _NUMBER),
        _at("Available", "status.numberAvailable", 0, _NUMBER),
        Column("Node Selector", _node_selector),
        AGE,
        *_WIDE,
    ],
    "jobs.batch": [
        NAME,
        Column("Completions", _ready_of("status.succeeded", "spec.completions", 1)),
        AGE,
    ],
    "csidrivers.storage.k8s.io": [
        NAME,
        _at("AttachRequired", "spec.attachRequired", True, "boolean"),
        _at("PodInfoOnMount", "spec.podInfoOnMount", False, "boolean"),
        _at("StorageCapacity", "spec.storageCapacity", False, "boolean"),
        Column(
            "TokenRequests",
            lambda obj: (
                ",".join(
                    item.get("audience", "") for item in value_at(obj, "spec.tokenRequests") or []
                )
                or "<unset>"
            ),
        ),
        _at("RequiresRepublish", "spec.requiresRepublish", False, "boolean"),
        Column("Modes", lambda obj: ",".join(value_at(obj, "spec.volumeLifecycleModes") or [])),
        AGE,
    ],
    "csinodes.storage.k8s.io": [NAME, _size("Drivers", "spec.drivers"), AGE],
    "poddisruptionbudgets.policy": [
        NAME,
        Column("Min Available", lambda obj: str(value_at(obj, "spec.minAvailable") or "N/A")),
        Column("Max Unavailable", lambda obj: str(value_at(obj, "spec.maxUnavailable") or "N/A")),
        _at("Allowed Disruptions", "status.disruptionsAllowed", 0, _NUMBER),
        AGE,
    ],
    "leases.coordination.k8s.io": [NAME, _at("Holder", "spec.holderIdentity", ""), AGE],
    "clusterroles.rbac.authorization.k8s.io": [
        NAME,
        _at("Created At", "metadata.creationTimestamp", ""),
    ],
    "roles.rbac.authorization.k8s.io": [
        NAME,
        _at("Created At", "metadata.creationTimestamp", ""),
    ],
    "customresourcedefinitions.apiextensions.k8s.io": [
        NAME,
        _at("Created At", "metadata.creationTimestamp", ""),
    ],
} | {
    f"{plural}.rbac.authorization.k8s.io": [
        NAME,
        Column(
            "Role",
            lambda obj: f"{value_at(obj, 'roleRef.kind')}/{value_at(obj, 'roleRef.name')}",
        ),
        AGE,
    ]
    for plural in ("rolebindings", "clusterrolebindings")
}


def built_in_columns(storage: str) -> list[Column]:
    """Return the columns of a built-in resource; name and age for those without their own."""
    return _COLUMNS.get(storage, [NAME, AGE])


def _typed(kind: str, value: Any) -> Any:
    if value is None:
        return None
    if kind == "date":
        return age(value)
    if kind in ("integer", "number", "boolean"):
        return value if not isinstance(value, (dict, list, str)) else None
    return value if isinstance(value, str) else objects.encode(value).decode()


def custom_columns(definitions: list[objects.Object]) -> list[Column]:
    """Return the columns of a custom resource from its CRD's additionalPrinterColumns.

    A CRD without any shows the age.
    """
    if not definitions:
        return [NAME, Column("Age", _created, "date", description=AGE.description)]

    def column(definition: objects.Object) -> Column:
        path, kind = str(definition["jsonPath"]).lstrip("."), definition["type"]
        return Column(
            definition["name"],
            lambda obj: _typed(kind, value_at(obj, path)),
            kind,
            definition.get("format", ""),
            definition.get("priority", 0),
            definition.get("description", ""),
        )

    return [NAME, *map(column, definitions)]


def render(
    entries: list[store.Entry],
    call: calls.Call,
    form: views.Form,
    source: ColumnSource,
    list_metadata: objects.Object,
    *,
    headed: bool = True,
) -> bytes:
    """Return the bytes of a Table.

    Args:
        entries: the rows.
        call: the request; its includeObject tells what of each object is sent along.
        form: the Table version asked for.
        source: the resource's columns.
        list_metadata: resourceVersion and continue of the list.
        headed: whether the columns are described; only a watch's first event does.
    """
    columns = source(call.resource)
    definitions = [
        {
            "name": column.name,
            "type": column.type,
            "format": column.format,
            "description": column.description,
            "priority": column.priority,
        }
        for column in columns
    ]
    include = call.query.get("includeObject", "") or "Metadata"
    rows = []
    for entry in entries:
        row: objects.Object = {"cells": [column.cell(entry.obj) for column in columns]}
        if include == "Object":
            row["object"] = views.presented(entry.obj, call.resource)
        elif include == "Metadata":
            row["object"] = views.metadata_only(entry.obj, form)
        rows.append(row)
    if not list_metadata and entries:
        list_metadata = {"resourceVersion": str(entries[-1].version)}
    return objects.encode(
        {
            "kind": views.TABLE,
            "apiVersion": form.api_version,
            "metadata": list_metadata,
            "columnDefinitions": definitions if headed else None,
            "rows": rows,
        }
    )
