from collections.abc import Callable
from typing import Any

import pytest

from devkit.apiserver.kinds import pod, strategy

Rules = Callable[[str, str], strategy.Strategy]


def made(rules: Rules, **spec: Any) -> dict[str, Any]:
    pods = rules("v1", "Pod")
    spec = {"containers": [{"name": "c", "image": "i"}]} | spec
    obj = {"kind": "Pod", "apiVersion": "v1", "metadata": {"name": "p"}, "spec": spec}
    pods.decode(obj)
    pods.complete(obj)
    pods.prepare_create(obj)
    return obj


@pytest.mark.parametrize(
    ("image", "policy"),
    [
        ("i", "Always"),
        ("i:latest", "Always"),
        ("i:1", "IfNotPresent"),
        ("host:5000/i", "Always"),
        ("host:5000/i:1", "IfNotPresent"),
        ("i@sha256:0", "IfNotPresent"),
    ],
)
def test_when_images_are_pulled(rules: Rules, image: str, policy: str) -> None:
    found = made(rules, containers=[{"name": "c", "image": image}])
    assert found["spec"]["containers"][0]["imagePullPolicy"] == policy


def test_defaults_inside_containers(rules: Rules) -> None:
    container = {
        "name": "c",
        "image": "i",
        "ports": [{"containerPort": 80}],
        "env": [{"name": "N", "valueFrom": {"fieldRef": {"fieldPath": "spec.nodeName"}}}],
        "livenessProbe": {"httpGet": {"port": 80}},
        "resources": {"limits": {"cpu": "1", "memory": "1Gi"}, "requests": {"cpu": "100m"}},
    }
    found = made(rules, containers=[container])["spec"]["containers"][0]
    assert found["ports"][0]["protocol"] == "TCP"
    assert found["env"][0]["valueFrom"]["fieldRef"]["apiVersion"] == "v1"
    assert found["livenessProbe"]["httpGet"] == {"port": 80, "path": "/", "scheme": "HTTP"}
    assert found["livenessProbe"]["failureThreshold"] == 3
    assert found["resources"]["requests"] == {"cpu": "100m", "memory": "1Gi"}


def test_quality_of_service(rules: Rules) -> None:
    assert made(rules)["status"]["qosClass"] == "BestEffort"
    container = {"name": "c", "image": "i", "resources": {"requests": {"cpu": "1"}}}
    assert made(rules, containers=[container])["status"]["qosClass"] == "Burstable"


@pytest.mark.parametrize(
    ("tolerations", "count"),
    [
        ([], 2),
        ([{"operator": "Exists"}], 1),
        ([{"key": "node.kubernetes.io/not-ready", "operator": "Exists"}], 2),
        ([{"operator": "Exists", "effect": "NoSchedule"}], 3),
    ],
)
def test_tolerations(rules: Rules, tolerations: list[Any], count: int) -> None:
    assert len(made(rules, tolerations=tolerations)["spec"]["tolerations"]) == count


@pytest.mark.parametrize(
    ("change", "fields"),
    [
        ({"nodeName": "n"}, ["spec"]),
        ({"containers": [{"name": "c", "image": "other", "command": ["x"]}]}, ["spec"]),
        ({"activeDeadlineSeconds": 5}, []),
        ({"tolerations": []}, ["spec.tolerations"]),
    ],
)
def test_what_may_change(rules: Rules, change: dict[str, Any], fields: list[str]) -> None:
    old = made(rules)
    new = {**old, "spec": {**old["spec"], **change}}
    causes = rules("v1", "Pod").validate_update(new, old)
    assert [cause.field for cause in causes] == fields


def test_an_image_may_change(rules: Rules) -> None:
    old, new = made(rules), made(rules)
    new["spec"]["containers"][0]["image"] = "other"
    assert rules("v1", "Pod").validate_update(new, old) == []


@pytest.mark.parametrize(("asked", "grace"), [(None, 30), (0, 0), (5, 5), (-5, 1)])
def test_grace(asked: int | None, grace: int) -> None:
    assert pod.grace_period_s({"spec": {"nodeName": "n"}}, asked) == grace
