"""What the driver's benchmarks stand on: an API server, a provider and a driver, each a process.

The API server is the real one where ``KUBEBUILDER_ASSETS`` names it, else the stand-in.
"""

import asyncio
import contextlib
import datetime
import json
import pathlib
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator, Sequence

import grpc
import grpc.aio

from csi_spec import csi_pb2, csi_pb2_grpc
from devkit import assets, stage
from devkit.apiserver import client as api_client

CLASSES = {"one": 1, "five": 5, "fifty": 50}
SIZES_BYTES = {"one": 100, "five": 1024, "fifty": 4096}


class Bed:
    """A node with everything but the driver.

    Attributes:
        node: Its directories.
        kubeconfig: For the driver.
        api: Client of the API server, to make and look at objects.
    """

    def __init__(self, node: stage.Node, kubeconfig: pathlib.Path, api: api_client.Client) -> None:
        self.node, self.kubeconfig, self.api = node, kubeconfig, api
        self._filled = False
        for name in CLASSES:
            api.create(stage.class_object(name, provider=name))
        api.create(synced_class("synced", "synced"))

    def make_pod(self, name: str) -> str:
        """Make a pod of this node, so that a Secret can find its owner; return its uid."""
        pod = self.api.create(
            {
                "apiVersion": "v1",
                "kind": "Pod",
                "metadata": {"name": name, "namespace": "default"},
                "spec": {
                    "nodeName": stage.NODE,
                    "containers": [{"name": "c", "image": "i"}],
                },
            }
        )
        return str(pod["metadata"]["uid"])

    def owned(self) -> set[str]:
        """Return the names of the Secrets that are there and have an owner."""
        found = self.api.items("/api/v1/namespaces/default/secrets")
        return {x["metadata"]["name"] for x in found if x["metadata"].get("ownerReferences")}

    def collect_garbage(self) -> None:
        """Remove the status objects, as the cluster's collector does when their pods have gone."""
        kind = "secrets-store.csi.x-k8s.io/v1/namespaces/default/secretproviderclasspodstatuses"
        self.api.request("DELETE", f"/apis/{kind}").decoded()

    def ask_for_refresh(self, class_name: str) -> None:
        """Annotate a class so that its volumes are checked now."""
        obj = self.api.get(stage.class_object(class_name))
        now = datetime.datetime.now(datetime.UTC) + datetime.timedelta(seconds=1)
        obj["metadata"]["annotations"] = {
            "secrets-store.csi.k8s.io/refresh-requested-at": now.isoformat(timespec="seconds")
        }
        self.api.update(obj)

    def fill(self, secrets: int, classes: int) -> None:
        """Fill the cluster with what is none of this node's business; once."""
        if self._filled:
            return
        self._filled = True
        for number in range(secrets):
            self.api.create(
                {
                    "apiVersion": "v1",
                    "kind": "Secret",
                    "metadata": {
                        "name": f"other-{number}",
                        "namespace": "default",
                        "labels": {"secrets-store.csi.k8s.io/managed": "true"},
                    },
                    "stringData": {"value": "x" * 1024},
                }
            )
        for number in range(classes):
            self.api.create(stage.class_object(f"other-{number}", provider="one"))

    def files(self, name: str) -> pathlib.Path:
        """Return the folder whose files the provider of that name serves."""
        return self.node.root / "files" / name


def synced_class(name: str, secret: str) -> dict[str, object]:
    """Return a class of one file that is copied into a Secret."""
    data = [{"objectName": "secret0", "key": "value"}]
    return stage.class_object(
        name,
        provider="one",
        secretObjects=[{"secretName": secret, "type": "Opaque", "data": data}],
    )


