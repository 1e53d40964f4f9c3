"""``secrets-store status``: what is mounted where, and how fresh it is."""

import datetime
import json
from typing import Any

import click

from secrets_store.model import pod_status
from secrets_store.ops import cluster

_COLUMNS = ("NODE", "NAMESPACE", "POD", "CLASS", "FRESH", "SINCE", "OBJECTS")


@click.command("status")
@click.argument("pod", required=False)
@click.option("-n", "--namespace", default="", help="Only this namespace; all if left out.")
@click.option("--kubeconfig", default="", help="kubeconfig file.")
@click.option("--context", default="", help="Context of the kubeconfig.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def command(pod: str | None, namespace: str, kubeconfig: str, context: str, as_json: bool) -> None:
    """Show what is mounted, how fresh it is, and the last error.

    With POD, its volumes in full.
    """
    reached = cluster.Cluster(kubeconfig, context)
    try:
        found = reached.items(cluster.pod_statuses(namespace))
    except cluster.Refused as refusal:
        raise click.ClickException(f"status objects cannot be read: {refusal}") from refusal
    rows = sorted(
        (row(obj) for obj in found), key=lambda x: (x["node"], x["namespace"], x["pod"], x["class"])
    )
    if pod is not None:
        rows = [x for x in rows if x["pod"] == pod]
        if not rows:
            raise click.ClickException(f"no volume of a pod named {pod} is mounted")
    if as_json:
        click.echo(json.dumps(rows, indent=2))
    elif pod is not None:
        click.echo("\n\n".join(detail(x) for x in rows))
    else:
        click.echo(table(rows))


def row(obj: dict[str, Any]) -> dict[str, Any]:
    """Return what one status object says, flat."""
    metadata, status = obj["metadata"], obj.get("status") or {}
    conditions = status.get("conditions") or []
    fresh: dict[str, str] = next(
        (x for x in conditions if x.get("type") == pod_status.CONDITION_TYPE), {}
    )
    labels, annotations = metadata.get("labels") or {}, metadata.get("annotations") or {}
    return {
        "node": annotations.get(pod_status.NODE_ANNOTATION)
        or labels.get(pod_status.NODE_LABEL, ""),
        "namespace": metadata["namespace"],
        "pod": status.get("podName", ""),
        "class": status.get("secretProviderClassName", ""),
        "targetPath": status.get("targetPath", ""),
        "fresh": fresh.get("status", "Unknown"),
        "reason": fresh.get("reason", ""),
        "message": fresh.get("message", ""),
        "since": fresh.get("lastTransitionTime", ""),
        "objects": {x.get("id", ""): x.get("version", "") for x in status.get("objects") or []},
    }


def table(rows: list[dict[str, Any]]) -> str:
    """Lay rows out in columns as wide as needed."""
    lines = [_COLUMNS] + [
        (
            x["node"] or "-",
            x["namespace"],
            x["pod"],
            x["class"],
            x["fresh"] if x["fresh"] != "False" else f"no: {x['reason']}",
            _age(x["since"]),
            str(len(x["objects"])),
        )
        for x in rows
    ]
    widths = [max(len(line[column]) for line in lines) for column in range(len(_COLUMNS))]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
        for line in lines
    )


def detail(found: dict[str, Any]) -> str:
    """Tell one volume in full."""
    lines = [
        f"{found['namespace']}/{found['pod']}  class {found['class']}",
        f"  node     {found['node'] or '-'}",
        f"  path     {found['targetPath']}",
        f"  fresh    {found['fresh']} {found['reason']} for {_age(found['since'])}",
    ]
    if found["message"]:
        lines.append(f"  message  {found['message']}")
    lines.append("  objects")
    lines += [f"    {key}  {version}" for key, version in found["objects"].items()]
    return "\n".join(lines)


def _age(since: str) -> str:
    try:
        then = datetime.datetime.fromisoformat(since)
    except ValueError:
        return "-"
    seconds = max(0, int((datetime.datetime.now(datetime.UTC) - then).total_seconds()))
    for size, unit in ((86400, "d"), (3600, "h"), (60, "m")):
        if seconds >= size:
            return f"{seconds // size}{unit}"
    return f"{seconds}s"
