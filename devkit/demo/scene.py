"""Everything that runs in the demo: started in order, ended in reverse, nothing left behind."""

import asyncio
import contextlib
import pathlib
import sys
import time
from collections.abc import Coroutine, Iterator
from typing import Any

from devkit import stage
from devkit.apiserver import client
from devkit.demo import cluster, pods, processes, world
from devkit.kubelet import agent, objects

API_SERVER, KMS, PROVIDER, DRIVER = "apiserver", "kms", "provider", "driver"
_PLAIN = (sys.executable, "-m", "devkit.plain")
REFRESH_EVERY = "1s"
_TITLES = {
    API_SERVER: "API server stand-in",
    KMS: "KMS stand-in",
    PROVIDER: "KMS provider",
    DRIVER: "driver",
}
_AUTHORITY, _REVIEWER = "ca.pem", "reviewer-token"
_TAIL_LINES = 12


class Scene:
    """One node with all that it needs.

    Attributes:
        node: the node's directories.
        mounts: False if volumes are plain folders.
        seed: the KMS's seed file.
        kubeconfig: the administrator's.
        api: the API server.
        pods: what kubelet does with pods.
        places: part → where it serves.
        pids: part → process id.
        ready_s: part → seconds from its start until it was ready.
        provider_version: what the provider says it is.
        driver_name: as it has registered with kubelet.
    """

    api: cluster.Cluster
    pods: pods.Pods

    def __init__(self, node: stage.Node, *, mounts: bool) -> None:
        self.node, self.mounts = node, mounts
        self.seed = node.root / "kms.yaml"
        self.kubeconfig = node.root / "kubeconfig"
        self.places: dict[str, str] = {}
        self.pids: dict[str, int] = {}
        self.ready_s: dict[str, float] = {}
        self.provider_version = self.driver_name = ""
        self._logs = node.root / "logs"
        self._logs.mkdir()

    def records(self) -> list[str]:
        """Return the names of the driver's records; there is one for each volume."""
        directory = self.node.csi_socket.parent / "state"
        return sorted(path.name for path in directory.glob("*.json"))

    def table(self) -> list[tuple[str, str, str, str]]:
        """Return a line for each part: what it is, its process, when it was ready, its place."""
        return [
            (
                title,
                f"pid {self.pids[part]}",
                f"ready in {self.ready_s[part]:.2f} s",
                self.places[part].replace(f"{self.node.root}/", "…/"),
            )
            for part, title in _TITLES.items()
        ]

    def log(self, part: str) -> pathlib.Path:
        """Return the file with what a part logs."""
        return self._logs / f"{part}.log"

    def tail(self, part: str) -> list[str]:
        """Return the last lines that a part has logged."""
        try:
            return self.log(part).read_text(errors="replace").splitlines()[-_TAIL_LINES:]
        except FileNotFoundError:
            return []

    async def start(self, ending: contextlib.AsyncExitStack) -> None:
        """Start everything; it is ended with `ending`, in reverse.

        Raises: processes.NotReady, stage.DriverEnded.
        """
        await self._start_api_server(ending)
        await _together(self._start_kms_and_provider(ending), self._start_driver(ending))

    async def during(self, story: Coroutine[Any, Any, None]) -> None:
        """Let kubelet work while a story is told; the first of them to end ends all.

        Raises: what the story, or kubelet's work, raises. checks.Failed: a process has ended.
        """
        works = (
            story,
            self.pods.run(),
            self._kubelet.run_republishing(),
            processes.watch(self.pids),
        )
        tasks = {asyncio.create_task(work) for work in works}
        try:
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()
        finally:
            await _cancelled(tasks)

    async def _start_api_server(self, ending: contextlib.AsyncExitStack) -> None:
        """Start the API server and make what a cluster has before any pod comes."""
        child = self._child(
            API_SERVER, "devkit.apiserver", "--collect-garbage", f"--kubeconfig={self.kubeconfig}"
        )
        ending.push_async_callback(child.stop)
        with self._timed(API_SERVER):
            ready = await child.start_and_read()
        self.pids[API_SERVER], self.places[API_SERVER] = child.pid, ready["tlsUrl"]
        self._keep(_AUTHORITY, ready["caData"])
        self._keep(_REVIEWER, ready["token"])
        authority = ready["caData"].encode()
        self.api = cluster.Cluster(client.Client(ready["tlsUrl"], ready["token"], authority))
        ending.callback(self.api.close)
        for obj in (world.node(stage.NODE), world.csi_driver(), world.service_account()):
            await self.api.create(obj)

    async def _start_kms_and_provider(self, ending: contextlib.AsyncExitStack) -> None:
        """Start the KMS, for which the API server reviews pod tokens, and the real provider."""
        child = self._child(
            KMS,
            "devkit.kms",
            f"--seed={self.seed}",
            f"--kubernetes-host={self.places[API_SERVER]}",
            f"--kubernetes-ca={self.node.root / _AUTHORITY}",
            f"--kubernetes-token-file={self.node.root / _REVIEWER}",
            "--log-requests",
        )
        ending.push_async_callback(child.stop)
        with self._timed(KMS):
            ready = await child.start_and_read()
        self.pids[KMS], self.places[KMS] = child.pid, ready["url"]
        socket = self.node.providers / "kms.sock"
        child = self._child(
            PROVIDER,
            "provider_kms",
            f"-endpoint={socket}",
            f"-kms-url={self.places[KMS]}",
            "-health-port=127.0.0.1:0",
        )
        ending.push_async_callback(child.stop)
        with self._timed(PROVIDER):
            self.provider_version = await child.start_and_ask(socket)
        self.pids[PROVIDER], self.places[PROVIDER] = child.pid, str(socket)

    async def _start_driver(self, ending: contextlib.AsyncExitStack) -> None:
        """Start the real driver and register it with kubelet."""
        driver = stage.DriverProcess(
            self.node,
            self.kubeconfig,
            command=stage.OURS if self.mounts else _PLAIN,
            flags=("--enable-secret-rotation", f"--rotation-poll-interval={REFRESH_EVERY}"),
            log=self.log(DRIVER),
        )
        try:
            with processes.spared_from_ctrl_c():
                self.ready_s[DRIVER] = await driver.start()
        finally:
            ending.push_async_callback(driver.stop)
        self.pids[DRIVER], self.places[DRIVER] = driver.pid, str(self.node.csi_socket)
        self._kubelet = agent.Kubelet(
            self.node.kubelet,
            stage.NODE,
            (objects.CsiDriver.from_dict(world.csi_driver()),),
            mint=self.api.mint,
        )
        ending.push_async_callback(self._kubelet.close)
        plugin = await self._kubelet.register(str(self.node.csi_socket))
        self.driver_name = plugin.name
        self.pods = pods.Pods(stage.NODE, self.api, self._kubelet)
        ending.push_async_callback(self.pods.tear_down)

    def _child(self, part: str, *arguments: str) -> processes.Child:
        return processes.Child(part, *arguments, log=self.log(part))

    def _keep(self, name: str, text: str) -> None:
        path = self.node.root / name
        path.touch(0o600)
        path.write_text(text)

    @contextlib.contextmanager
    def _timed(self, part: str) -> Iterator[None]:
        started = time.monotonic()
        yield
        self.ready_s[part] = time.monotonic() - started


async def _together(*works: Coroutine[Any, Any, None]) -> None:
    """Do several things at once; the first failure ends the others before it is raised."""
    tasks = {asyncio.create_task(work) for work in works}
    try:
        await asyncio.gather(*tasks)
    finally:
        await _cancelled(tasks)


async def _cancelled(tasks: set[asyncio.Task[None]]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