class Driver:
    """A driver in the bed, and calls to it on a kept connection."""

    def __init__(self, bed: Bed, process: stage.DriverProcess, channel: grpc.aio.Channel) -> None:
        self.bed, self.process = bed, process
        self.csi = csi_pb2_grpc.NodeStub(channel)

    async def publish(self, uid: str, class_name: str = "one", pod: str = "") -> float:
        """Publish one volume; return seconds. kubelet has made the directories above it."""
        named = {"csi.storage.k8s.io/pod.name": pod} if pod else {}
        request = stage.request(self.bed.node, uid, class_name=class_name, context=named)
        pathlib.Path(request.target_path).parent.mkdir(parents=True, exist_ok=True)
        started = time.perf_counter()
        await self.csi.NodePublishVolume(request, timeout=120)
        return time.perf_counter() - started

    async def unpublish(self, uid: str) -> float:
        """Unpublish one volume; return seconds."""
        request = csi_pb2.NodeUnpublishVolumeRequest(
            volume_id=f"csi-{uid}-secrets", target_path=self.bed.node.target(uid)
        )
        started = time.perf_counter()
        await self.csi.NodeUnpublishVolume(request, timeout=120)
        return time.perf_counter() - started

    async def probe(self) -> float:
        """Probe on a new connection, as the liveness sidecar does; return seconds."""
        started = time.perf_counter()
        async with grpc.aio.insecure_channel(
            f"unix:{self.bed.node.csi_socket}", options=(("grpc.use_local_subchannel_pool", 1),)
        ) as channel:
            await csi_pb2_grpc.IdentityStub(channel).Probe(csi_pb2.ProbeRequest(), timeout=30)
        return time.perf_counter() - started


@contextlib.contextmanager
def _api_server(node: stage.Node) -> Iterator[tuple[pathlib.Path, api_client.Client]]:
    kubeconfig = node.root / "kubeconfig"
    programs = assets.folder()
    if programs is not None:
        with assets.RealAPIServer(programs) as real:
            yield real.kubeconfig(kubeconfig), real.client()
        return
    process = subprocess.Popen(
        [sys.executable, "-m", "devkit.apiserver", f"--kubeconfig={kubeconfig}"],
        stdout=subprocess.PIPE,
    )
    try:
        assert process.stdout is not None
        ready = json.loads(process.stdout.readline())
        yield kubeconfig, api_client.Client(ready["url"], ready["token"])
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait()


@contextlib.contextmanager
def _provider(bed: Bed, name: str) -> Iterator[None]:
    folder = bed.files(name)
    folder.mkdir(parents=True)
    for number in range(CLASSES[name]):
        (folder / f"secret{number}").write_bytes(b"s" * SIZES_BYTES[name])
    process = subprocess.Popen(
        [sys.executable, "-m", "devkit.provider", f"--dir={bed.node.providers}", f"--name={name}",
         f"--files={folder}", "--direct"],
    )  # fmt: skip
    try:
        yield
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait()


@contextlib.contextmanager
def bed() -> Iterator[Bed]:
    """Lay the bed."""
    with stage.Node("bench") as node, _api_server(node) as (kubeconfig, api):
        laid = Bed(node, kubeconfig, api)
        with contextlib.ExitStack() as stack:
            for name in CLASSES:
                stack.enter_context(_provider(laid, name))
            yield laid


@contextlib.asynccontextmanager
async def driver(
    laid: Bed, command: Sequence[str], flags: Sequence[str] = ()
) -> AsyncIterator[Driver]:
    """Run a driver in the bed; when it has ended its volumes and status objects go."""
    process = stage.DriverProcess(laid.node, laid.kubeconfig, command=command, flags=flags)
    await process.start()
    try:
        async with grpc.aio.insecure_channel(f"unix:{laid.node.csi_socket}") as channel:
            yield Driver(laid, process, channel)
    finally:
        await process.stop()
        for point in reversed(laid.node.mounts()):
            await asyncio.to_thread(subprocess.run, ["umount", "--lazy", point], check=True)
        await asyncio.to_thread(laid.collect_garbage)
