"""URL paths of the resources the driver touches.

Names come from requests and objects that others write, so each is one percent-encoded segment.
A dot segment cannot be encoded away and an empty name would address the whole collection: both
are refused here as the API server would refuse them, before a request is made.
"""

import urllib.parse

from secrets_store import errors

GROUP = "secrets-store.csi.x-k8s.io"
GROUP_VERSION = f"{GROUP}/v1"


def pods(namespace: str | None = None, name: str | None = None) -> str:
    """Return the path of all pods, a namespace's pods or one pod."""
    return _path("/api/v1", "pods", namespace, name)


def secrets(namespace: str, name: str | None = None) -> str:
    """Return the path of a namespace's Secrets or of one; never of all namespaces'."""
    return _path("/api/v1", "secrets", namespace, name)


def events(namespace: str, name: str | None = None) -> str:
    """Return the path of a namespace's core events or of one."""
    return _path("/api/v1", "events", namespace, name)


def classes(namespace: str | None = None, name: str | None = None) -> str:
    """Return the path of SecretProviderClasses: all, a namespace's or one."""
    return _path(f"/apis/{GROUP_VERSION}", "secretproviderclasses", namespace, name)


def pod_statuses(namespace: str | None = None, name: str | None = None) -> str:
    """Return the path of SecretProviderClassPodStatuses: all, a namespace's or one."""
    return _path(f"/apis/{GROUP_VERSION}", "secretproviderclasspodstatuses", namespace, name)


def nodes(name: str | None = None) -> str:
    """Return the path of all Nodes or of one."""
    return _path("/api/v1", "nodes", None, name)


def csi_nodes(name: str | None = None) -> str:
    """Return the path of all CSINodes or of one."""
    return _path("/apis/storage.k8s.io/v1", "csinodes", None, name)


def resource(path: str) -> str:
    """Return what a collection's path is called in a right, as ``plural`` or ``plural.group``."""
    parts = path.split("/")
    return parts[-1] if parts[1] == "api" else f"{parts[-1]}.{parts[2]}"


def _path(prefix: str, resource: str, namespace: str | None, name: str | None) -> str:
    parts = [prefix]
    if namespace is not None:
        parts += ["namespaces", _segment("namespace", namespace)]
    parts.append(resource)
    if name is not None:
        parts.append(_segment("name", name))
    return "/".join(parts)


def _segment(what: str, value: str) -> str:
    if value in ("", ".", ".."):
        raise errors.Rejected(f"{value!r} is not a {what}", reason="Invalid")
    return urllib.parse.quote(value, safe="")
