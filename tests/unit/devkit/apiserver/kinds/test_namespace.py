from collections.abc import Callable
from typing import Any

from devkit.apiserver.kinds import strategy

Rules = Callable[[str, str], strategy.Strategy]


def test_a_namespace_starts_active(rules: Rules) -> None:
    found = rules("v1", "Namespace")
    obj: dict[str, Any] = {"metadata": {"name": "n", "labels": {"a": "b"}}}
    found.complete(obj)
    found.prepare_create(obj)
    assert obj["status"] == {"phase": "Active"}
    assert obj["spec"]["finalizers"] == ["kubernetes"]
    assert obj["metadata"]["labels"] == {"a": "b", "kubernetes.io/metadata.name": "n"}


def test_an_update_keeps_the_finalizers(rules: Rules) -> None:
    old: dict[str, Any] = {"spec": {"finalizers": ["kubernetes"]}}
    new: dict[str, Any] = {"spec": {}}
    rules("v1", "Namespace").prepare_update(new, old)
    assert new == old


def test_a_node_starts_with_a_taint(rules: Rules) -> None:
    found = rules("v1", "Node")
    obj: dict[str, Any] = {"metadata": {}, "spec": {}}
    found.prepare_create(obj)
    found.prepare_create(obj)
    assert obj["spec"]["taints"] == [
        {"key": "node.kubernetes.io/not-ready", "effect": "NoSchedule"}
    ]
    assert found.takes_status_at_creation
