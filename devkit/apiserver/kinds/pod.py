"""Pods: defaults, the status the server starts with, what may change, how long they linger.

Source: core defaults, registry/core/pod strategy.
"""

from devkit.apiserver import errors, objects
from devkit.apiserver.kinds import strategy

_DEFAULT_GRACE_S = 30
_TOLERATED_S = 300


def default_spec(spec: objects.Object) -> None:
    """Fill a pod spec as the server does, in pods and in the templates of their owners."""
    spec.setdefault("restartPolicy", "Always")
    spec.setdefault("terminationGracePeriodSeconds", _DEFAULT_GRACE_S)
    spec.setdefault("dnsPolicy", "ClusterFirst")
    spec.setdefault("securityContext", {})
    spec.setdefault("schedulerName", "default-scheduler")
    if account := spec.get("serviceAccountName") or spec.get("serviceAccount"):
        spec["serviceAccountName"] = spec["serviceAccount"] = account
    for field in ("initContainers", "containers"):
        for container in spec.get(field, []):
            _default_container(container)
    for volume in spec.get("volumes") or []:
        _default_volume(volume)


def _default_container(container: objects.Object) -> None:
    image = container.get("image", "")
    tag = image.rpartition("/")[2].partition(":")[2]
    latest = "@" not in image and tag in ("", "latest")
    container.setdefault("imagePullPolicy", "Always" if latest else "IfNotPresent")
    container.setdefault("terminationMessagePath", "/dev/termination-log")
    container.setdefault("terminationMessagePolicy", "File")
    for port in container.get("ports", []):
        port.setdefault("protocol", "TCP")
    for variable in container.get("env", []):
        _default_field(variable.get("valueFrom", {}))
    for kind in ("livenessProbe", "readinessProbe", "startupProbe"):
        if kind in container:
            _default_probe(container[kind])
    limits = container["resources"].get("limits", {})
    if limits:
        container["resources"]["requests"] = limits | container["resources"].get("requests", {})


def _default_probe(probe: objects.Object) -> None:
    probe.setdefault("timeoutSeconds", 1)
    probe.setdefault("periodSeconds", 10)
    probe.setdefault("successThreshold", 1)
    probe.setdefault("failureThreshold", 3)
    if "httpGet" in probe:
        probe["httpGet"].setdefault("path", "/")
        probe["httpGet"].setdefault("scheme", "HTTP")


def _default_field(source: objects.Object) -> None:
    if "fieldRef" in source:
        source["fieldRef"].setdefault("apiVersion", "v1")


def _default_volume(volume: objects.Object) -> None:
    if set(volume) == {"name"}:
        volume["emptyDir"] = {}
    for kind in ("secret", "configMap", "projected", "downwardAPI"):
        if kind in volume:
            volume[kind].setdefault("defaultMode", 0o644)
    if "hostPath" in volume:
        volume["hostPath"].setdefault("type", "")
    for item in volume.get("downwardAPI", {}).get("items", []):
        _default_field(item)
    for source in volume.get("projected", {}).get("sources", []):
        if "serviceAccountToken" in source:
            source["serviceAccountToken"].setdefault("expirationSeconds", 3600)
        for item in source.get("downwardAPI", {}).get("items", []):
            _default_field(item)


def _tolerate(spec: objects.Object) -> None:
    """Let a pod stay a while on a node that is in trouble, as an admission plugin does."""
    tolerations = spec.setdefault("tolerations", [])
    for key in ("node.kubernetes.io/not-ready", "node.kubernetes.io/unreachable"):
        if not any(_tolerates(toleration, key) for toleration in tolerations):
            tolerations.append(
                {
                    "key": key,
                    "operator": "Exists",
                    "effect": "NoExecute",
                    "tolerationSeconds": _TOLERATED_S,
                }
            )


def _tolerates(toleration: objects.Object, key: str) -> bool:
    if toleration.get("key", key) != key:
        return False
    return bool(toleration.get("effect", "NoExecute") == "NoExecute")


def _is_best_effort(spec: objects.Object) -> bool:
    return not any(
        (container.get("resources") or {}).get(field)
        for kind in ("initContainers", "containers")
        for container in spec.get(kind) or []
        for field in ("limits", "requests")
    )


