"""Namespaces and nodes.

Source: registry/core/namespace strategy, the NamespaceAutoProvision label.
"""

from devkit.apiserver import metadata, objects
from devkit.apiserver.kinds import strategy

_NOT_READY = "node.kubernetes.io/not-ready"
_NAME_LABEL = "kubernetes.io/metadata.name"


class Namespace(strategy.Strategy):
    """core/v1 Namespace: active from the start, held by a finalizer until it is empty."""

    name_rule: metadata.NameRule = staticmethod(metadata.label)

    def complete(self, obj: objects.Object) -> None:
        super().complete(obj)
        if name := objects.name_of(obj):
            obj["metadata"].setdefault("labels", {})[_NAME_LABEL] = name

    def prepare_create(self, obj: objects.Object) -> None:
        self.complete(obj)
        finalizers = obj["spec"].setdefault("finalizers", [])
        if "kubernetes" not in finalizers:
            finalizers.append("kubernetes")
        obj["status"] = {"phase": "Active"}

    def prepare_update(self, new: objects.Object, old: objects.Object) -> None:
        # Only the finalize subresource changes the finalizers of the spec.
        new["spec"] = objects.copy(old["spec"])


class Node(strategy.Strategy):
    """core/v1 Node: kubelet brings the status along when it creates its node."""

    takes_status_at_creation = True

    def prepare_create(self, obj: objects.Object) -> None:
        # An admission plugin keeps pods away until the node has said that it is ready.
        taints = obj["spec"].setdefault("taints", [])
        if not any(taint.get("key") == _NOT_READY for taint in taints):
            taints.append({"key": _NOT_READY, "effect": "NoSchedule"})
