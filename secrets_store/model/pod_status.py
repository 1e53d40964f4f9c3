"""SecretProviderClassPodStatus: what the cluster is told of one volume."""

import dataclasses
import datetime
import hashlib
import re
from collections.abc import Mapping, Sequence
from typing import Any, NotRequired, TypedDict

from secrets_store.model import volume

API_VERSION = "secrets-store.csi.x-k8s.io/v1"
KIND = "SecretProviderClassPodStatus"
NODE_LABEL = "internal.secrets-store.csi.k8s.io/node-name"
NODE_ANNOTATION = "internal.secrets-store.csi.k8s.io/full-node-name"
MAX_NAME = 253
MAX_LABEL = 63
CONDITION_TYPE = "Fresh"
MAX_CONDITION_MESSAGE = 512


class ObjectDict(TypedDict):
    """One object of a volume and the version of it that is shown."""

    id: str
    version: str


class ConditionDict(TypedDict):
    """One condition, as metav1.Condition."""

    type: str
    status: str
    reason: str
    message: str
    lastTransitionTime: str


class StatusDict(TypedDict):
    """Wire form of ``status``; empty fields are left out, as Go's types do."""

    podName: str
    secretProviderClassName: str
    targetPath: str
    mounted: bool
    objects: NotRequired[list[ObjectDict]]
    conditions: NotRequired[list[ConditionDict]]


@dataclasses.dataclass(frozen=True, slots=True)
class Condition:
    """Whether a volume's contents are kept fresh.

    Attributes:
        fresh: The last check succeeded.
        reason: One word in CamelCase.
        message: For people; never with a secret.
        since_s: Unix time of the last change of ``fresh`` or ``reason``.
    """

    fresh: bool
    reason: str
    message: str
    since_s: float

    def follows(self, before: "Condition | None") -> "Condition":
        """Return what is to be shown after ``before``: the same one unless it has really changed.

        A message that varies alone is no change, so that a failing provider causes one write.
        """
        if before is not None and (before.fresh, before.reason) == (self.fresh, self.reason):
            return before
        return self

    def to_dict(self) -> ConditionDict:
        """Return the wire form."""
        at = datetime.datetime.fromtimestamp(self.since_s, datetime.UTC)
        return {
            "type": CONDITION_TYPE,
            "status": "True" if self.fresh else "False",
            "reason": self.reason,
            "message": self.message[:MAX_CONDITION_MESSAGE],
            "lastTransitionTime": at.strftime("%Y-%m-%dT%H:%M:%SZ"),
        }


def name(pod: volume.Pod, class_name: str, volume_name: str, *, shared: bool) -> str:
    """Return the object's name.

    Args:
        volume_name: The pod volume's name.
        shared: Another volume of the pod uses the same class; the volume's name then takes part.
    Returns: ``pod-namespace-class`` as upstream, shortened with a hash where that is too long.
    """
    text = f"{pod.name}-{pod.namespace}-{class_name}"
    if shared:
        text = f"{text}-{_digest(volume_name)[:8]}"
    if len(text) <= MAX_NAME:
        return text
    return f"{text[: MAX_NAME - 17].rstrip('-.')}-{_digest(text)[:16]}"


def node_label(node: str) -> str:
    """Return the label value of a node: its name, or name and hash where that is too long."""
    if len(node) <= MAX_LABEL:
        return node
    return f"{re.sub(r'[^A-Za-z0-9]+$', '', node[: MAX_LABEL - 17])}-{_digest(node)[:16]}"


def build(
    *,
    object_name: str,
    pod: volume.Pod,
    class_name: str,
    target_path: str,
    objects: Mapping[str, str],
    node: str,
    condition: Condition | None = None,
) -> dict[str, Any]:
    """Build the whole object for a create; without a condition the status is upstream's."""
    metadata: dict[str, Any] = {
        "name": object_name,
        "namespace": pod.namespace,
        "labels": {NODE_LABEL: node_label(node)},
        "ownerReferences": [owner(pod)],
    }
    if len(node) > MAX_LABEL:
        metadata["annotations"] = {NODE_ANNOTATION: node}
    status: StatusDict = {
        "podName": pod.name,
        "secretProviderClassName": class_name,
        "targetPath": target_path,
        "mounted": True,
    }
    if objects:
        status["objects"] = [
            {"id": key, "version": objects[key]} for key in sorted(objects, key=str.encode)
        ]
    if condition is not None:
        status["conditions"] = [condition.to_dict()]
    return {"apiVersion": API_VERSION, "kind": KIND, "metadata": metadata, "status": status}


def owner(pod: volume.Pod) -> dict[str, str]:
    """Return the owner reference to the pod, which makes the status go with it."""
    return {"apiVersion": "v1", "kind": "Pod", "name": pod.name, "uid": pod.uid}


def merge(existing: Mapping[str, Any], wanted: Mapping[str, Any]) -> dict[str, Any] | None:
    """Return the object to update an existing one to, or None if nothing differs.

    Other people's labels, annotations and finalizers are kept; the status and the owner are ours.
    """
    old_meta, new_meta = existing["metadata"], wanted["metadata"]
    labels = dict(old_meta.get("labels") or {}) | new_meta["labels"]
    annotations = dict(old_meta.get("annotations") or {}) | new_meta.get("annotations", {})
    same = (
        labels == (old_meta.get("labels") or {})
        and annotations == (old_meta.get("annotations") or {})
        and _owners(old_meta.get("ownerReferences") or []) == _owners(new_meta["ownerReferences"])
        and (existing.get("status") or {}) == wanted["status"]
    )
    if same:
        return None
    merged = dict(existing)
    metadata = {k: v for k, v in old_meta.items() if k != "managedFields"}
    metadata |= {"labels": labels, "ownerReferences": new_meta["ownerReferences"]}
    if annotations:
        metadata["annotations"] = annotations
    merged |= {"metadata": metadata, "status": wanted["status"]}
    return merged


def _owners(references: Sequence[Mapping[str, Any]]) -> list[tuple[str, ...]]:
    return sorted(
        (r.get("apiVersion", ""), r.get("kind", ""), r.get("name", ""), r.get("uid", ""))
        for r in references
    )


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
