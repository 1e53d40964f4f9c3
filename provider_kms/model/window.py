"""Whether a volume's read window is open, from the pod as the API server tells it. Pure.

With `windowDuration` files have content only for a while after a start: of the pod, or of any
container that mounts the volume. The rules are those of the Go provider in use.
"""

import datetime
from collections.abc import Iterable, Mapping
from typing import Any


def is_open(pod: Mapping[str, Any], volume: str, window_s: float, now: datetime.datetime) -> bool:
    """Tell whether less than the window has passed since the last start that counts.

    Args:
        pod: a Pod object with spec and status.
        volume: name of the volume in the pod; "" lets only the pod's own start count.
        window_s: its length; a start in the future is inside it.
        now: aware time.

    Raises: ValueError: the pod has no usable start.
    """
    started = reference(pod, volume)
    return (now - started).total_seconds() < window_s


def reference(pod: Mapping[str, Any], volume: str) -> datetime.datetime:
    """Return the last start that counts.

    Raises: ValueError: neither startTime nor creationTimestamp is readable.
    """
    status = _map(pod.get("status"))
    text = status.get("startTime") or _map(pod.get("metadata")).get("creationTimestamp")
    started = _time(text)
    if started is None:
        raise ValueError("the pod has no start time")
    consumers = _consumers(_map(pod.get("spec")), volume) if volume else set()
    for field in ("containerStatuses", "initContainerStatuses"):
        for container in _maps(status.get(field)):
            if container.get("name") in consumers:
                running = _map(_map(container.get("state")).get("running"))
                begun = _time(running.get("startedAt"))
                if begun is not None:
                    started = max(started, begun)
    return started


def _consumers(spec: Mapping[str, Any], volume: str) -> set[object]:
    return {
        container.get("name")
        for field in ("containers", "initContainers")
        for container in _maps(spec.get(field))
        if any(mount.get("name") == volume for mount in _maps(container.get("volumeMounts")))
    }


def _map(node: object) -> Mapping[str, Any]:
    return node if isinstance(node, dict) else {}


def _maps(node: object) -> Iterable[Mapping[str, Any]]:
    return [_map(item) for item in node] if isinstance(node, list) else []


def _time(text: object) -> datetime.datetime | None:
    if not isinstance(text, str):
        return None
    try:
        time = datetime.datetime.fromisoformat(text)
    except ValueError:
        return None
    return time if time.tzinfo is not None else None
