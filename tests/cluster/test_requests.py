"""What the driver asks of the API server, counted; silence when nothing changes."""

import asyncio

import pytest
from prometheus_client import generate_latest

from devkit import provider
from tests.cluster import clock as clocks
from tests.cluster import drivers, scene
from tests.cluster.conftest import Start
from tests.cluster.drivers import eventually

pytestmark = pytest.mark.root

HOUR = {"enable_secret_rotation": True, "rotation_poll_interval_s": 3600.0}


async def test_a_first_publish_without_sync_costs_three_requests(
    start: Start, world: scene.Scene
) -> None:
    pod = world.create_pod("web")
    async with start() as driver:
        await driver.watching()
        driver.asked.reset()
        await driver.publish_for(pod)
        assert world.status("web") is not None
        assert driver.asked.count() <= 3


async def test_a_first_publish_with_one_secret_costs_four(start: Start, world: scene.Scene) -> None:
    world.edit_class(secretObjects=scene.SYNCED)
    owner = world.create_replica_set()
    pod = world.create_pod("web", owner)
    async with start() as driver:
        await driver.watching()
        driver.asked.reset()
        await driver.publish_for(pod)
        assert world.secret_value() == b"first"
        assert driver.asked.count() <= 4


async def test_a_republish_costs_nothing(start: Start, world: scene.Scene) -> None:
    world.edit_class(secretObjects=scene.SYNCED)
    pod = world.create_pod("web")
    async with start(**HOUR) as driver:
        await driver.watching()
        await driver.publish_for(pod)
        driver.asked.reset()
        for _ in range(20):
            await driver.publish_for(pod)
        assert driver.asked.count() == 0


async def test_a_due_and_unchanged_refresh_costs_one_read(
    start: Start, world: scene.Scene, clock: clocks.VirtualClock, store: provider.Provider
) -> None:
    world.edit_class(secretObjects=scene.SYNCED)
    owner = world.create_replica_set()
    pod = world.create_pod("web", owner)
    async with start(**HOUR, clock=clock) as driver:
        await driver.watching()
        await driver.publish_for(pod)
        await driver.in_step()
        # The first check reads the Secret that the publish has written without a look.
        await clock.advance(3600.0 * 1.1)
        asked = len(store.calls)
        driver.asked.reset()
        await clock.advance(3600.0 * 1.1)
        assert len(store.calls) == asked + 1
        assert driver.asked.count(drivers.WRITES) == 0
        assert driver.asked.count() <= 1, driver.asked.besides_watches()


async def test_110_idle_volumes_cost_only_watches(
    start: Start, world: scene.Scene, clock: clocks.VirtualClock, store: provider.Provider
) -> None:
    """Ten minutes in which kubelet repeats every publish at its own pace."""
    world.edit_class(secretObjects=scene.SYNCED)
    owner = world.create_replica_set()
    pods = [world.create_pod(f"web-{number}", owner) for number in range(110)]
    async with start(**HOUR, clock=clock) as driver:
        await driver.watching()
        await asyncio.gather(*(driver.publish_for(pod) for pod in pods))
        await driver.in_step()
        driver.asked.reset()
        asked = len(store.calls)
        for _ in range(8):
            await clock.advance(75.0)
            await asyncio.gather(*(driver.publish_for(pod) for pod in pods))
        assert driver.asked.besides_watches() == {}
        assert driver.asked.count(["watch"]) == 0
        assert len(store.calls) == asked


@pytest.mark.timeout(60)
async def test_a_thousand_unchanged_refreshes_write_nothing_and_a_change_once(
    start: Start, world: scene.Scene, clock: clocks.VirtualClock, store: provider.Provider
) -> None:
    """Ten volumes of one workload share a Secret; each has its files and its status object."""
    world.edit_class(secretObjects=scene.SYNCED)
    owner = world.create_replica_set()
    pods = [world.create_pod(f"web-{number}", owner) for number in range(10)]
    async with start(
        enable_secret_rotation=True, rotation_poll_interval_s=60.0, clock=clock
    ) as driver:
        await driver.watching()
        volumes = [await driver.publish_for(pod) for pod in pods]
        await driver.in_step()
        await clock.advance(66.0)
        shown = [(volume / "..data").readlink() for volume in volumes]
        secret = world.secret()
        asked = len(store.calls)
        driver.asked.reset()
        while len(store.calls) < asked + 1000:
            await clock.advance(60.0)
        assert driver.asked.count(drivers.WRITES) == 0
        assert driver.asked.count() <= len(store.calls) - asked
        assert [(volume / "..data").readlink() for volume in volumes] == shown
        assert world.secret() == secret

        store.files = {"password": b"second"}
        driver.asked.reset()
        await clock.advance(132.0)
        assert all((volume / "password").read_bytes() == b"second" for volume in volumes)
        assert world.secret_value() == b"second"
        assert driver.asked.count(["patch"], "secrets") == 1
        assert driver.asked.count(["update"], drivers.STATUSES) == 10
        await eventually(lambda: driver.asked.count(["create"], "events") == 11)
        assert driver.asked.count(drivers.WRITES) == 22
        swapped = [(volume / "..data").readlink() for volume in volumes]
        await clock.advance(600.0)
        assert [(volume / "..data").readlink() for volume in volumes] == swapped
        assert driver.asked.count(drivers.WRITES) == 22


async def test_a_republish_is_counted_with_its_provider(start: Start, world: scene.Scene) -> None:
    """Upstream counts one that does nothing under an empty provider."""
    pod = world.create_pod("web")
    async with start() as driver:
        for _ in range(3):
            await driver.publish_for(pod)
        lines = generate_latest(driver.app.metrics.registry).decode().splitlines()
        counted = [line for line in lines if line.startswith("node_publish_total{")]
        assert len(counted) == 1
        assert 'provider="fake"' in counted[0]
        assert counted[0].endswith(" 3.0")
