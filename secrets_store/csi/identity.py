"""CSI Identity: who we are and that we live. Source: CSI spec; sidecars.md for who calls it."""

import grpc
from google.protobuf import wrappers_pb2

from csi_spec import csi_pb2, csi_pb2_grpc
from secrets_store.csi.context import Context


class Identity(csi_pb2_grpc.IdentityServicer):
    """Answers at once, whatever volumes and providers do.

    It claims no controller: this driver has none, and upstream's claim only costs failing cases.

    Args:
        name: Must equal the CSIDriver object's name, or kubelet never calls.
        version: The build's.
    """

    def __init__(self, *, name: str, version: str) -> None:
        self._name, self._version = name, version

    async def GetPluginInfo(
        self,
        request: csi_pb2.GetPluginInfoRequest,
        context: Context,
    ) -> csi_pb2.GetPluginInfoResponse:
        for what, value in (("name", self._name), ("version", self._version)):
            if not value:
                await context.abort(grpc.StatusCode.UNAVAILABLE, f"driver {what} not configured")
        return csi_pb2.GetPluginInfoResponse(name=self._name, vendor_version=self._version)

    async def GetPluginCapabilities(
        self,
        request: csi_pb2.GetPluginCapabilitiesRequest,
        context: Context,
    ) -> csi_pb2.GetPluginCapabilitiesResponse:
        return csi_pb2.GetPluginCapabilitiesResponse()

    async def Probe(self, request: csi_pb2.ProbeRequest, context: Context) -> csi_pb2.ProbeResponse:
        return csi_pb2.ProbeResponse(ready=wrappers_pb2.BoolValue(value=True))
