"""The manifests as objects, and how they get into an API server."""

import os
import pathlib
from collections.abc import Iterable, Iterator
from typing import Any

import yaml

from devkit.apiserver import client, errors

ROOT = pathlib.Path(__file__).parents[2]
FOLDER = ROOT / "deploy" / "yaml"
DRIVER, PROVIDER = "csi-secrets-store", "kms-csi-provider"
Object = dict[str, Any]


def load(path: pathlib.Path) -> list[Object]:
    """Return the objects of one file."""
    return [obj for obj in yaml.safe_load_all(path.read_text()) if obj is not None]


def folder(name: str = "") -> list[Object]:
    """Return what `kubectl apply -f` takes of a folder: its own files in order, none below."""
    return [obj for path in sorted((FOLDER / name).glob("*.yaml")) for obj in load(path)]


def folders() -> list[str]:
    """Return all folders that hold manifests, the base as an empty name."""
    found = {path.parent.relative_to(FOLDER) for path in FOLDER.rglob("*.yaml")}
    return sorted("" if name == pathlib.Path() else os.fspath(name) for name in found)


def one(objects: Iterable[Object], kind: str, name: str = "") -> Object:
    """Return the only object of a kind, or of a kind and name."""
    (found,) = (
        obj
        for obj in objects
        if obj["kind"] == kind and (not name or obj["metadata"]["name"] == name)
    )
    return found


def containers(daemon_set: Object) -> dict[str, Object]:
    """Return the containers of a workload by name, in their order."""
    return {item["name"]: item for item in daemon_set["spec"]["template"]["spec"]["containers"]}


def path_of(api: client.Client, obj: Object) -> str:
    """Return an object's path; an Ingress is none of those that the client knows."""
    if obj["kind"] == "Ingress":
        namespace = obj["metadata"].get("namespace", "default")
        return (
            f"/apis/networking.k8s.io/v1/namespaces/{namespace}/ingresses/{obj['metadata']['name']}"
        )
    return api.path(obj)


def apply(
    api: client.Client, objects: Iterable[Object], *, dry_run: bool = False
) -> Iterator[Object]:
    """Apply as `kubectl apply --server-side` does, unknown fields forbidden; yield the results.

    Raises: errors.StatusError: the server refuses one; names it.
    """
    for obj in objects:
        query = "fieldManager=kubectl&force=true&fieldValidation=Strict"
        if dry_run:
            query += "&dryRun=All"
        answer = api.request(
            "PATCH",
            f"{path_of(api, obj)}?{query}",
            obj,
            content_type="application/apply-patch+yaml",
        )
        try:
            yield answer.decoded()
        except errors.StatusError as error:
            error.add_note(f"{obj['kind']} {obj['metadata']['name']}")
            raise
