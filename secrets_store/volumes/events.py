"""Events on pods, where a pod's user looks, and on the node, for what is wrong with all of them."""

import datetime
import uuid
from typing import Any

from secrets_store import errors, tasks
from secrets_store import log as logs
from secrets_store.kube import client, paths
from secrets_store.model import volume

QUIET_S = 600.0
"""One event per pod and reason in this time."""
MAX_MESSAGE = 1024
CONTROLLER = "csi-secrets-store-controller"
ROTATION = "csi-secrets-store-rotation"
NODE_NAMESPACE = "default"
"""Where events go whose object has no namespace."""

_log = logs.get(__name__)


class Events:
    """Writes events in the background; a failure costs the event and nothing else.

    Args:
        node: The node's name, shown as the source's host.
    """

    def __init__(
        self,
        api: client.Client,
        threads: tasks.Threads,
        background: tasks.Background,
        clock: tasks.Clock,
        *,
        node: str,
    ) -> None:
        self._api, self._threads, self._background = api, threads, background
        self._clock, self._node = clock, node
        self._sent: dict[tuple[str, str], float] = {}
        self._denied = False

    def warning(
        self, pod: volume.Pod, reason: str, message: str, *, source: str = CONTROLLER
    ) -> None:
        """Tell the pod's user that something needs attention."""
        self._emit(pod, "Warning", reason, message, source)

    def normal(
        self, pod: volume.Pod, reason: str, message: str, *, source: str = CONTROLLER
    ) -> None:
        """Tell the pod's user that something went as planned."""
        self._emit(pod, "Normal", reason, message, source)

    def node_warning(self, reason: str, message: str, *, source: str = ROTATION) -> None:
        """Tell whoever runs the node that something needs attention."""
        # kubelet's own events name a node by its name also where the uid belongs; so does describe.
        node = {"apiVersion": "v1", "kind": "Node", "name": self._node, "uid": self._node}
        self._once(node, NODE_NAMESPACE, "Warning", reason, message, source)

    def _emit(self, pod: volume.Pod, sort: str, reason: str, message: str, source: str) -> None:
        if pod.uid:
            involved = {
                "apiVersion": "v1",
                "kind": "Pod",
                "namespace": pod.namespace,
                "name": pod.name,
                "uid": pod.uid,
            }
            self._once(involved, pod.namespace, sort, reason, message, source)

    def _once(
        self,
        involved: dict[str, str],
        namespace: str,
        sort: str,
        reason: str,
        message: str,
        source: str,
    ) -> None:
        now = self._clock.mono_s()
        self._sent = {key: at for key, at in self._sent.items() if now - at < QUIET_S}
        key = involved["uid"], reason
        if key in self._sent:
            return
        self._sent[key] = now
        body = self._body(involved, namespace, sort, reason, message, source)
        self._background.spawn("event", self._send(namespace, body))

    async def _send(self, namespace: str, body: dict[str, Any]) -> None:
        try:
            await self._threads.run(
                self._api.create, paths.events(namespace), body, deadline_s=10.0
            )
        except errors.Forbidden as error:
            if not self._denied:
                self._denied = True
                _log.warning("events cannot be written", extra=logs.pairs(reason=str(error)))
        except errors.ApiError as error:
            _log.warning(
                "event lost",
                extra=logs.pairs(
                    namespace=namespace,
                    name=body["involvedObject"]["name"],
                    event=body["reason"],
                    reason=str(error),
                ),
            )

    def _body(
        self,
        involved: dict[str, str],
        namespace: str,
        sort: str,
        reason: str,
        message: str,
        source: str,
    ) -> dict[str, Any]:
        now = datetime.datetime.fromtimestamp(self._clock.wall_s(), datetime.UTC)
        stamp = now.strftime("%Y-%m-%dT%H:%M:%SZ")
        if len(message) > MAX_MESSAGE:
            message = message[: MAX_MESSAGE - 3] + "..."
        return {
            "apiVersion": "v1",
            "kind": "Event",
            "metadata": {
                "name": f"{involved['name'][:230].rstrip('-.')}.{uuid.uuid4().hex[:16]}",
                "namespace": namespace,
            },
            "involvedObject": involved,
            "type": sort,
            "reason": reason,
            "message": message,
            "source": {"component": source, "host": self._node},
            "firstTimestamp": stamp,
            "lastTimestamp": stamp,
            "count": 1,
        }
