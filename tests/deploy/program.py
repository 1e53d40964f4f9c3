"""The driver as a manifest starts it: its argument list and environment, on a temporary node."""

import asyncio
import contextlib
import os
import pathlib
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterable, Mapping
from types import TracebackType
from typing import Any, Self

import grpc.aio

from csi_spec import csi_pb2, csi_pb2_grpc
from devkit import stage

READY_S, STOP_S = 30.0, 15.0


def expand(arguments: Iterable[str], environment: Mapping[str, str]) -> list[str]:
    """Replace $(NAME) as kubelet does before it starts a container."""
    return [re.sub(r"\$\((\w+)\)", lambda m: environment[m[1]], arg) for arg in arguments]


def environment(entries: Iterable[Mapping[str, Any]]) -> dict[str, str]:
    """Return a container's environment; the only field in use is the node's name."""
    return {entry["name"]: entry.get("value", stage.NODE) for entry in entries}


def on_node(arguments: Iterable[str], node: stage.Node, metrics_port: int) -> list[str]:
    """Point a manifest's paths and ports at a temporary node on loopback."""
    places = {
        "unix:///csi/csi.sock": f"unix://{node.csi_socket}",
        "/var/run/secrets-store-csi-providers": str(node.providers),
        "/etc/kubernetes/secrets-store-csi-providers": str(node.more_providers),
        ":8095": f"127.0.0.1:{metrics_port}",
    }
    moved = []
    for argument in arguments:
        name, equals, value = argument.partition("=")
        moved.append(f"{name}{equals}{places.get(value, value)}")
    return moved


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as held:
        return int(held.getsockname()[1])


class Program:
    """The driver's program with exactly these arguments; nothing is added to them."""

    def __init__(
        self,
        arguments: Iterable[str],
        variables: Mapping[str, str],
        node: stage.Node,
        kubeconfig: pathlib.Path,
    ) -> None:
        self.metrics_port = free_port()
        self._arguments = [
            *(sys.executable, "-m", "secrets_store"),
            *on_node(expand(arguments, variables), node, self.metrics_port),
        ]
        self._environment = os.environ | dict(variables) | {"KUBECONFIG": str(kubeconfig)}
        self._socket = node.csi_socket
        self.log = node.root / "driver.log"
        self._process: subprocess.Popen[bytes] | None = None

    async def __aenter__(self) -> Self:
        try:
            await self.start()
        except BaseException:
            await self.__aexit__(None, None, None)
            raise
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._process is not None:
            self._process.kill()
            await asyncio.to_thread(self._process.wait)

    async def start(self) -> None:
        """Start it and return when Probe says ready."""
        await self.appear()
        assert await is_ready(self._socket), "the socket is there before it answers"

    async def appear(self) -> None:
        """Start it and return in the moment in which its socket is there."""
        before = None
        with contextlib.suppress(FileNotFoundError):
            before = os.stat(self._socket).st_ino
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(self._arguments, env=self._environment, stderr=log)
        ends_mono = time.monotonic() + READY_S
        while not self._socket.exists() or os.stat(self._socket).st_ino == before:
            assert self._process.poll() is None, self.log.read_text()
            assert time.monotonic() < ends_mono, "not ready in time"
            await asyncio.sleep(0.001)

    async def kill(self) -> None:
        """End it as a crash does."""
        assert self._process is not None
        self._process.kill()
        await asyncio.to_thread(self._process.wait, STOP_S)

    async def stop(self) -> int:
        """Send SIGTERM; return the exit code."""
        assert self._process is not None
        self._process.send_signal(signal.SIGTERM)
        return await asyncio.to_thread(self._process.wait, STOP_S)


async def is_ready(csi_socket: pathlib.Path) -> bool:
    """Ask once, over a new connection, as the livenessprobe sidecar does."""
    if not csi_socket.exists():
        return False
    async with grpc.aio.insecure_channel(
        f"unix:{csi_socket}", options=[("grpc.use_local_subchannel_pool", 1)]
    ) as channel:
        try:
            answer = await csi_pb2_grpc.IdentityStub(channel).Probe(
                csi_pb2.ProbeRequest(), timeout=3.0
            )
        except grpc.aio.AioRpcError:
            return False
    return answer.ready.value or not answer.HasField("ready")
