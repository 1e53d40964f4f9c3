"""CSI Controller: it is there by name and can do nothing."""

from typing import Any

import grpc
import grpc.aio
import pytest

from csi_spec import csi_pb2
from tests.contract.secrets_store.conftest import Driver

METHODS = sorted(
    method.name
    for method in csi_pb2.DESCRIPTOR.services_by_name["Controller"].methods
    if method.name != "ControllerGetCapabilities"
)


async def test_it_has_no_capability(driver: Driver) -> None:
    """Upstream's one of type UNKNOWN is refused by csi-sanity."""
    request = csi_pb2.ControllerGetCapabilitiesRequest()
    answer = await driver.controller.ControllerGetCapabilities(request)
    assert list(answer.capabilities) == []


@pytest.mark.parametrize("method", METHODS)
async def test_every_other_call_is_unimplemented(driver: Driver, method: str) -> None:
    request = getattr(csi_pb2, f"{method}Request")()
    with pytest.raises(grpc.aio.AioRpcError) as failed:
        await getattr(driver.controller, method)(request)
    assert failed.value.code() is grpc.StatusCode.UNIMPLEMENTED
    assert failed.value.details() == f"{method} is not implemented"


@pytest.mark.parametrize(
    "method",
    ["GroupController/GroupControllerGetCapabilities", "SnapshotMetadata/GetMetadataAllocated"],
)
async def test_other_services_are_not_there(driver: Driver, method: str) -> None:
    async with grpc.aio.insecure_channel(f"unix:{driver.node.csi_socket}") as channel:
        call: Any = channel.unary_unary(f"/csi.v1.{method}")
        with pytest.raises(grpc.aio.AioRpcError) as failed:
            await call(b"")
    assert failed.value.code() is grpc.StatusCode.UNIMPLEMENTED
