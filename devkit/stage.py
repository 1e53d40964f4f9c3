"""One node, set up on a temporary directory: sockets, pod directories and a driver as a process.

Used by the demo, the end-to-end tests and the benchmarks. The driver is started by its command line
with upstream's flags, so that another driver with the same flags can take its place.
"""

import asyncio
import dataclasses
import os
import pathlib
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Mapping, Sequence
from typing import Self

import grpc
import grpc.aio

from csi_spec import csi_pb2, csi_pb2_grpc

NODE = "node-1"
OURS = (sys.executable, "-m", "secrets_store")
READY_S = 30.0
STOP_S = 30.0
CLOCK_TICKS = os.sysconf("SC_CLK_TCK")


class DriverEnded(Exception):
    """The driver's process has ended before it was ready, or did not end when told to."""


class Node:
    """The directories of one node. A context manager that removes them.

    Attributes:
        root: Short, for sockets lie below it.
        kubelet: kubelet's directory.
        csi_socket: Where the driver serves.
        providers, more_providers: The two directories of provider sockets.
    """

    def __init__(self, prefix: str = "node") -> None:
        self.root = pathlib.Path(tempfile.mkdtemp(prefix=prefix, dir="/tmp"))
        self.kubelet = self.root / "kubelet"
        self.csi_socket = self.root / "csi" / "csi.sock"
        self.providers = self.root / "prov"
        self.more_providers = self.root / "etc-prov"
        for directory in (
            self.kubelet,
            self.csi_socket.parent,
            self.providers,
            self.more_providers,
        ):
            directory.mkdir()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.remove()

    def target(self, pod_uid: str, volume: str = "secrets") -> str:
        """Return the target path that kubelet uses for a pod's volume."""
        return f"{self.kubelet}/pods/{pod_uid}/volumes/kubernetes.io~csi/{volume}/mount"

    def mounts(self) -> list[str]:
        """Return the mount points below this node's directories; one per stacked mount."""
        lines = pathlib.Path("/proc/self/mountinfo").read_text().splitlines()
        points = (line.split(" ")[4] for line in lines)
        return [point for point in points if point.startswith(f"{self.root}/")]

    def remove(self) -> None:
        """Unmount what is left and remove all directories."""
        for point in reversed(self.mounts()):
            subprocess.run(["umount", "--lazy", point], check=False, stderr=subprocess.DEVNULL)
        shutil.rmtree(self.root, ignore_errors=True)


@dataclasses.dataclass(frozen=True, slots=True)
class Cost:
    """What a process has used so far."""

    rss_mib: float
    peak_mib: float
    cpu_s: float


