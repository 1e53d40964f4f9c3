import functools
from typing import Any

import grpc
import pytest

from csi_spec import csi_pb2, csi_pb2_grpc, rpc
from secrets_store.csi import identity


def registered(name: str, version: str) -> list[rpc.Register]:
    servicer = identity.Identity(name=name, version=version)
    return [functools.partial(csi_pb2_grpc.add_IdentityServicer_to_server, servicer)]


async def test_who_we_are(serve: Any) -> None:
    async with serve(registered("secrets-store.csi.k8s.io", "v1.7.0")) as channel:
        stub = csi_pb2_grpc.IdentityStub(channel)

        info = await stub.GetPluginInfo(csi_pb2.GetPluginInfoRequest())
        claimed = await stub.GetPluginCapabilities(csi_pb2.GetPluginCapabilitiesRequest())
        probe = await stub.Probe(csi_pb2.ProbeRequest())

    assert (info.name, info.vendor_version) == ("secrets-store.csi.k8s.io", "v1.7.0")
    assert not claimed.capabilities
    assert probe.ready.value is True


@pytest.mark.parametrize(
    ("name", "version", "told"),
    [
        ("", "v1", "driver name not configured"),
        ("x", "", "driver version not configured"),
        ("", "", "driver name not configured"),
    ],
)
async def test_a_driver_without_a_name_or_version(
    serve: Any, name: str, version: str, told: str
) -> None:
    async with serve(registered(name, version)) as channel:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await csi_pb2_grpc.IdentityStub(channel).GetPluginInfo(csi_pb2.GetPluginInfoRequest())

    assert (caught.value.code(), caught.value.details()) == (grpc.StatusCode.UNAVAILABLE, told)
