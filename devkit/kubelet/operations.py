"""One attempt at setting a pod volume up or tearing it down.

What a failed attempt leaves behind follows its gRPC code. After a final one the mount
directory is removed, unless something is mounted there, and nothing will be unmounted
when the pod goes; after any other the volume counts as perhaps mounted. Callers see
to it that a volume has one operation at a time.
"""

import asyncio
import dataclasses
import enum
import pathlib
import time
from collections.abc import Mapping

import grpc.aio

from devkit.kubelet import node_client, objects, plugins, pod_dirs, request, tokens

SET_UP = "MountVolume.SetUp"
TEAR_DOWN = "UnmountVolume.TearDown"


class VolumeFailed(Exception):
    """An attempt failed; the text is that of kubelet's event.

    Attributes:
        code: gRPC code of the driver's answer; None when it did not come to an answer.
        details: the driver's words, or why there was no call.
        final: whether kubelet takes the operation for ended.
    """

    def __init__(
        self,
        operation: str,
        volume_name: str,
        reason: str = "",
        error: grpc.aio.AioRpcError | None = None,
    ) -> None:
        """Describe the failure.

        Args:
            operation: SET_UP or TEAR_DOWN.
            volume_name: as in the pod's spec.
            reason: why there was no call, or a prefix to the call's error.
            error: of the call that ends an operation with its code.
        """
        self.code = None if error is None else error.code()
        self.details = reason if error is None else error.details() or ""
        self.final = self.code is not None and self.code not in node_client.NOT_FINAL
        described = reason if error is None else reason + node_client.describe(error)
        super().__init__(f'{operation} failed for volume "{volume_name}" : {described}')


class State(enum.Enum):
    """What kubelet believes of a volume that it would have to unmount."""

    UNCERTAIN = "uncertain"
    MOUNTED = "mounted"


@dataclasses.dataclass(slots=True, eq=False)
class PodVolume:
    """A volume that kubelet has begun with; `state` None means that nothing is there."""

    pod: objects.Pod
    volume: objects.Volume
    state: State | None = None
    busy: asyncio.Lock = dataclasses.field(default_factory=asyncio.Lock)


