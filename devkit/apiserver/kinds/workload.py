"""Deployments, ReplicaSets, DaemonSets, StatefulSets, Jobs and CronJobs: stored, never run.

Source: apps/v1 and batch/v1 defaults and validation.
"""

from typing import Any

from devkit.apiserver import errors, objects, selectors
from devkit.apiserver.kinds import pod, strategy

_CONTROLLER = "batch.kubernetes.io/controller-uid"
_JOB_NAME = "batch.kubernetes.io/job-name"
_PARTS: dict[str, dict[str, Any]] = {
    "Deployment": {"replicas": 1, "revisionHistoryLimit": 10, "progressDeadlineSeconds": 600},
    "ReplicaSet": {"replicas": 1},
    "DaemonSet": {"revisionHistoryLimit": 10},
    "StatefulSet": {
        "replicas": 1,
        "revisionHistoryLimit": 10,
        "podManagementPolicy": "OrderedReady",
        "persistentVolumeClaimRetentionPolicy": {"whenDeleted": "Retain", "whenScaled": "Retain"},
    },
    "Job": {
        "parallelism": 1,
        "completions": 1,
        "backoffLimit": 6,
        "completionMode": "NonIndexed",
        "suspend": False,
        "podReplacementPolicy": "TerminatingOrFailed",
    },
}
# Kind → field of the update strategy and what rolling means by default.
_ROLLING: dict[str, tuple[str, dict[str, Any]]] = {
    "Deployment": ("strategy", {"maxUnavailable": "25%", "maxSurge": "25%"}),
    "DaemonSet": ("updateStrategy", {"maxUnavailable": 1, "maxSurge": 0}),
    "StatefulSet": ("updateStrategy", {"partition": 0}),
}


class Workload(strategy.Strategy):
    """Kinds with a selector and a pod template."""

    def complete(self, obj: objects.Object) -> None:
        super().complete(obj)
        spec = obj["spec"]
        for key, value in _PARTS.get(self.kind, {}).items():
            spec.setdefault(key, objects.copy(value))
        if self.kind in _ROLLING:
            field, rolling = _ROLLING[self.kind]
            spec[field].setdefault("type", "RollingUpdate")
            if spec[field]["type"] == "RollingUpdate":
                spec[field]["rollingUpdate"] = rolling | spec[field].get("rollingUpdate", {})
        pod.default_spec(spec["template"].setdefault("spec", {}))

    def validate(self, obj: objects.Object) -> list[errors.Cause]:
        spec = obj["spec"]
        causes = pod.spec_causes(spec["template"]["spec"], "spec.template.spec")
        selector = spec.get("selector")
        if not selector:
            return [errors.required("spec.selector"), *causes]
        labels = objects.metadata(spec["template"]).get("labels", {})
        if not all(item.matches(labels) for item in selectors.from_label_selector(selector)):
            why = "`selector` does not match template `labels`"
            causes.append(errors.invalid_value("spec.template.metadata.labels", labels, why))
        return causes

    def validate_update(self, new: objects.Object, old: objects.Object) -> list[errors.Cause]:
        selector = new["spec"].get("selector")
        if selector == old["spec"].get("selector"):
            return []
        return [errors.invalid_value("spec.selector", selector, "field is immutable")]


class Job(Workload):
    """batch/v1 Job: makes its own selector; deleting it leaves its pods behind by default."""

    default_propagation = "Orphan"

    def prepare_create(self, obj: objects.Object) -> None:
        meta, spec = obj["metadata"], obj["spec"]
        if not spec.setdefault("manualSelector", False):
            labels = {
                _CONTROLLER: meta["uid"],
                "controller-uid": meta["uid"],
                _JOB_NAME: meta.get("name", ""),
                "job-name": meta.get("name", ""),
            }
            template = spec["template"].setdefault("metadata", {})
            template["labels"] = {**template.get("labels", {}), **labels}
            meta["labels"] = {**meta.get("labels", {}), **labels}
            spec["selector"] = {"matchLabels": {_CONTROLLER: meta["uid"]}}

    def validate(self, obj: objects.Object) -> list[errors.Cause]:
        causes = super().validate(obj)
        policy = obj["spec"]["template"]["spec"]["restartPolicy"]
        if policy == "Always":
            field = "spec.template.spec.restartPolicy"
            causes.append(errors.not_supported(field, policy, ["OnFailure", "Never"]))
        return causes