class DriverProcess:
    """A driver as a process.

    Args:
        node: Where it serves.
        kubeconfig: How it reaches the API server.
        command: The program; flags are added to it.
        flags: More flags, after those that every driver here gets.
        log: File that its stderr is appended to; None discards it.
    """

    def __init__(
        self,
        node: Node,
        kubeconfig: pathlib.Path,
        *,
        command: Sequence[str] = OURS,
        flags: Sequence[str] = (),
        log: pathlib.Path | None = None,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        self._node, self._log = node, log
        self.metrics_port = _free_port()
        self._environment = dict(os.environ) | {"MALLOC_ARENA_MAX": "1"} | dict(environment or {})
        self._arguments = [
            *command,
            f"--endpoint=unix://{node.csi_socket}",
            f"--nodeid={NODE}",
            f"--kubeconfig={kubeconfig}",
            f"--provider-volume={node.providers}",
            f"--additional-provider-volume-paths={node.more_providers}",
            f"--metrics-addr=127.0.0.1:{self.metrics_port}",
            *flags,
        ]
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        """Process id of the running driver."""
        assert self._process is not None
        return self._process.pid

    async def start(self) -> float:
        """Start the process; return the seconds until Probe said ready.

        Raises: DriverEnded.
        """
        started = time.monotonic()
        output = self._log.open("ab") if self._log else subprocess.DEVNULL
        try:
            self._process = subprocess.Popen(
                self._arguments,
                stderr=output,
                stdin=subprocess.DEVNULL,
                env=self._environment,
                # Signals of a terminal are for the caller, who then stops the driver in order.
                process_group=0,
            )
        finally:
            if not isinstance(output, int):
                output.close()
        while not await self._probe():
            if self._process.poll() is not None:
                raise DriverEnded(f"exit code {self._process.returncode}")
            if time.monotonic() - started > READY_S:
                raise DriverEnded("not ready in time")
            await asyncio.sleep(0.002)
        return time.monotonic() - started

    async def stop(self) -> int:
        """Send SIGTERM and return the exit code. Raises: DriverEnded: it did not end."""
        return await self._end(signal.SIGTERM)

    async def kill(self) -> None:
        """End the process as a crash does, with no time for anything."""
        await self._end(signal.SIGKILL)

    def series(self, name: str) -> float:
        """Scrape the driver and add up all samples of one name; 0 if there are none yet."""
        url = f"http://127.0.0.1:{self.metrics_port}/metrics"
        with urllib.request.urlopen(url, timeout=5) as answer:
            text = answer.read().decode()
        samples = (line.rpartition(" ") for line in text.splitlines() if line.startswith(name))
        return sum(float(value) for key, _, value in samples if key.partition("{")[0] == name)

    def cost(self) -> Cost:
        """Read what the process has used, children that have ended included."""
        status = pathlib.Path(f"/proc/{self.pid}/status").read_text()
        lines = (line.partition(":") for line in status.splitlines())
        kib = {key: int(text.split()[0]) for key, _, text in lines if key in ("VmRSS", "VmHWM")}
        fields = pathlib.Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()
        return Cost(
            rss_mib=kib["VmRSS"] / 1024,
            peak_mib=kib["VmHWM"] / 1024,
            cpu_s=sum(int(x) for x in fields[11:15]) / CLOCK_TICKS,
        )

    async def _probe(self) -> bool:
        if not self._node.csi_socket.exists():
            return False
        async with grpc.aio.insecure_channel(f"unix:{self._node.csi_socket}") as channel:
            try:
                answer = await csi_pb2_grpc.IdentityStub(channel).Probe(
                    csi_pb2.ProbeRequest(), timeout=1.0
                )
            except grpc.aio.AioRpcError:
                return False
        return bool(answer.ready.value)

    async def _end(self, number: signal.Signals) -> int:
        assert self._process is not None
        self._process.send_signal(number)
        try:
            return await asyncio.to_thread(self._process.wait, STOP_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
            raise DriverEnded(f"still running {STOP_S} s after {number.name}") from None


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as held:
        port: int = held.getsockname()[1]
    return port


def request(
    node: Node,
    pod_uid: str,
    *,
    class_name: str = "app",
    namespace: str = "default",
    volume: str = "secrets",
    context: Mapping[str, str] | None = None,
) -> csi_pb2.NodePublishVolumeRequest:
    """Build a plain NodePublishVolume for a pod named ``pod-<uid>``, as kubelet sends it."""
    prefix = "csi.storage.k8s.io/"
    capability = csi_pb2.VolumeCapability
    return csi_pb2.NodePublishVolumeRequest(
        volume_id=f"csi-{pod_uid}-{volume}",
        target_path=node.target(pod_uid, volume),
        readonly=True,
        volume_capability=capability(
            mount=capability.MountVolume(),
            access_mode=capability.AccessMode(mode=capability.AccessMode.SINGLE_NODE_WRITER),
        ),
        volume_context={
            "secretProviderClass": class_name,
            prefix + "pod.name": f"pod-{pod_uid}",
            prefix + "pod.namespace": namespace,
            prefix + "pod.uid": pod_uid,
            prefix + "serviceAccount.name": "default",
            prefix + "ephemeral": "true",
            **(context or {}),
        },
    )


def class_object(
    name: str = "app",
    *,
    provider: str = "fake",
    namespace: str = "default",
    parameters: Mapping[str, str] | None = None,
    **spec: object,
) -> dict[str, object]:
    """Return a SecretProviderClass."""
    return {
        "apiVersion": "secrets-store.csi.x-k8s.io/v1",
        "kind": "SecretProviderClass",
        "metadata": {"name": name, "namespace": namespace},
        "spec": {"provider": provider, "parameters": dict(parameters or {"key": "value"}), **spec},
    }
