"""What the node service counts; the rest of it: tests/contract/secrets_store/csi/test_node.py."""

import functools
from typing import Any

import grpc.aio
import pytest

from csi_spec import csi_pb2, csi_pb2_grpc, rpc
from secrets_store import metrics
from secrets_store.csi import node

PUBLISH = csi_pb2.NodePublishVolumeRequest(
    volume_id="v",
    target_path="/t/mount",
    volume_capability=csi_pb2.VolumeCapability(mount=csi_pb2.VolumeCapability.MountVolume()),
    volume_context={"providerName": "mock_provider"},
)
UNPUBLISH = csi_pb2.NodeUnpublishVolumeRequest(volume_id="v", target_path="/t/mount")


class Broken:
    """Fails in a way that nobody has foreseen."""

    async def publish(self, *_: object) -> str:
        raise LookupError("of whatever")

    async def unpublish(self, *_: object) -> None:
        raise LookupError("of whatever")


async def test_failures_that_nobody_has_foreseen_are_counted_too(serve: Any) -> None:
    counted, broken = metrics.Metrics(), Broken()
    servicer = node.Node(
        node_id="n", publisher=broken, unpublisher=broken, health=broken, metrics=counted
    )  # type: ignore[arg-type]
    register: list[rpc.Register] = [
        functools.partial(csi_pb2_grpc.add_NodeServicer_to_server, servicer)
    ]
    async with serve(register) as channel:
        stub = csi_pb2_grpc.NodeStub(channel)
        for call in (stub.NodePublishVolume(PUBLISH), stub.NodeUnpublishVolume(UNPUBLISH)):
            with pytest.raises(grpc.aio.AioRpcError, match="internal error: LookupError"):
                await call

    def total(name: str) -> float:
        families = counted.registry.collect()
        return sum(x.value for family in families for x in family.samples if x.name == name)

    assert total("node_publish_error_total") == 1
    assert total("node_unpublish_error_total") == 1