class Operations:
    """Makes attempts, with what they need from the node.

    Args:
        node_name: goes into vol_data.json.
        drivers: the cluster's CSIDriver objects by name.
        registered: the registered plugins by name; read at each attempt.
        dirs: the node's pod directories.
        cache: where service account tokens come from.
        deadline_s: for each call to a driver.
        keep_connection: keep one connection to each driver.
        removes_after_failed_republish: see `agent.Kubelet`.

    Attributes:
        problems: what kubelet would log as an error about its own directories.
    """

    def __init__(
        self,
        node_name: str,
        drivers: Mapping[str, objects.CsiDriver],
        registered: Mapping[str, plugins.Plugin],
        dirs: pod_dirs.PodDirs,
        cache: tokens.Cache,
        *,
        deadline_s: float,
        keep_connection: bool,
        removes_after_failed_republish: bool,
    ) -> None:
        self.problems: list[str] = []
        self._node_name = node_name
        self._drivers = drivers
        self._registered = registered
        self._dirs = dirs
        self._tokens = cache
        self._deadline_s = deadline_s
        self._keep_connection = keep_connection
        self._removes_after_failed_republish = removes_after_failed_republish
        self._clients: dict[str, node_client.NodeClient] = {}

    async def close(self) -> None:
        """Close kept connections."""
        for client in self._clients.values():
            await client.close()
        self._clients.clear()

    async def set_up(self, known: PodVolume) -> float:
        """Publish a volume, for the first time or again.

        Returns:
            Duration of the NodePublishVolume call alone, in seconds.

        Raises:
            VolumeFailed: it failed; the state and the directories are adjusted.
        """
        pod, volume = known.pod, known.volume
        driver = self._drivers.get(volume.driver)
        if driver is None:
            raise VolumeFailed(SET_UP, volume.name, f"no CSIDriver object {volume.driver}")
        client = self._client(volume.driver, SET_UP, volume.name)
        sent = request.publish(
            pod,
            volume,
            str(self.target(known)),
            driver=driver,
            capabilities=await self._capabilities(client, volume),
            tokens=await self._encoded_tokens(pod, volume, driver),
        )
        self._dirs.make(pod.uid, self._data(volume, sent.volume_id))
        started = time.perf_counter()
        try:
            await client.publish(sent)
        except grpc.aio.AioRpcError as error:
            failed = VolumeFailed(SET_UP, volume.name, error=error)
            self._after_failure(known, failed)
            raise failed from error
        known.state = State.MOUNTED
        return time.perf_counter() - started

    async def tear_down(self, known: PodVolume) -> None:
        """Unpublish a volume and remove its directory.

        Raises:
            VolumeFailed: it failed; everything stays as it is.
        """
        name = known.volume.name
        try:
            data = self._dirs.read(known.pod.uid, name)
        except FileNotFoundError as error:
            raise VolumeFailed(TEAR_DOWN, name, "vol_data.json is gone") from error
        client = self._client(data.driver, TEAR_DOWN, name)
        try:
            await client.unpublish(data.volume_id, str(self.target(known)))
        except grpc.aio.AioRpcError as error:
            raise VolumeFailed(TEAR_DOWN, name, error=error) from error
        known.state = None
        self._remove_directory(known)

    def target(self, known: PodVolume) -> pathlib.Path:
        """Say where the driver is told to mount a volume."""
        return self._dirs.target(known.pod.uid, known.volume.name)

    def _client(self, driver_name: str, operation: str, volume_name: str) -> node_client.NodeClient:
        plugin = self._registered.get(driver_name)
        if plugin is None:
            why = f"driver name {driver_name} not found in the list of registered CSI drivers"
            raise VolumeFailed(operation, volume_name, why)
        client = self._clients.get(plugin.endpoint)
        if client is None:
            client = self._clients[plugin.endpoint] = node_client.NodeClient(
                plugin.endpoint,
                deadline_s=self._deadline_s,
                keep_connection=self._keep_connection,
            )
        return client

    async def _capabilities(
        self, client: node_client.NodeClient, volume: objects.Volume
    ) -> frozenset[int]:
        try:
            # Kubelet asks twice: once for the group, once for the access mode.
            return await client.capabilities() | await client.capabilities()
        except grpc.aio.AioRpcError as error:
            # A failure here begins nothing and ends nothing, so it has no code of its own.
            why = f"failed to determine node capabilities: {node_client.describe(error)}"
            raise VolumeFailed(SET_UP, volume.name, why) from error

    async def _encoded_tokens(
        self, pod: objects.Pod, volume: objects.Volume, driver: objects.CsiDriver
    ) -> str | None:
        try:
            return await self._tokens.encoded(pod, driver.token_requests)
        except tokens.MintFailed as error:
            why = f"failed to get service account tokens: {error}"
            raise VolumeFailed(SET_UP, volume.name, why) from error

    def _after_failure(self, known: PodVolume, failed: VolumeFailed) -> None:
        was_mounted = known.state is State.MOUNTED
        if not failed.final:
            known.state = known.state or State.UNCERTAIN
        elif not was_mounted:
            known.state = None
            self._remove_directory(known)
        elif self._removes_after_failed_republish:
            self._remove_directory(known)

    def _remove_directory(self, known: PodVolume) -> None:
        try:
            self._dirs.remove_volume(known.pod.uid, known.volume.name)
        except OSError as error:
            self.problems.append(f"failed to remove the mount directory: {error}")

    def _data(self, volume: objects.Volume, volume_id: str) -> pod_dirs.VolumeData:
        return pod_dirs.VolumeData(
            volume_name=volume.name,
            volume_id=volume_id,
            driver=volume.driver,
            node_name=self._node_name,
            attachment_id=request.attachment_id(volume_id, volume.driver, self._node_name),
        )
