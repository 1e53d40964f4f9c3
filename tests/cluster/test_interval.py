"""When the provider is asked: by the interval and by nothing that kubelet does."""

import itertools
import json
from collections import defaultdict

import pytest

from devkit import provider, provider_request
from tests.cluster import clock as clocks
from tests.cluster import scene
from tests.cluster.conftest import Start

pytestmark = pytest.mark.root

POD = "csi.storage.k8s.io/pod.name"


class Noted:
    """A provider's contents that note when which pod's volume was asked for."""

    def __init__(self, clock: clocks.VirtualClock) -> None:
        self._clock = clock
        self.times: dict[str, list[float]] = defaultdict(list)

    def __call__(self, call: provider_request.MountCall) -> dict[str, provider.Content]:
        self.times[call.attributes[POD]].append(self._clock.mono_s())
        return {"password": b"the same"}

    def gaps(self) -> list[float]:
        """Return the time between two calls of one volume, for all volumes."""
        return [
            later - earlier
            for times in self.times.values()
            for earlier, later in itertools.pairwise(times)
        ]


@pytest.mark.timeout(60)
async def test_an_hour_is_an_hour_however_often_kubelet_repeats(
    start: Start, world: scene.Scene, clock: clocks.VirtualClock, store: provider.Provider
) -> None:
    """Upstream asks at each of these republishes once the first hour is over."""
    store.files = noted = Noted(clock)
    names = ["web-1", "web-2", "web-3"]
    hours = 5
    async with start(
        enable_secret_rotation=True, rotation_poll_interval_s=3600.0, clock=clock
    ) as driver:
        pods = [world.create_pod(name) for name in names]
        await driver.watching()
        for pod in pods:
            await driver.publish_for(pod)
        await driver.in_step()
        for _ in range(hours * 24):
            await clock.advance(150.0)
            for pod in pods:
                await driver.publish_for(pod)
        await clock.settle()
    assert sorted(noted.times) == names
    gaps = noted.gaps()
    assert all(0.9 * 3600 <= gap <= 1.1 * 3600 for gap in gaps)
    # Neither in step with each other nor all alike.
    assert len({round(gap) for gap in gaps}) > len(gaps) / 2
    for times in noted.times.values():
        assert hours / 1.1 <= len(times) <= 1 + hours / 0.9


async def test_ten_seconds_are_honoured_without_kubelet(
    start: Start, world: scene.Scene, clock: clocks.VirtualClock, store: provider.Provider
) -> None:
    store.files = noted = Noted(clock)
    async with start(
        enable_secret_rotation=True, rotation_poll_interval_s=10.0, clock=clock
    ) as driver:
        await driver.watching()
        await driver.publish_for(world.create_pod("web"))
        await driver.in_step()
        await clock.advance(600.0)
    gaps = noted.gaps()
    assert 54 <= len(gaps) <= 67
    assert all(9.0 <= gap <= 11.0 for gap in gaps)


async def test_a_class_has_an_interval_of_its_own(
    start: Start, world: scene.Scene, clock: clocks.VirtualClock, store: provider.Provider
) -> None:
    store.files = noted = Noted(clock)
    world.create_class("often", {scene.INTERVAL: "30s"})
    world.create_class("never", {scene.INTERVAL: "never"})
    async with start(
        enable_secret_rotation=True, rotation_poll_interval_s=3600.0, clock=clock
    ) as driver:
        await driver.publish_for(world.create_pod("one"), class_name="often")
        await driver.publish_for(world.create_pod("two"), class_name="never")
        await driver.publish_for(world.create_pod("three"))
        await driver.in_step()
        await clock.advance(4200.0)
    assert 4200 / 33 - 1 <= len(noted.times["one"]) <= 4200 / 27 + 1
    assert len(noted.times["two"]) == 1
    assert len(noted.times["three"]) == 2


async def test_a_clock_that_is_set_stops_no_refreshing(
    start: Start, world: scene.Scene, clock: clocks.VirtualClock, store: provider.Provider
) -> None:
    store.files = noted = Noted(clock)
    async with start(
        enable_secret_rotation=True, rotation_poll_interval_s=60.0, clock=clock
    ) as driver:
        await driver.watching()
        await driver.publish_for(world.create_pod("web"))
        await driver.in_step()
        for change_s in (-86400.0, 86400.0):
            clock.set_wall(clock.wall_s() + change_s)
            seen = len(noted.times["web"])
            await clock.advance(140.0)
            assert len(noted.times["web"]) >= seen + 2
    assert all(gap <= 66.0 for gap in noted.gaps())


async def test_after_a_restart_the_interval_goes_on_where_it_was(
    start: Start, world: scene.Scene, clock: clocks.VirtualClock, store: provider.Provider
) -> None:
    store.files = noted = Noted(clock)
    hourly = {"enable_secret_rotation": True, "rotation_poll_interval_s": 3600.0}
    async with start(**hourly, clock=clock) as driver:
        await driver.watching()
        await driver.publish_for(world.create_pod("web"))
        await driver.in_step()
        await clock.advance(1800.0)
    for _ in range(3):
        async with start(**hourly, clock=clock) as driver:
            await driver.watching()
            await clock.advance(300.0)
    assert len(noted.times["web"]) == 1
    async with start(**hourly, clock=clock) as driver:
        await driver.watching()
        await clock.advance(1260.0)
    (gap,) = noted.gaps()
    assert 0.9 * 3600 <= gap <= 1.1 * 3600


async def test_tokens_that_end_before_the_next_check_wait_for_fresh_ones(
    start: Start, world: scene.Scene, clock: clocks.VirtualClock, store: provider.Provider
) -> None:
    """What kubelet hands over with a republish is what the next check speaks with."""
    store.required_audiences = ["kms"]

    def context(number: int, lifetime_s: float) -> dict[str, str]:
        ends = scene.timestamp(clock.wall_s() + lifetime_s)
        tokens = {"kms": {"token": f"token-{number}", "expirationTimestamp": ends}}
        return {"csi.storage.k8s.io/serviceAccount.tokens": json.dumps(tokens)}

    async with start(
        enable_secret_rotation=True, rotation_poll_interval_s=600.0, clock=clock
    ) as driver:
        pod = world.create_pod("web")
        await driver.publish_for(pod, context=context(1, 300.0))
        await driver.in_step()
        await clock.advance(700.0)
        assert len(store.calls) == 1
        await driver.publish_for(pod, context=context(2, 3600.0))
        await clock.settle()
        assert len(store.calls) == 2
        assert store.calls[1].tokens["kms"]["token"] == "token-2"
        await clock.advance(660.0)
        assert len(store.calls) == 3
