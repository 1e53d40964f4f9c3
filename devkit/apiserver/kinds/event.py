"""Events.

Source: core/v1 validation of Event.
"""

from devkit.apiserver import errors, objects
from devkit.apiserver.kinds import strategy


class Event(strategy.Strategy):
    """core/v1 Event; lies in the namespace of what it is about."""

    def validate(self, obj: objects.Object) -> list[errors.Cause]:
        about = obj["involvedObject"].get("namespace", "")
        if about == objects.namespace_of(obj) or (
            not about and objects.namespace_of(obj) in ("default", "kube-system")
        ):
            return []
        why = "does not match event.namespace"
        return [errors.invalid_value("involvedObject.namespace", about, why)]
