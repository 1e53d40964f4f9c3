"""What everybody else does in the cluster: users, controllers and the garbage collector."""

import base64
import contextlib
import datetime
from collections.abc import Iterator, Mapping
from typing import Any

from devkit import stage
from devkit.apiserver import cluster as apiserver
from devkit.apiserver import errors
from tests.deploy import manifests

GROUP_VERSION = "secrets-store.csi.x-k8s.io/v1"
SYNCED = [
    {"secretName": "app", "type": "Opaque", "data": [{"objectName": "password", "key": "pw"}]}
]
REQUESTED_AT = "secrets-store.csi.k8s.io/refresh-requested-at"
INTERVAL = "secrets-store.csi.k8s.io/rotation-interval"
Json = dict[str, Any]


class Scene:
    """A namespace of a cluster, seen by its administrator."""

    def __init__(self, api: apiserver.Cluster) -> None:
        self.api, self.namespace = api, api.namespace

    def create_class(
        self, name: str = "app", annotations: Mapping[str, str] | None = None, **more: Any
    ) -> Json:
        made: Json = stage.class_object(name, namespace=self.namespace, **more)
        made["metadata"]["annotations"] = dict(annotations or {})
        return self.api.client.create(made)

    def patch(self, path: str, patch: Json) -> Json:
        answer = self.api.client.request(
            "PATCH", path, patch, content_type="application/merge-patch+json"
        )
        return answer.decoded()

    def edit_class(self, name: str = "app", **spec: Any) -> Json:
        return self.patch(self.api.classes(name), {"spec": spec})

    def ask_for_refresh(self, path: str, at_s: float) -> None:
        self.patch(path, {"metadata": {"annotations": {REQUESTED_AT: timestamp(at_s)}}})

    def create_replica_set(self, name: str = "web") -> Json:
        template = {
            "metadata": {"labels": {"app": name}},
            "spec": {"containers": [{"name": "c", "image": "i"}]},
        }
        return self.api.client.create(
            {
                "apiVersion": "apps/v1",
                "kind": "ReplicaSet",
                "metadata": {"name": name, "namespace": self.namespace},
                "spec": {"selector": {"matchLabels": {"app": name}}, "template": template},
            }
        )

    def create_pod(self, name: str, owner: Json | None = None, node: str = stage.NODE) -> Json:
        """Create a pod that is bound to a node."""
        metadata: Json = {"name": name, "namespace": self.namespace}
        if owner is not None:
            metadata["ownerReferences"] = [reference(owner)]
        return self.api.client.create(
            {
                "apiVersion": "v1",
                "kind": "Pod",
                "metadata": metadata,
                "spec": {"nodeName": node, "containers": [{"name": "c", "image": "i"}]},
            }
        )

    def delete_pod(self, name: str, *, grace_s: int = 0) -> None:
        path = self.api.at("pods", name)
        self.api.client.request("DELETE", path, {"gracePeriodSeconds": grace_s}).decoded()

    def find(self, path: str) -> Json | None:
        answer = self.api.client.request("GET", path)
        return None if answer.code == 404 else answer.decoded()

    def secret(self, name: str = "app") -> Json | None:
        return self.find(self.api.at("secrets", name))

    def secret_value(self, name: str = "app", key: str = "pw") -> bytes | None:
        found = self.secret(name)
        return base64.b64decode(found["data"][key]) if found else None

    def status(self, name: str) -> Json | None:
        """Return the status object of a volume of class app."""
        return self.find(self.api.pod_statuses(f"{name}-{self.namespace}-app"))

    def events(self, reason: str = "", namespace: str = "") -> list[Json]:
        path = f"/api/v1/namespaces/{namespace or self.namespace}/events"
        return [x for x in self.api.client.items(path) if reason in ("", x["reason"])]

    def collect_garbage(self) -> None:
        """Do what the garbage collector does, which a lone API server lacks."""
        if self.api.stand_in is not None:
            self.api.stand_in.collect_garbage()
            return
        while self._collect_round():
            pass

    def _collect_round(self) -> int:
        """Delete what has owners and has lost them all; drop references that lead nowhere."""
        listed = [self.api.client.items(path) for path in self._collections()]
        alive = {obj["metadata"]["uid"] for objs in listed for obj in objs}
        done = 0
        for path, objs in zip(self._collections(), listed, strict=True):
            for obj in objs:
                owners = obj["metadata"].get("ownerReferences") or []
                kept = [owner for owner in owners if owner["uid"] in alive]
                if len(kept) < len(owners):
                    self._attend(f"{path}/{obj['metadata']['name']}", obj["metadata"], kept)
                    done += 1
        return done

    def _attend(self, path: str, metadata: Json, kept: list[Json]) -> None:
        version = metadata["resourceVersion"]
        # Overtaken by a write, as the real collector is; the next round looks again.
        with contextlib.suppress(errors.StatusError):
            if kept:
                self.patch(
                    path, {"metadata": {"ownerReferences": kept, "resourceVersion": version}}
                )
                return
            only = {"uid": metadata["uid"], "resourceVersion": version}
            options = {"preconditions": only, "gracePeriodSeconds": 0}
            self.api.client.request("DELETE", path, options).decoded()

    def _collections(self) -> list[str]:
        return [
            self.api.at("replicasets", group_version="apps/v1"),
            self.api.at("pods"),
            self.api.pod_statuses(),
            self.api.at("secrets"),
        ]


def timestamp(at_s: float) -> str:
    """Return a Unix time as Kubernetes writes it."""
    at = datetime.datetime.fromtimestamp(at_s, datetime.UTC)
    return at.strftime("%Y-%m-%dT%H:%M:%SZ")


def reference(owner: Json) -> Json:
    """Return the owner reference to an object, as controllers set it."""
    return {
        "apiVersion": owner["apiVersion"],
        "kind": owner["kind"],
        "name": owner["metadata"]["name"],
        "uid": owner["metadata"]["uid"],
        "controller": True,
    }


def driver_rules() -> Iterator[Json]:
    """Yield the driver's rights as the manifests grant them, with all features switched on."""
    for folder, name in (
        ("", "secretproviderclasses-role"),
        ("secret-sync", "secretprovidersyncing-role"),
        ("startup-taint", "secrets-store-csi-driver-startup-taint"),
    ):
        yield from manifests.one(manifests.folder(folder), "ClusterRole", name)["rules"]
