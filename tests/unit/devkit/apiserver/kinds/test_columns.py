from typing import Any

import pytest

from devkit.apiserver import resources
from devkit.apiserver.kinds import columns


def cells(storage: str, obj: dict[str, Any]) -> dict[str, object]:
    return {column.name: column.cell(obj) for column in columns.of(storage)}


@pytest.mark.parametrize("item", resources.BUILT_IN, ids=lambda item: item.plural)
def test_every_kind_can_be_shown_empty(item: resources.Resource) -> None:
    shown = cells(item.storage_key, {"metadata": {"name": "n"}})
    assert "n" in shown.values()


def test_a_pod() -> None:
    containers = [{"name": "a"}, {"name": "b"}]
    statuses = [
        {"ready": True, "restartCount": 2, "state": {"running": {}}},
        {"ready": True, "restartCount": 1, "state": {"running": {"startedAt": "x"}}},
    ]
    pod: dict[str, Any] = {
        "metadata": {"name": "p"},
        "spec": {"containers": containers},
        "status": {"phase": "Running", "containerStatuses": statuses},
    }
    shown = cells("pods", pod)
    assert (shown["Ready"], shown["Status"], shown["Restarts"]) == ("1/2", "Running", "3")
    pod["metadata"] = {"name": "p", "deletionTimestamp": "x"}
    assert cells("pods", pod)["Status"] == "Terminating"


def test_a_node() -> None:
    ready = {"type": "Ready", "status": "True"}
    node = {
        "metadata": {"name": "n", "labels": {"node-role.kubernetes.io/worker": ""}},
        "status": {"conditions": [ready], "nodeInfo": {"kubeletVersion": "v1"}},
    }
    shown = cells("nodes", node)
    assert (shown["Status"], shown["Roles"], shown["Version"]) == ("Ready", "worker", "v1")
    ready["status"] = "False"
    assert cells("nodes", node)["Status"] == "NotReady"


def test_an_event() -> None:
    event = {
        "metadata": {"name": "e"},
        "involvedObject": {"kind": "Pod", "name": "p"},
        "source": {"component": "kubelet", "host": "n1"},
        "message": "m\n",
    }
    shown = cells("events", event)
    assert (shown["Object"], shown["Source"]) == ("pod/p", "kubelet, n1")
    assert (shown["Message"], shown["Count"]) == ("m", "1")


def test_a_workload() -> None:
    template = {"spec": {"containers": [{"name": "a", "image": "i"}, {"name": "b", "image": "j"}]}}
    spec = {"replicas": 2, "selector": {"matchLabels": {"x": "y"}}, "template": template}
    shown = cells("deployments.apps", {"metadata": {"name": "d"}, "spec": spec})
    assert shown["Ready"] == "0/2"
    assert (shown["Containers"], shown["Images"], shown["Selector"]) == ("a,b", "i,j", "x=y")
