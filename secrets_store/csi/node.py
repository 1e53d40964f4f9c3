"""CSI Node: from the wire to the procedures and back."""

import grpc

from csi_spec import csi_pb2, csi_pb2_grpc
from secrets_store import errors, metrics
from secrets_store.csi.context import Context
from secrets_store.model import volume
from secrets_store.volumes import health, publish, unpublish

_UNIMPLEMENTED = grpc.StatusCode.UNIMPLEMENTED
_Rpc = csi_pb2.NodeServiceCapability.RPC
_CAPABILITIES = csi_pb2.NodeGetCapabilitiesResponse(
    capabilities=[
        csi_pb2.NodeServiceCapability(rpc=_Rpc(type=kind))
        for kind in (_Rpc.GET_VOLUME_STATS, _Rpc.VOLUME_CONDITION, _Rpc.VOLUME_MOUNT_GROUP)
    ]
)


class Node(csi_pb2_grpc.NodeServicer):
    """What kubelet calls.

    Args:
        node_id: The node's name.
    """

    def __init__(
        self,
        *,
        node_id: str,
        publisher: publish.Publisher,
        unpublisher: unpublish.Unpublisher,
        health: health.Health,
        metrics: metrics.Metrics,
    ) -> None:
        self._node_id, self._publisher, self._unpublisher = node_id, publisher, unpublisher
        self._health, self._metrics = health, metrics

    async def NodePublishVolume(
        self,
        request: csi_pb2.NodePublishVolumeRequest,
        context: Context,
    ) -> csi_pb2.NodePublishVolumeResponse:
        try:
            provider = await self._publisher.publish(
                volume.PublishRequest.from_proto(request), context.time_remaining()
            )
        except errors.DriverError as error:
            self._metrics.publish_failed(error.provider, error.metric_type)
            raise
        except Exception:
            self._metrics.publish_failed("", errors.DriverError.error_type)
            raise
        self._metrics.publish_ok(provider)
        return csi_pb2.NodePublishVolumeResponse()

    async def NodeUnpublishVolume(
        self,
        request: csi_pb2.NodeUnpublishVolumeRequest,
        context: Context,
    ) -> csi_pb2.NodeUnpublishVolumeResponse:
        try:
            await self._unpublisher.unpublish(volume.UnpublishRequest.from_proto(request))
        except Exception:
            self._metrics.unpublish_failed()
            raise
        self._metrics.unpublish_ok()
        return csi_pb2.NodeUnpublishVolumeResponse()

    async def NodeGetVolumeStats(
        self,
        request: csi_pb2.NodeGetVolumeStatsRequest,
        context: Context,
    ) -> csi_pb2.NodeGetVolumeStatsResponse:
        report = await self._health.report(request.volume_id, request.volume_path)
        used = report.usage
        unit = csi_pb2.VolumeUsage
        return csi_pb2.NodeGetVolumeStatsResponse(
            usage=[
                csi_pb2.VolumeUsage(
                    unit=unit.BYTES,
                    total=used.total_bytes,
                    available=used.available_bytes,
                    used=used.total_bytes - used.available_bytes,
                ),
                csi_pb2.VolumeUsage(
                    unit=unit.INODES,
                    total=used.total_inodes,
                    available=used.available_inodes,
                    used=used.total_inodes - used.available_inodes,
                ),
            ],
            volume_condition=csi_pb2.VolumeCondition(
                abnormal=report.abnormal, message=report.message
            ),
        )

    async def NodeGetCapabilities(
        self,
        request: csi_pb2.NodeGetCapabilitiesRequest,
        context: Context,
    ) -> csi_pb2.NodeGetCapabilitiesResponse:
        return _CAPABILITIES

    async def NodeGetInfo(
        self, request: csi_pb2.NodeGetInfoRequest, context: Context
    ) -> csi_pb2.NodeGetInfoResponse:
        return csi_pb2.NodeGetInfoResponse(node_id=self._node_id)

    async def NodeStageVolume(
        self, request: csi_pb2.NodeStageVolumeRequest, context: Context
    ) -> csi_pb2.NodeStageVolumeResponse:
        await context.abort(_UNIMPLEMENTED, "NodeStageVolume is not implemented")

    async def NodeUnstageVolume(
        self,
        request: csi_pb2.NodeUnstageVolumeRequest,
        context: Context,
    ) -> csi_pb2.NodeUnstageVolumeResponse:
        await context.abort(_UNIMPLEMENTED, "NodeUnstageVolume is not implemented")

    async def NodeExpandVolume(
        self,
        request: csi_pb2.NodeExpandVolumeRequest,
        context: Context,
    ) -> csi_pb2.NodeExpandVolumeResponse:
        await context.abort(_UNIMPLEMENTED, "NodeExpandVolume is not implemented")
