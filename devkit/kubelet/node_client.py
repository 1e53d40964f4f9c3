"""Calls to a driver's socket the way kubelet makes them.

Kubelet opens a connection per call and closes it again, sets the authority to
`localhost`, does not wait for a server that is not there, and gives each call two
minutes. Benchmarks may keep the connection to leave its cost out of a figure.
"""

import contextlib
from collections.abc import AsyncIterator

import grpc.aio

from csi_spec import csi_pb2, csi_pb2_grpc

CALL_DEADLINE_S = 120.0

NOT_FINAL = frozenset(
    {
        grpc.StatusCode.CANCELLED,
        grpc.StatusCode.DEADLINE_EXCEEDED,
        grpc.StatusCode.UNAVAILABLE,
        grpc.StatusCode.RESOURCE_EXHAUSTED,
        grpc.StatusCode.ABORTED,
    }
)
"""After these codes kubelet believes that the operation may still be under way."""


def channel(socket_path: str) -> grpc.aio.Channel:
    """Open a connection that is shared with nobody, as a new process would."""
    return grpc.aio.insecure_channel(
        f"unix:{socket_path}",
        options=[
            ("grpc.default_authority", "localhost"),
            ("grpc.use_local_subchannel_pool", 1),
        ],
    )


def describe(error: grpc.aio.AioRpcError) -> str:
    """Write a failed call as Go programs print it, with Go's name of the code."""
    return f"rpc error: code = {code_name(error.code())} desc = {error.details()}"


def code_name(code: grpc.StatusCode) -> str:
    """Give Go's name of a code, such as DeadlineExceeded."""
    names = {grpc.StatusCode.OK: "OK", grpc.StatusCode.CANCELLED: "Canceled"}
    return names.get(code) or code.name.title().replace("_", "")


class NodeClient:
    """One driver's Identity and Node services.

    Args:
        socket_path: the driver's CSI socket.
        deadline_s: for each call.
        keep_connection: reuse one connection until `close`.

    Every method raises grpc.aio.AioRpcError as it comes.
    """

    def __init__(
        self,
        socket_path: str,
        *,
        deadline_s: float = CALL_DEADLINE_S,
        keep_connection: bool = False,
    ) -> None:
        self.socket_path = socket_path
        self._deadline_s = deadline_s
        self._kept = channel(socket_path) if keep_connection else None

    async def name(self, deadline_s: float) -> str:
        """Ask for the driver's name, as the registration sidecar does."""
        async with self._channel() as opened:
            answer = await csi_pb2_grpc.IdentityStub(opened).GetPluginInfo(
                csi_pb2.GetPluginInfoRequest(), timeout=deadline_s
            )
            return answer.name

    async def info(self) -> csi_pb2.NodeGetInfoResponse:
        async with self._channel() as opened:
            return await csi_pb2_grpc.NodeStub(opened).NodeGetInfo(
                csi_pb2.NodeGetInfoRequest(), timeout=self._deadline_s
            )

    async def capabilities(self) -> frozenset[int]:
        """Ask for the types of the node capabilities."""
        async with self._channel() as opened:
            answer = await csi_pb2_grpc.NodeStub(opened).NodeGetCapabilities(
                csi_pb2.NodeGetCapabilitiesRequest(), timeout=self._deadline_s
            )
            return frozenset(each.rpc.type for each in answer.capabilities)

    async def publish(self, request: csi_pb2.NodePublishVolumeRequest) -> None:
        async with self._channel() as opened:
            await csi_pb2_grpc.NodeStub(opened).NodePublishVolume(request, timeout=self._deadline_s)

    async def unpublish(self, volume_id: str, target_path: str) -> None:
        async with self._channel() as opened:
            await csi_pb2_grpc.NodeStub(opened).NodeUnpublishVolume(
                csi_pb2.NodeUnpublishVolumeRequest(volume_id=volume_id, target_path=target_path),
                timeout=self._deadline_s,
            )

    async def close(self) -> None:
        if self._kept is not None:
            await self._kept.close()

    @contextlib.asynccontextmanager
    async def _channel(self) -> AsyncIterator[grpc.aio.Channel]:
        if self._kept is not None:
            yield self._kept
            return
        async with channel(self.socket_path) as opened:
            yield opened
