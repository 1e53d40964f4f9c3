"""kill -9 of the driver at random moments, then kubelet's retry."""

import asyncio
import pathlib
import random

import grpc
import grpc.aio
import pytest

from csi_spec import csi_pb2, csi_pb2_grpc
from devkit import provider, stage
from devkit.apiserver import server
from secrets_store.model import record

ROUNDS, VOLUMES = 12, 20
FILES = {f"dir{i % 3}/file{i}": f"contents {i}".encode() * 200 for i in range(10)}


async def publish(channel: grpc.aio.Channel, node: stage.Node, uid: str) -> bool:
    try:
        await csi_pb2_grpc.NodeStub(channel).NodePublishVolume(
            stage.request(node, uid), timeout=30, wait_for_ready=True
        )
    except grpc.aio.AioRpcError:
        return False
    return True


async def publish_all(node: stage.Node, uids: list[str]) -> list[bool]:
    async with grpc.aio.insecure_channel(f"unix:{node.csi_socket}") as channel:
        return await asyncio.gather(*(publish(channel, node, uid) for uid in uids))


def check(node: stage.Node, uids: list[str]) -> None:
    """Every volume is whole, mounted once, and recorded."""
    mounts = node.mounts()
    assert sorted(mounts) == sorted(node.target(uid) for uid in uids), "mounts stacked or missing"
    for uid in uids:
        root = pathlib.Path(node.target(uid))
        found = {path: (root / path).read_bytes() for path in FILES}
        assert found == FILES
        leftovers = [x.name for x in root.iterdir() if x.name.startswith("..20")]
        assert len(leftovers) == 1
    state = node.csi_socket.parent / "state"
    assert not list(state.glob("*.tmp"))
    records = [record.Record.from_json(x.read_text()) for x in state.glob("*.json")]
    assert sorted(x.target_path for x in records if x) == sorted(node.target(u) for u in uids)


@pytest.mark.root
@pytest.mark.timeout(180)
async def test_killed_publishes_end_complete() -> None:
    with stage.Node("kill") as node, server.APIServer() as api:
        api.create(stage.class_object())
        driver = stage.DriverProcess(
            node, api.kubeconfig(node.root / "kubeconfig", tls=False),
            flags=["--enable-secret-rotation", "--rotation-poll-interval=1h"],
        )  # fmt: skip
        async with provider.Provider(node.providers, "fake", FILES, direct=True):
            all_uids: list[str] = []
            for number in range(ROUNDS):
                await driver.start()
                uids = [f"r{number}v{i}" for i in range(VOLUMES)]
                publishing = asyncio.create_task(publish_all(node, uids))
                # Twenty publishes take about 150 ms here; the kill falls anywhere in them.
                await asyncio.sleep(random.uniform(0.0, 0.2))
                await driver.kill()
                await publishing
                await driver.start()
                assert all(await publish_all(node, uids))
                all_uids += uids
                check(node, all_uids)
                await driver.kill()
            await driver.start()
            async with grpc.aio.insecure_channel(f"unix:{node.csi_socket}") as channel:
                for uid in all_uids:
                    await csi_pb2_grpc.NodeStub(channel).NodeUnpublishVolume(
                        csi_pb2.NodeUnpublishVolumeRequest(
                            volume_id=f"csi-{uid}-secrets", target_path=node.target(uid)
                        )
                    )
            check(node, [])
            assert await driver.stop() == 0