def spec_causes(spec: objects.Object, at: str) -> list[errors.Cause]:
    """Return what is wrong with a pod spec, as far as it is looked at."""
    causes = []
    containers = spec.get("containers") or []
    if not containers:
        causes.append(errors.required(f"{at}.containers"))
    names: set[str] = set()
    for number, container in enumerate(containers):
        name = container.get("name") or ""
        if not name:
            causes.append(errors.required(f"{at}.containers[{number}].name"))
        elif name in names:
            causes.append(
                errors.Cause(
                    "FieldValueDuplicate",
                    f"{at}.containers[{number}].name",
                    f'Duplicate value: "{name}"',
                )
            )
        names.add(name)
        if not container.get("image"):
            causes.append(errors.required(f"{at}.containers[{number}].image"))
    volumes = {volume.get("name") for volume in spec.get("volumes") or []}
    for number, container in enumerate(containers):
        for place, mount in enumerate(container.get("volumeMounts") or []):
            if mount.get("name") not in volumes:
                field = f"{at}.containers[{number}].volumeMounts[{place}].name"
                shown = objects.encode(mount.get("name")).decode()
                causes.append(errors.Cause("FieldValueNotFound", field, f"Not found: {shown}"))
    return causes


class Pod(strategy.Strategy):
    """core/v1 Pod."""

    def complete(self, obj: objects.Object) -> None:
        super().complete(obj)
        spec = obj["spec"]
        default_spec(spec)
        spec.setdefault("enableServiceLinks", True)

    def prepare_create(self, obj: objects.Object) -> None:
        _tolerate(obj["spec"])
        obj["spec"].setdefault("priority", 0)
        obj["spec"].setdefault("preemptionPolicy", "PreemptLowerPriority")
        quality = "BestEffort" if _is_best_effort(obj["spec"]) else "Burstable"
        obj["status"] = {"phase": "Pending", "qosClass": quality}

    def prepare_update(self, new: objects.Object, old: objects.Object) -> None:
        _tolerate(new["spec"])

    def validate(self, obj: objects.Object) -> list[errors.Cause]:
        return spec_causes(obj["spec"], "spec")

    def validate_update(self, new: objects.Object, old: objects.Object) -> list[errors.Cause]:
        tolerations = new["spec"].get("tolerations", [])
        if any(kept not in tolerations for kept in old["spec"].get("tolerations", [])):
            why = "existing toleration can not be modified except its tolerationSeconds"
            return [errors.forbidden_field("spec.tolerations", why)]
        if _fixed_part(new["spec"]) == _fixed_part(old["spec"]):
            return []
        return [
            errors.forbidden_field(
                "spec",
                "pod updates may not change fields other than `spec.containers[*].image`,"
                "`spec.initContainers[*].image`,`spec.activeDeadlineSeconds`,`spec.tolerations` "
                "(only additions to existing tolerations),`spec.terminationGracePeriodSeconds` "
                "(allow it to be set to 1 if it was previously negative)",
            )
        ]


def _fixed_part(spec: objects.Object) -> objects.Object:
    fixed = {
        key: value
        for key, value in spec.items()
        if key not in ("activeDeadlineSeconds", "tolerations") and value not in ([], {}, "", None)
    }
    for field in ("containers", "initContainers"):
        if field in fixed:
            fixed[field] = [{**item, "image": ""} for item in fixed[field]]
    return fixed


def grace_period_s(pod: objects.Object, asked: int | None) -> int:
    """Return how long a pod lingers after a delete; 0 means it goes at once.

    Args:
        pod: the stored pod.
        asked: gracePeriodSeconds of the request; None leaves it to the pod.
    """
    spec, status = pod.get("spec") or {}, pod.get("status") or {}
    if not spec.get("nodeName") or status.get("phase") in ("Succeeded", "Failed"):
        return 0
    grace = asked
    if grace is None:
        grace = spec.get("terminationGracePeriodSeconds")
    if grace is None:
        grace = _DEFAULT_GRACE_S
    return max(grace, 1) if grace < 0 else grace
