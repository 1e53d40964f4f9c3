"""Plugin registration as kubelet does it.

Kubelet watches one directory. For each socket that appears it asks who is there,
checks the answer, asks the driver for its node id and tells the plugin how it went; a
socket that was replaced is a new plugin, one that disappeared is forgotten.
"""

import asyncio
import dataclasses
import pathlib
import stat
from collections.abc import Awaitable, Callable, Mapping

import grpc.aio

from devkit import registration_pb2, registration_pb2_grpc
from devkit.kubelet import node_client

PLUGIN_TYPE = "CSIPlugin"
DIAL_DEADLINE_S = 10.0

Identity = tuple[int, int]
"""Inode number and time: a successor may well get the inode number of its predecessor."""


class RegistrationFailed(Exception):
    """A plugin was refused; the text is what the plugin is told."""


@dataclasses.dataclass(frozen=True, slots=True)
class Plugin:
    """A CSI driver that kubelet may call.

    Attributes:
        endpoint: path of the driver's socket.
        max_volumes: 0 for no limit.
        topology: segments, normally none.
    """

    name: str
    endpoint: str
    node_id: str
    max_volumes: int
    topology: Mapping[str, str]


async def inspect(name: str, endpoint: str) -> Plugin:
    """Ask the driver at `endpoint` for what a CSINode entry needs.

    Raises:
        RegistrationFailed: it does not answer, or not with a usable node id.
    """
    client = node_client.NodeClient(endpoint)
    try:
        info = await client.info()
    except grpc.aio.AioRpcError as error:
        why = f"failed to get node info: {node_client.describe(error)}"
        raise RegistrationFailed(why) from error
    if not info.node_id:
        raise RegistrationFailed("the driver's node id is empty")
    if info.max_volumes_per_node < 0:
        raise RegistrationFailed("the driver's volume limit is negative")
    return Plugin(
        name=name,
        endpoint=endpoint,
        node_id=info.node_id,
        max_volumes=info.max_volumes_per_node,
        topology=dict(info.accessible_topology.segments),
    )


async def inspect_unnamed(endpoint: str) -> Plugin:
    """Ask the driver at `endpoint` for its name as well.

    Raises:
        RegistrationFailed: see `inspect`.
    """
    try:
        name = await node_client.NodeClient(endpoint).name(DIAL_DEADLINE_S)
    except grpc.aio.AioRpcError as error:
        why = f"failed to get the driver's name: {node_client.describe(error)}"
        raise RegistrationFailed(why) from error
    return await inspect(name, endpoint)


async def register(socket_path: str) -> Plugin:
    """Go through the registration with the plugin that serves a registration socket.

    Raises:
        RegistrationFailed: refused; where possible the plugin has been told.
    """
    async with node_client.channel(socket_path) as channel:
        stub = registration_pb2_grpc.RegistrationStub(channel)
        try:
            info = await stub.GetInfo(registration_pb2.InfoRequest(), timeout=DIAL_DEADLINE_S)
        except grpc.aio.AioRpcError as error:
            raise RegistrationFailed(
                f"failed to get plugin info: {node_client.describe(error)}"
            ) from error
        status = registration_pb2.RegistrationStatus(plugin_registered=True)
        plugin = None
        try:
            check_info(info)
            plugin = await inspect(info.name, info.endpoint)
        except RegistrationFailed as error:
            status = registration_pb2.RegistrationStatus(error=str(error))
        try:
            await stub.NotifyRegistrationStatus(status, timeout=DIAL_DEADLINE_S)
        except grpc.aio.AioRpcError as error:
            # The sidecar exits as soon as it is told of a failure, so the reason
            # that counts is the one it was told.
            if plugin is not None:
                raise RegistrationFailed(
                    f"failed to notify the plugin: {node_client.describe(error)}"
                ) from error
    if plugin is None:
        raise RegistrationFailed(status.error)
    return plugin


def check_info(info: registration_pb2.PluginInfo) -> None:
    """Check what a plugin says of itself.

    Raises:
        RegistrationFailed: no CSI plugin, nameless, or of no version we speak.
    """
    if info.type != PLUGIN_TYPE:
        raise RegistrationFailed(f"no handler registered for plugin type: {info.type}")
    if not info.name:
        raise RegistrationFailed("the plugin's name is empty")
    if not info.endpoint:
        raise RegistrationFailed("the plugin's endpoint is empty")
    versions = list(info.supported_versions)
    if not any(version.removeprefix("v").split(".")[0] == "1" for version in versions):
        raise RegistrationFailed(f"none of the versions specified {versions} are supported")


class Watcher:
    """Keeps the registered plugins in step with the sockets of a directory.

    Args:
        directory: kubelet's plugins_registry.
        on_registered: called with each plugin that registered.
        on_gone: called with the name of each whose socket disappeared.
        sleep: waits between two looks.

    Attributes:
        failures: socket path → why its registration failed the last time.
    """

    def __init__(
        self,
        directory: pathlib.Path,
        on_registered: Callable[[Plugin], None],
        on_gone: Callable[[str], None],
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._directory = directory
        self._on_registered = on_registered
        self._on_gone = on_gone
        self._sleep = sleep
        self._known: dict[str, tuple[Identity, str]] = {}
        self.failures: dict[str, str] = {}

    async def look(self) -> None:
        """Register what is new and forget what is gone; once."""
        found = sockets(self._directory)
        for path in [path for path in self._known if path not in found]:
            _, name = self._known.pop(path)
            self._on_gone(name)
        self.failures = {path: why for path, why in self.failures.items() if path in found}
        for path, identity in sorted(found.items()):
            known = self._known.get(path)
            if known is not None and known[0] == identity:
                continue
            try:
                plugin = await register(path)
            except RegistrationFailed as error:
                self.failures[path] = str(error)
                continue
            self.failures.pop(path, None)
            self._known[path] = identity, plugin.name
            self._on_registered(plugin)

    async def run(self, interval_s: float = 1.0) -> None:
        """Look again and again, at the pace of kubelet's own reconciler."""
        while True:
            await self.look()
            await self._sleep(interval_s)


def sockets(directory: pathlib.Path) -> dict[str, Identity]:
    """Find the sockets below a directory, but not hidden ones."""
    found = {}
    for path in directory.rglob("*"):
        if any(part.startswith(".") for part in path.relative_to(directory).parts):
            continue
        try:
            status = path.lstat()
        except FileNotFoundError:
            continue
        if stat.S_ISSOCK(status.st_mode):
            found[str(path)] = status.st_ino, status.st_mtime_ns
    return found
