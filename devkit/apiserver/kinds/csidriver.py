"""CSI drivers.

Source: storage/v1 defaults.
"""

from typing import Any

from devkit.apiserver import objects
from devkit.apiserver.kinds import strategy

_DEFAULTS: dict[str, Any] = {
    "attachRequired": True,
    "podInfoOnMount": False,
    "storageCapacity": False,
    "fsGroupPolicy": "ReadWriteOnceWithFSType",
    "volumeLifecycleModes": ["Persistent"],
    "requiresRepublish": False,
    "seLinuxMount": False,
}


class CSIDriver(strategy.Strategy):
    """storage.k8s.io/v1 CSIDriver."""

    def complete(self, obj: objects.Object) -> None:
        super().complete(obj)
        for key, value in _DEFAULTS.items():
            obj["spec"].setdefault(key, objects.copy(value))
