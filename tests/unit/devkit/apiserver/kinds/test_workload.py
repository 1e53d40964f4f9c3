from collections.abc import Callable
from typing import Any

import pytest

from devkit.apiserver.kinds import strategy

Rules = Callable[[str, str], strategy.Strategy]
LABELS = {"a": "b"}


def made(found: strategy.Strategy, **spec: Any) -> dict[str, Any]:
    template = {
        "metadata": {"labels": LABELS},
        "spec": {"containers": [{"name": "c", "image": "i"}]},
    }
    spec = {"selector": {"matchLabels": LABELS}, "template": template} | spec
    obj = {"metadata": {"name": "w", "uid": "u"}, "spec": spec}
    found.decode(obj)
    found.complete(obj)
    found.prepare_create(obj)
    return obj


@pytest.mark.parametrize("kind", ["Deployment", "ReplicaSet", "DaemonSet", "StatefulSet"])
def test_a_good_one(rules: Rules, kind: str) -> None:
    found = rules("apps/v1", kind)
    obj = made(found)
    assert found.validate(obj) == []
    assert obj["spec"]["template"]["spec"]["restartPolicy"] == "Always"
    changed = {**obj, "spec": {**obj["spec"], "selector": {"matchLabels": {"x": "y"}}}}
    assert [cause.field for cause in found.validate_update(changed, obj)] == ["spec.selector"]
    assert found.validate_update(obj, obj) == []


def test_how_updates_roll(rules: Rules) -> None:
    found = rules("apps/v1", "Deployment")
    assert made(found)["spec"]["strategy"] == {
        "type": "RollingUpdate",
        "rollingUpdate": {"maxUnavailable": "25%", "maxSurge": "25%"},
    }
    recreate = made(found, strategy={"type": "Recreate"})
    assert recreate["spec"]["strategy"] == {"type": "Recreate"}
    some = made(found, strategy={"rollingUpdate": {"maxSurge": 1}})["spec"]["strategy"]
    assert some["rollingUpdate"] == {"maxUnavailable": "25%", "maxSurge": 1}


def test_faults_are_found(rules: Rules) -> None:
    found = rules("apps/v1", "DaemonSet")
    obj = made(found, selector={}, template={})
    assert [cause.field for cause in found.validate(obj)] == [
        "spec.selector",
        "spec.template.spec.containers",
    ]
    obj = made(found, selector={"matchLabels": {"x": "y"}})
    assert [cause.field for cause in found.validate(obj)] == ["spec.template.metadata.labels"]


def test_a_job_makes_its_selector(rules: Rules) -> None:
    found = rules("batch/v1", "Job")
    spec = {"restartPolicy": "Never", "containers": [{"name": "c", "image": "i"}]}
    obj = made(found, selector=None, template={"spec": spec})
    assert obj["spec"]["selector"] == {"matchLabels": {"batch.kubernetes.io/controller-uid": "u"}}
    assert obj["metadata"]["labels"]["job-name"] == "w"
    assert found.validate(obj) == []
    own = made(found, manualSelector=True)
    assert own["spec"]["selector"] == {"matchLabels": LABELS}
    assert [cause.field for cause in found.validate(own)] == ["spec.template.spec.restartPolicy"]
    assert found.default_propagation == "Orphan"
