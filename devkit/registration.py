"""A stand-in for the node-driver-registrar sidecar.

It asks the driver for its name and then answers kubelet on a socket in kubelet's
plugin directory. The real sidecar exits when kubelet reports a failure; here
`outcome` raises.
"""

import asyncio
import functools
import os

import grpc.aio

from csi_spec import rpc
from devkit import registration_pb2, registration_pb2_grpc
from devkit.kubelet import node_client, plugins

NAME_DEADLINE_S = 1.0
"""The sidecar's default for its one call to the driver."""


class Registrar(registration_pb2_grpc.RegistrationServicer):
    """Registers one driver.

    Args:
        csi_socket: where to ask the driver for its name.
        directory: kubelet's plugins_registry, which must exist.
        kubelet_path: the driver's socket as kubelet sees it; None if it is the same.
        versions: what to tell about supported versions.
        plugin_type: what to tell about the kind of plugin.
    """

    def __init__(
        self,
        csi_socket: str,
        directory: str | os.PathLike[str],
        kubelet_path: str | None = None,
        *,
        versions: tuple[str, ...] = ("1.0.0",),
        plugin_type: str = plugins.PLUGIN_TYPE,
    ) -> None:
        self._csi_socket = csi_socket
        self._directory = os.fspath(directory)
        self._kubelet_path = csi_socket if kubelet_path is None else kubelet_path
        self._versions = versions
        self._type = plugin_type
        self._name = ""
        self._server: rpc.Server | None = None
        self._told = asyncio.Event()
        self._error = ""

    async def start(self) -> None:
        """Ask for the name and appear in the plugin directory.

        Raises:
            grpc.aio.AioRpcError: the driver did not answer within a second.
        """
        client = node_client.NodeClient(self._csi_socket)
        self._name = await client.name(NAME_DEADLINE_S)
        path = os.path.join(self._directory, f"{self._name}-reg.sock")
        self._server = await rpc.serve(
            path,
            [functools.partial(registration_pb2_grpc.add_RegistrationServicer_to_server, self)],
        )

    async def stop(self) -> None:
        if self._server is not None:
            await self._server.stop(0)
            self._server = None

    async def outcome(self) -> None:
        """Wait for kubelet's verdict.

        Raises:
            plugins.RegistrationFailed: it was bad, with kubelet's words.
        """
        await self._told.wait()
        if self._error:
            raise plugins.RegistrationFailed(self._error)

    async def GetInfo(
        self,
        request: registration_pb2.InfoRequest,
        context: grpc.aio.ServicerContext[
            registration_pb2.InfoRequest, registration_pb2.PluginInfo
        ],
    ) -> registration_pb2.PluginInfo:
        return registration_pb2.PluginInfo(
            type=self._type,
            name=self._name,
            endpoint=self._kubelet_path,
            supported_versions=self._versions,
        )

    async def NotifyRegistrationStatus(
        self,
        request: registration_pb2.RegistrationStatus,
        context: grpc.aio.ServicerContext[
            registration_pb2.RegistrationStatus, registration_pb2.RegistrationStatusResponse
        ],
    ) -> registration_pb2.RegistrationStatusResponse:
        self._error = "" if request.plugin_registered else request.error or "no reason given"
        self._told.set()
        return registration_pb2.RegistrationStatusResponse()
