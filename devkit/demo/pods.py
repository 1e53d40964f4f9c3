"""The rest of kubelet: what it does about the pods that the API server gives it.

Looks at the pods of its node again and again (a real kubelet watches), publishes the volumes of
new ones, says so in their status, writes a FailedMount event for each failed attempt, and tears
down what is being deleted. The calls to the driver are those of `devkit.kubelet`.
"""

import asyncio
import dataclasses
import uuid
from typing import Any

from devkit.apiserver import objects as api_objects
from devkit.demo import cluster
from devkit.kubelet import agent, objects, operations

LOOK_EVERY_S = 0.2


@dataclasses.dataclass(slots=True, eq=False)
class _Known:
    """A pod that this node has begun with."""

    obj: dict[str, Any]
    pod: objects.Pod
    volumes: tuple[objects.Volume, ...]
    ending: asyncio.Event = dataclasses.field(default_factory=asyncio.Event)
    begun: asyncio.Task[None] | None = None
    call: asyncio.Task[agent.Published] | None = None


class Pods:
    """Carries the pods of one node.

    Args:
        node: the node's name.
        api: where the pods are.
        kubelet: calls the driver.
    """

    def __init__(self, node: str, api: cluster.Cluster, kubelet: agent.Kubelet) -> None:
        self._node, self._api, self._kubelet = node, api, kubelet
        self._known: dict[str, _Known] = {}

    @property
    def here(self) -> list[tuple[objects.Pod, tuple[objects.Volume, ...]]]:
        """The pods that have not been torn down, with their volumes."""
        return [(known.pod, known.volumes) for known in self._known.values()]

    async def run(self) -> None:
        """Work until cancelled. Raises: the API server's errors, which a real one would survive."""
        try:
            async with asyncio.TaskGroup() as group:
                while True:
                    await self._look(group)
                    await asyncio.sleep(LOOK_EVERY_S)
        except BaseExceptionGroup as failures:
            raise failures.exceptions[0] from None

    async def tear_down(self) -> None:
        """Tear all pods down without the API server, which may be gone; for the end.

        Raises: operations.VolumeFailed, pod_dirs.LeftBehind.
        """
        for known in self._known.values():
            known.ending.set()
            if known.call is not None:
                await asyncio.wait({known.call})
            await self._kubelet.delete_pod(known.pod, attempts=2)
        self._known.clear()

    async def _look(self, group: asyncio.TaskGroup) -> None:
        found = {}
        for obj in await self._api.pods():
            if not obj["spec"].get("nodeName"):
                # There is one node, so this is all that a scheduler has to do.
                await self._api.bind(obj, self._node)
            elif obj["spec"]["nodeName"] == self._node:
                found[obj["metadata"]["uid"]] = obj
        for uid, obj in found.items():
            known = self._known.get(uid)
            if known is None:
                self._known[uid] = known = _read(obj)
                known.begun = group.create_task(self._begin(known))
            if "deletionTimestamp" in obj["metadata"]:
                self._let_go(known, group)
        for uid in self._known.keys() - found.keys():
            self._let_go(self._known[uid], group)

    def _let_go(self, known: _Known, group: asyncio.TaskGroup) -> None:
        if not known.ending.is_set():
            known.ending.set()
            group.create_task(self._end(known))

    async def _begin(self, known: _Known) -> None:
        for volume in known.volumes:
            if not await self._mount(known, volume):
                return
        await self._set_status(known, "Running", {"running": {"startedAt": _now()}}, ready=True)

    async def _mount(self, known: _Known, volume: objects.Volume) -> bool:
        """Publish a volume, however often it takes; False if the pod goes before."""
        for delay_s in agent.retry_delays_s():
            if known.ending.is_set():
                return False
            try:
                # Kubelet never takes a call back: only its end tells what there is to tear down.
                publish = self._kubelet.publish(known.pod, volume, attempts=1)
                known.call = asyncio.create_task(publish, name=f"publish {known.pod.name}")
                await asyncio.shield(known.call)
                return True
            except operations.VolumeFailed as error:
                await self._set_status(
                    known, "Pending", {"waiting": {"reason": "ContainerCreating"}}, ready=False
                )
                await self._warn(known, str(error))
            try:
                await asyncio.wait_for(known.ending.wait(), delay_s)
            except TimeoutError:
                continue
        return False

    async def _end(self, known: _Known) -> None:
        await self._kubelet.delete_pod(known.pod)
        if known.begun is not None:
            await known.begun
        await self._api.delete(known.obj, grace_s=0)
        self._known.pop(known.pod.uid, None)

    async def _set_status(
        self, known: _Known, phase: str, state: dict[str, Any], *, ready: bool
    ) -> None:
        latest = await self._api.get(known.obj)
        if latest is None or latest["metadata"]["uid"] != known.pod.uid:
            return
        truth = "True" if ready else "False"
        latest["status"] |= {
            "phase": phase,
            "conditions": [
                {"type": kind, "status": truth} for kind in ("ContainersReady", "Ready")
            ],
            "containerStatuses": [
                {
                    "name": container["name"],
                    "image": container["image"],
                    "imageID": "",
                    "ready": ready,
                    "restartCount": 0,
                    "state": state,
                }
                for container in latest["spec"]["containers"]
            ],
        }
        await self._api.update(latest, "status")

    async def _warn(self, known: _Known, message: str) -> None:
        now = _now()
        await self._api.create(
            {
                "apiVersion": "v1",
                "kind": "Event",
                "metadata": {
                    "name": f"{known.pod.name}.{uuid.uuid4().hex[:16]}",
                    "namespace": known.pod.namespace,
                },
                "involvedObject": {
                    "apiVersion": "v1",
                    "kind": "Pod",
                    "namespace": known.pod.namespace,
                    "name": known.pod.name,
                    "uid": known.pod.uid,
                },
                "type": "Warning",
                "reason": "FailedMount",
                "message": message,
                "source": {"component": "kubelet", "host": self._node},
                "firstTimestamp": now,
                "lastTimestamp": now,
                "count": 1,
            }
        )


def _read(obj: dict[str, Any]) -> _Known:
    volumes = (each for each in obj["spec"].get("volumes") or () if "csi" in each)
    return _Known(
        obj, objects.Pod.from_dict(obj), tuple(objects.Volume.from_dict(each) for each in volumes)
    )


def _now() -> str:
    return api_objects.timestamp()
