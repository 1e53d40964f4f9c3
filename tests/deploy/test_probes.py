"""The livenessprobe sidecar's calls while the driver has its hands full."""

import asyncio
import itertools
import time
from collections.abc import AsyncIterator, Iterator

import grpc.aio
import pytest

from csi_spec import csi_pb2_grpc
from devkit import provider, stage
from devkit.apiserver import server
from tests.deploy import manifests, program

pytestmark = [pytest.mark.root, pytest.mark.timeout(120)]

VOLUMES, LATE_S, EVERY_S = 110, 1.0, 0.2
OURS = manifests.containers(manifests.one(manifests.folder(), "DaemonSet", manifests.DRIVER))[
    "secrets-store"
]
FILES = {f"file{i}": bytes(4096) for i in range(5)}


@pytest.fixture
def node() -> Iterator[stage.Node]:
    with stage.Node("pr") as made:
        yield made


@pytest.fixture
async def driver(node: stage.Node) -> AsyncIterator[program.Program]:
    with server.APIServer() as api:
        api.create(stage.class_object())
        kubeconfig = api.kubeconfig(node.root / "kubeconfig")
        variables = program.environment(OURS["env"])
        async with program.Program(OURS["args"], variables, node, kubeconfig) as started:
            yield started


class Prober:
    """Asks over a new connection each time, five times as often as it must be answered."""

    def __init__(self, node: stage.Node) -> None:
        self._node = node
        self.took_s: list[float] = []
        self.failed = 0

    async def run(self) -> None:
        for number in itertools.count():
            started = time.monotonic()
            if not await program.is_ready(self._node.csi_socket):
                self.failed += 1
            self.took_s.append(time.monotonic() - started)
            await asyncio.sleep(max(0.0, EVERY_S - self.took_s[number]))


async def storm(node: stage.Node) -> float:
    """Publish all volumes at once; return the seconds it took."""
    started = time.monotonic()
    async with grpc.aio.insecure_channel(f"unix:{node.csi_socket}") as channel:
        stub = csi_pb2_grpc.NodeStub(channel)
        await asyncio.gather(
            *(
                stub.NodePublishVolume(stage.request(node, f"pod{i}"), timeout=60)
                for i in range(VOLUMES)
            )
        )
    return time.monotonic() - started


async def probed(node: stage.Node, work: asyncio.Task[float]) -> Prober:
    prober = Prober(node)
    probing = asyncio.create_task(prober.run())
    await work
    # One more after the storm, and at least one whole second of them.
    await asyncio.sleep(1.0)
    probing.cancel()
    return prober


@pytest.mark.parametrize("delay_s", [0.0, 2.0], ids=["fast provider", "slow provider"])
async def test_none_is_late_in_a_storm(
    node: stage.Node, driver: program.Program, delay_s: float
) -> None:
    async with provider.Provider(node.providers, "fake", FILES, direct=True) as store:
        store.faults.delay_s = delay_s
        prober = await probed(node, asyncio.create_task(storm(node)))
    assert len(node.mounts()) == VOLUMES
    assert prober.failed == 0
    assert len(prober.took_s) >= 4
    assert max(prober.took_s) < LATE_S
    assert await driver.stop() == 0


async def test_none_is_late_behind_a_provider_that_hangs(
    node: stage.Node, driver: program.Program
) -> None:
    async with provider.Provider(node.providers, "fake", FILES, direct=True) as store:
        store.faults.hang = asyncio.Event()
        storming = asyncio.create_task(storm(node))
        await store.wait_attempts(VOLUMES)
        prober = Prober(node)
        probing = asyncio.create_task(prober.run())
        await asyncio.sleep(1.5)
        assert not storming.done()
        store.faults.hang.set()
        await storming
        probing.cancel()
    assert prober.failed == 0
    assert len(prober.took_s) >= 5
    assert max(prober.took_s) < LATE_S
