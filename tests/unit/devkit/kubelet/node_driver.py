"""A small CSI driver for tests of the stand-in kubelet: plain folders instead of mounts."""

import asyncio
import collections
import functools
import os
import shutil
from typing import Any, NoReturn

import grpc.aio

from csi_spec import csi_pb2, csi_pb2_grpc, rpc


def _unserved(*_: object) -> NoReturn:
    raise AssertionError("kubelet does not call this for an inline volume")


UNSERVED: Any = _unserved


class NodeDriver(csi_pb2_grpc.IdentityServicer, csi_pb2_grpc.NodeServicer):
    """Records what it is asked and answers as ordered.

    Attributes:
        publish_codes, unpublish_codes: codes for the next calls; OK lets one through.
        crumb: leave the folder with a file in it when a publish fails.
        hang: publish calls wait for it.
        mounted: targets of published volumes, for `is_mount_point`.
        calls: method names in order.
    """

    def __init__(self, name: str = "secrets-store.csi.k8s.io", node_id: str = "node-1") -> None:
        self.name = name
        self.node_id = node_id
        self.max_volumes = 0
        self.capabilities: list[csi_pb2.NodeServiceCapability.RPC.Type.ValueType] = []
        self.info_code = grpc.StatusCode.OK
        self.capabilities_code = grpc.StatusCode.OK
        self.publish_codes: collections.deque[grpc.StatusCode] = collections.deque()
        self.unpublish_codes: collections.deque[grpc.StatusCode] = collections.deque()
        self.crumb = False
        self.hang: asyncio.Event | None = None
        self.mounted: set[str] = set()
        self.calls: list[str] = []
        self.deadlines_s: list[float | None] = []
        self.published: list[csi_pb2.NodePublishVolumeRequest] = []
        self.unpublished: list[csi_pb2.NodeUnpublishVolumeRequest] = []
        self.arrived = asyncio.Event()

    async def serve(self, path: str) -> rpc.Server:
        return await rpc.serve(
            path,
            [
                functools.partial(csi_pb2_grpc.add_IdentityServicer_to_server, self),
                functools.partial(csi_pb2_grpc.add_NodeServicer_to_server, self),
            ],
        )

    def is_mount_point(self, path: str) -> bool:
        return path in self.mounted

    async def GetPluginInfo(self, request, context):  # type: ignore[no-untyped-def]
        self.calls.append("GetPluginInfo")
        return csi_pb2.GetPluginInfoResponse(name=self.name)

    async def NodeGetInfo(self, request, context):  # type: ignore[no-untyped-def]
        self.calls.append("NodeGetInfo")
        if self.info_code is not grpc.StatusCode.OK:
            await context.abort(self.info_code, "as ordered")
        return csi_pb2.NodeGetInfoResponse(
            node_id=self.node_id, max_volumes_per_node=self.max_volumes
        )

    async def NodeGetCapabilities(self, request, context):  # type: ignore[no-untyped-def]
        self.calls.append("NodeGetCapabilities")
        if self.capabilities_code is not grpc.StatusCode.OK:
            await context.abort(self.capabilities_code, "as ordered")
        answer = csi_pb2.NodeGetCapabilitiesResponse()
        for kind in self.capabilities:
            answer.capabilities.add().rpc.type = kind
        return answer

    async def NodePublishVolume(self, request, context):  # type: ignore[no-untyped-def]
        self.calls.append("NodePublishVolume")
        self.published.append(request)
        self.deadlines_s.append(context.time_remaining())
        self.arrived.set()
        if self.hang is not None:
            await self.hang.wait()
        code = self.publish_codes.popleft() if self.publish_codes else grpc.StatusCode.OK
        if code is not grpc.StatusCode.OK:
            if self.crumb:
                os.mkdir(request.target_path)
                with open(f"{request.target_path}/crumb", "w"):
                    pass
            await context.abort(code, "as ordered")
        os.makedirs(request.target_path, exist_ok=True)
        self.mounted.add(request.target_path)
        return csi_pb2.NodePublishVolumeResponse()

    async def NodeUnpublishVolume(self, request, context):  # type: ignore[no-untyped-def]
        self.calls.append("NodeUnpublishVolume")
        self.unpublished.append(request)
        code = self.unpublish_codes.popleft() if self.unpublish_codes else grpc.StatusCode.OK
        if code is not grpc.StatusCode.OK:
            await context.abort(code, "as ordered")
        self.mounted.discard(request.target_path)
        shutil.rmtree(request.target_path, ignore_errors=True)
        return csi_pb2.NodeUnpublishVolumeResponse()

    Probe = GetPluginCapabilities = UNSERVED
    NodeStageVolume = NodeUnstageVolume = NodeGetVolumeStats = NodeExpandVolume = UNSERVED
