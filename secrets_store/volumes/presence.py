"""Whether the pod of a volume is still there.

A volume can outlive its pod: kubelet was away when the pod was removed, or cannot unmount. It keeps
its files until kubelet takes it away, but nobody reads them, so that its secrets need no refresh.
"""

from secrets_store import tasks
from secrets_store.kube import store
from secrets_store.volumes import table

GONE_S = 60.0
"""A pod without a sign of life for so long is gone; the watch may be a little behind kubelet."""


class Presence:
    """Signs of life of this node's pods; on the event loop.

    Args:
        pods: What the watch has told.
    """

    def __init__(self, pods: store.Pods, clock: tasks.Clock) -> None:
        self._pods, self._clock = pods, clock

    def gone(self, found: table.Volume) -> bool:
        """Tell whether a volume's pod is known to be gone.

        A publish is a sign of life too, for kubelet repeats it for pods that are there. While the
        watch is down nothing is known.
        """
        now = self._clock.mono_s()
        if not self._pods.connected or self._pods.get(found.record.pod.uid) is not None:
            found.seen_mono = now
        return now - found.seen_mono > GONE_S
