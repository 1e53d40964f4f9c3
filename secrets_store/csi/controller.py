"""CSI Controller: by name only; a volume of a pod is not created, attached or listed."""

import grpc

from csi_spec import csi_pb2, csi_pb2_grpc
from secrets_store.csi.context import Context

_UNIMPLEMENTED = grpc.StatusCode.UNIMPLEMENTED


class Controller(csi_pb2_grpc.ControllerServicer):
    """Says that it can do nothing, and does nothing.

    Upstream lists one capability of type UNKNOWN, which csi-sanity refuses; an empty list is right.
    """

    async def ControllerGetCapabilities(
        self,
        request: csi_pb2.ControllerGetCapabilitiesRequest,
        context: Context,
    ) -> csi_pb2.ControllerGetCapabilitiesResponse:
        return csi_pb2.ControllerGetCapabilitiesResponse()

    async def CreateVolume(
        self, request: csi_pb2.CreateVolumeRequest, context: Context
    ) -> csi_pb2.CreateVolumeResponse:
        await context.abort(_UNIMPLEMENTED, "CreateVolume is not implemented")

    async def DeleteVolume(
        self, request: csi_pb2.DeleteVolumeRequest, context: Context
    ) -> csi_pb2.DeleteVolumeResponse:
        await context.abort(_UNIMPLEMENTED, "DeleteVolume is not implemented")

    async def ControllerPublishVolume(
        self, request: csi_pb2.ControllerPublishVolumeRequest, context: Context
    ) -> csi_pb2.ControllerPublishVolumeResponse:
        await context.abort(_UNIMPLEMENTED, "ControllerPublishVolume is not implemented")

    async def ControllerUnpublishVolume(
        self, request: csi_pb2.ControllerUnpublishVolumeRequest, context: Context
    ) -> csi_pb2.ControllerUnpublishVolumeResponse:
        await context.abort(_UNIMPLEMENTED, "ControllerUnpublishVolume is not implemented")

    async def ValidateVolumeCapabilities(
        self, request: csi_pb2.ValidateVolumeCapabilitiesRequest, context: Context
    ) -> csi_pb2.ValidateVolumeCapabilitiesResponse:
        await context.abort(_UNIMPLEMENTED, "ValidateVolumeCapabilities is not implemented")

    async def ListVolumes(
        self, request: csi_pb2.ListVolumesRequest, context: Context
    ) -> csi_pb2.ListVolumesResponse:
        await context.abort(_UNIMPLEMENTED, "ListVolumes is not implemented")

    async def GetCapacity(
        self, request: csi_pb2.GetCapacityRequest, context: Context
    ) -> csi_pb2.GetCapacityResponse:
        await context.abort(_UNIMPLEMENTED, "GetCapacity is not implemented")

    async def CreateSnapshot(
        self, request: csi_pb2.CreateSnapshotRequest, context: Context
    ) -> csi_pb2.CreateSnapshotResponse:
        await context.abort(_UNIMPLEMENTED, "CreateSnapshot is not implemented")

    async def DeleteSnapshot(
        self, request: csi_pb2.DeleteSnapshotRequest, context: Context
    ) -> csi_pb2.DeleteSnapshotResponse:
        await context.abort(_UNIMPLEMENTED, "DeleteSnapshot is not implemented")

    async def ListSnapshots(
        self, request: csi_pb2.ListSnapshotsRequest, context: Context
    ) -> csi_pb2.ListSnapshotsResponse:
        await context.abort(_UNIMPLEMENTED, "ListSnapshots is not implemented")

    async def GetSnapshot(
        self, request: csi_pb2.GetSnapshotRequest, context: Context
    ) -> csi_pb2.GetSnapshotResponse:
        await context.abort(_UNIMPLEMENTED, "GetSnapshot is not implemented")

    async def ControllerExpandVolume(
        self, request: csi_pb2.ControllerExpandVolumeRequest, context: Context
    ) -> csi_pb2.ControllerExpandVolumeResponse:
        await context.abort(_UNIMPLEMENTED, "ControllerExpandVolume is not implemented")

    async def ControllerGetVolume(
        self, request: csi_pb2.ControllerGetVolumeRequest, context: Context
    ) -> csi_pb2.ControllerGetVolumeResponse:
        await context.abort(_UNIMPLEMENTED, "ControllerGetVolume is not implemented")

    async def ControllerModifyVolume(
        self, request: csi_pb2.ControllerModifyVolumeRequest, context: Context
    ) -> csi_pb2.ControllerModifyVolumeResponse:
        await context.abort(_UNIMPLEMENTED, "ControllerModifyVolume is not implemented")
