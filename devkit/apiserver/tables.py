"""Objects as rows of a Table, which is what `kubectl get` prints.

Source: meta.k8s.io/v1 Table, apiextensions `additionalPrinterColumns`.
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
