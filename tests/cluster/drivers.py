"""Whole drivers in this process, each on the socket of a node of its own."""

import asyncio
import contextlib
import dataclasses
import pathlib
import secrets
import threading
from collections import Counter
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Any

import grpc.aio

from csi_spec import csi_pb2, csi_pb2_grpc
from devkit import stage
from devkit.apiserver import cluster as apiserver
from secrets_store import app, metrics, settings, tasks
from secrets_store.kube import client, credentials, stream
from secrets_store.volumes import table

CLASSES, STATUSES = "secretproviderclasses", "secretproviderclasspodstatuses"
WATCHED = ("pods", CLASSES, STATUSES)
_RESOURCES = {*WATCHED, "secrets", "events", "nodes", "csinodes"}
WRITES = ("create", "update", "patch", "delete")


class Asked:
    """The HTTP requests of one driver as (verb, resource, code), repeated and failed ones too.

    Told from the driver's threads: each makes one request at a time, so that the answer it hears
    is to the call it made last.
    """

    def __init__(self) -> None:
        self._tried: Counter[tuple[str, str, str]] = Counter()
        self._lock = threading.Lock()
        self._last = threading.local()

    def calls(self, verb: str, path: str) -> None:
        resource = next(part for part in path.split("/") if part in _RESOURCES)
        self._last.call = verb, resource

    def answered(self, method: str, host: str, code: str) -> None:
        verb, resource = self._last.call
        with self._lock:
            self._tried[verb, resource, code] += 1

    def count(self, verbs: Sequence[str] = (), resource: str = "", code: str = "") -> int:
        """Return how many requests there were of some verbs, a resource, a code; empty is any."""
        with self._lock:
            return sum(
                times
                for (verb, which, what), times in self._tried.items()
                if (not verbs or verb in verbs) and resource in ("", which) and code in ("", what)
            )

    def besides_watches(self) -> dict[tuple[str, str, str], int]:
        """Return the requests that are no watches."""
        with self._lock:
            return {key: times for key, times in self._tried.items() if key[0] != "watch"}

    def reset(self) -> None:
        with self._lock:
            self._tried.clear()


class CountingClient(client.Client):
    """The driver's API client, which tells what it is called for."""

    asked: Asked

    def get(self, path: str, **more: Any) -> client.Json:
        self.asked.calls("get", path)
        return super().get(path, **more)

    def list(self, path: str, **more: Any) -> Any:
        self.asked.calls("list", path)
        return super().list(path, **more)

    def create(self, path: str, body: client.Json, **more: Any) -> client.Json:
        self.asked.calls("create", path)
        return super().create(path, body, **more)

    def update(self, path: str, body: client.Json, **more: Any) -> client.Json:
        self.asked.calls("update", path)
        return super().update(path, body, **more)

    def patch(self, path: str, body: Any, **more: Any) -> client.Json:
        self.asked.calls("patch", path)
        return super().patch(path, body, **more)

    def delete(self, path: str, **more: Any) -> client.Json:
        self.asked.calls("delete", path)
        return super().delete(path, **more)

    def watch(self, path: str, **more: Any) -> stream.Watch:
        self.asked.calls("watch", path)
        return super().watch(path, **more)


