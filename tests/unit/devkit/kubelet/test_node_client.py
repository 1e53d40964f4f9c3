"""Calls as kubelet makes them, against a real server."""

import asyncio
import pathlib
from collections.abc import AsyncIterator

import grpc.aio
import pytest

from csi_spec import csi_pb2, provider_pb2, provider_pb2_grpc
from devkit import provider, provider_front
from devkit.kubelet import node_client
from tests.unit.devkit.kubelet import node_driver


class CountingRelay(provider_front.Front):
    """Counts the connections that come in."""

    connections = 0

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        await super()._accept(reader, writer)


@pytest.fixture
async def relay(
    driver: node_driver.NodeDriver, directory: pathlib.Path
) -> AsyncIterator[CountingRelay]:
    """A relay on `<directory>/relay.sock` in front of the driver."""
    counting = CountingRelay(f"{directory}/relay.sock", f"{directory}/csi.sock")
    await counting.start()
    yield counting
    await counting.stop(leave_socket=False)


@pytest.mark.parametrize(("keep_connection", "connections"), [(False, 3), (True, 1)])
async def test_each_call_has_a_connection_of_its_own_unless_one_is_kept(
    driver: node_driver.NodeDriver,
    relay: CountingRelay,
    directory: pathlib.Path,
    keep_connection: bool,
    connections: int,
) -> None:
    driver.capabilities = [csi_pb2.NodeServiceCapability.RPC.VOLUME_MOUNT_GROUP]
    client = node_client.NodeClient(f"{directory}/relay.sock", keep_connection=keep_connection)
    assert await client.name(1) == "secrets-store.csi.k8s.io"
    assert (await client.info()).node_id == "node-1"
    assert await client.capabilities() == {6}
    await client.close()
    assert driver.calls == ["GetPluginInfo", "NodeGetInfo", "NodeGetCapabilities"]
    assert relay.connections == connections


async def test_a_missing_socket_fails_at_once(directory: pathlib.Path) -> None:
    client = node_client.NodeClient(str(directory / "none.sock"))
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await client.info()
    assert caught.value.code() is grpc.StatusCode.UNAVAILABLE


async def test_a_call_has_the_clients_deadline(
    driver: node_driver.NodeDriver, directory: pathlib.Path
) -> None:
    path = str(directory / "csi.sock")
    request = csi_pb2.NodePublishVolumeRequest(target_path=str(directory / "mount"))
    await node_client.NodeClient(path).publish(request)
    await node_client.NodeClient(path, deadline_s=3).publish(request)
    [default_s, own_s] = driver.deadlines_s
    assert default_s is not None
    assert own_s is not None
    # On the wire a deadline is rounded up, to seconds when it is long.
    assert 110 < default_s <= 121
    assert own_s <= 4


async def test_the_authority_is_localhost(directory: pathlib.Path) -> None:
    async with (
        provider.Provider(directory, "strict") as strict,
        node_client.channel(strict.path) as channel,
    ):
        stub = provider_pb2_grpc.CSIDriverProviderStub(channel)
        await stub.Version(provider_pb2.VersionRequest(version="v1alpha1"))
    assert strict.versions_asked == ["v1alpha1"]


@pytest.mark.parametrize(
    ("code", "name"),
    [
        (grpc.StatusCode.OK, "OK"),
        (grpc.StatusCode.CANCELLED, "Canceled"),
        (grpc.StatusCode.UNKNOWN, "Unknown"),
        (grpc.StatusCode.DEADLINE_EXCEEDED, "DeadlineExceeded"),
        (grpc.StatusCode.INVALID_ARGUMENT, "InvalidArgument"),
        (grpc.StatusCode.UNAUTHENTICATED, "Unauthenticated"),
        (grpc.StatusCode.DATA_LOSS, "DataLoss"),
    ],
)
def test_codes_have_their_names_in_go(code: grpc.StatusCode, name: str) -> None:
    assert node_client.code_name(code) == name
