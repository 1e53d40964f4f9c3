import functools
from typing import Any

import grpc
import pytest

from csi_spec import csi_pb2, csi_pb2_grpc
from secrets_store.csi import controller

METHODS = csi_pb2.DESCRIPTOR.services_by_name["Controller"].methods
REGISTER = [
    functools.partial(csi_pb2_grpc.add_ControllerServicer_to_server, controller.Controller())
]


async def test_it_can_do_nothing(serve: Any) -> None:
    async with serve(REGISTER) as channel:
        stub = csi_pb2_grpc.ControllerStub(channel)
        claimed = await stub.ControllerGetCapabilities(csi_pb2.ControllerGetCapabilitiesRequest())

    assert not claimed.capabilities


@pytest.mark.parametrize(
    "method", [method.name for method in METHODS if method.name != "ControllerGetCapabilities"]
)
async def test_and_says_so(serve: Any, method: str) -> None:
    request = getattr(csi_pb2, f"{method}Request")()

    async with serve(REGISTER) as channel:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await getattr(csi_pb2_grpc.ControllerStub(channel), method)(request)

    assert caught.value.code() is grpc.StatusCode.UNIMPLEMENTED
    assert caught.value.details() == f"{method} is not implemented"