@dataclasses.dataclass
class Driver:
    """A running driver."""

    node: stage.Node
    namespace: str
    app: app.App
    asked: Asked
    csi: "csi_pb2_grpc.NodeAsyncStub"

    def request(
        self, pod_uid: str = "pod1", *, name: str = "", **changes: Any
    ) -> csi_pb2.NodePublishVolumeRequest:
        context = dict(changes.pop("context", None) or {})
        if name:
            context["csi.storage.k8s.io/pod.name"] = name
        return stage.request(
            self.node, pod_uid, namespace=self.namespace, context=context, **changes
        )

    async def publish(self, pod_uid: str = "pod1", **changes: Any) -> pathlib.Path:
        """Publish a pod's volume; return its directory."""
        request = self.request(pod_uid, **changes)
        await self.csi.NodePublishVolume(request, timeout=60)
        return pathlib.Path(request.target_path)

    async def publish_for(self, pod: dict[str, Any], **changes: Any) -> pathlib.Path:
        """Publish the volume of a pod of the cluster; return its directory."""
        metadata = pod["metadata"]
        return await self.publish(metadata["uid"], name=metadata["name"], **changes)

    async def unpublish(self, pod_uid: str = "pod1", volume: str = "secrets") -> None:
        await self.csi.NodeUnpublishVolume(
            csi_pb2.NodeUnpublishVolumeRequest(
                volume_id=f"csi-{pod_uid}-{volume}", target_path=self.node.target(pod_uid, volume)
            )
        )

    async def watching(self, timeout_s: float = 8.0) -> None:
        """Return when all three watches are up."""
        stores = (self.app._pods, self.app._classes, self.app._statuses)
        await eventually(lambda: all(each.connected for each in stores), timeout_s)

    async def in_step(self) -> None:
        """Return when the watches have told of every volume's pod and status object.

        They live in real time: on a virtual clock an hour is over before they have said a word.
        """

        def told(found: table.Volume) -> bool:
            pod, status = found.record.pod, found.status
            if self.app._pods.get(pod.uid) is None or status is None:
                return False
            version = self.app._statuses.version(pod.namespace, found.record.status_name)
            return bool(version == status["metadata"]["resourceVersion"])

        await eventually(lambda: all(told(found) for found in self.app._table))

    def sample(self, name: str, **labels: str) -> float:
        """Return a series of the driver; 0 if there is none yet."""
        return self.app.metrics.registry.get_sample_value(name, labels) or 0.0

    def total(self, name: str) -> float:
        """Return the sum of a series over its labels."""
        families = self.app.metrics.registry.collect()
        return sum(x.value for family in families for x in family.samples if x.name == name)

    def records(self) -> list[pathlib.Path]:
        return sorted((self.node.csi_socket.parent / "state").glob("*.json"))


@contextlib.asynccontextmanager
async def running(
    node: stage.Node,
    api: apiserver.Cluster,
    *,
    token: str,
    clock: tasks.Clock | None = None,
    server: str = "",
    **chosen: Any,
) -> AsyncIterator[Driver]:
    """Run a driver.

    Args:
        token: Whose rights it has.
        server: URL to reach the API server by, if not its own.
        chosen: Settings.
    """
    config = credentials.load(str(api.kubeconfig(node.root / secrets.token_hex(4), token)))
    asked, counted = Asked(), metrics.Metrics()

    def observe(method: str, host: str, code: str) -> None:
        asked.answered(method, host, code)
        counted.api_request(method, host, code)

    kube = CountingClient(
        dataclasses.replace(config, server=server or config.server),
        user_agent="driver",
        observe=observe,
    )
    kube.asked = asked
    made = settings.Settings(
        **{
            "endpoint": f"unix://{node.csi_socket}",
            "node_id": stage.NODE,
            "provider_volume": str(node.providers),
            "additional_provider_volume_paths": str(node.more_providers),
        }
        | chosen
    )
    driver = app.App(made, api=kube, metrics=counted, clock=clock)
    async with (
        driver.serving(),
        grpc.aio.insecure_channel(f"unix:{node.csi_socket}") as channel,
    ):
        yield Driver(node, api.namespace, driver, asked, csi_pb2_grpc.NodeStub(channel))


async def eventually(check: Callable[[], Any], timeout_s: float = 4.0) -> Any:
    """Wait until a check is true; return what it returned."""
    loop = asyncio.get_running_loop()
    ends_s = loop.time() + timeout_s
    while not (found := check()):
        assert loop.time() < ends_s, "did not come true in time"
        await asyncio.sleep(0.01)
    return found
