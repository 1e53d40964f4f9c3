from collections.abc import Callable
from typing import Any

from devkit.apiserver.kinds import strategy


def test_defaults_do_not_override(rules: Callable[[str, str], strategy.Strategy]) -> None:
    found = rules("storage.k8s.io/v1", "CSIDriver")
    first: dict[str, Any] = {"metadata": {}, "spec": {"attachRequired": False}}
    second: dict[str, Any] = {"metadata": {}}
    for obj in (first, second):
        found.complete(obj)
    assert first["spec"]["attachRequired"] is False
    assert second["spec"]["attachRequired"] is True
    first["spec"]["volumeLifecycleModes"].append("Ephemeral")
    assert second["spec"]["volumeLifecycleModes"] == ["Persistent"]
