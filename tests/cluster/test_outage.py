"""The API server away, or refusing: what needs no news goes on, and all catches up by itself.

The driver lives through five minutes on its virtual clock. Its API client and its watches live in
real time, for which the outage lasts as long as the requests of one round take to be given up:
some ten seconds.
"""

import asyncio
import pathlib
import urllib.parse
from collections.abc import AsyncIterator, Callable, Sequence
from functools import partial

import grpc
import grpc.aio
import pytest

from devkit import provider
from devkit.apiserver import faults
from tests.cluster import clock as clocks
from tests.cluster import drivers, relay, scene
from tests.cluster.conftest import Start
from tests.cluster.drivers import eventually

pytestmark = [pytest.mark.root, pytest.mark.timeout(90)]

ROTATING = {"enable_secret_rotation": True, "rotation_poll_interval_s": 60.0}
GIVEN_UP_S = 20.0
"""Of the three requests of a publish each is given up after its own seconds, 8 in all."""
WATCHES_BACK_S = 40.0
"""A watch that goes on failing looks again within 30 s; after ten seconds mostly within eight."""


@pytest.fixture
async def link(world: scene.Scene) -> AsyncIterator[relay.Relay]:
    """The driver's way to the API server."""
    port = urllib.parse.urlsplit(world.api.url).port
    assert port is not None
    async with relay.Relay(port) as made:
        yield made


def _all_show(volumes: Sequence[pathlib.Path], contents: bytes) -> bool:
    return all((volume / "password").read_bytes() == contents for volume in volumes)


def _hit(fault: faults.Fault) -> int:
    return fault.hits


async def catch_up(clock: clocks.VirtualClock, check: Callable[[], object]) -> None:
    """Let half a minute pass after the other until a check is true; at most twenty minutes."""
    for _ in range(40):
        await clock.skip(30.0)
        # What that sets off needs a moment of real time.
        for _ in range(20):
            if check():
                return
            await asyncio.sleep(0.02)
    raise AssertionError("did not catch up")


def url(link: relay.Relay) -> str:
    return f"https://127.0.0.1:{link.port}"


async def patient_publish(driver: drivers.Driver, pod: scene.Json, class_name: str) -> None:
    """Publish as kubelet does, which repeats what may succeed later."""
    while True:
        try:
            await driver.publish_for(pod, class_name=class_name)
        except grpc.aio.AioRpcError as error:
            if error.code() is not grpc.StatusCode.UNAVAILABLE:
                raise
            await asyncio.sleep(0.5)
        else:
            return


@pytest.mark.parametrize("way", ["refusing", "silent"])
async def test_five_minutes_away(
    start: Start,
    world: scene.Scene,
    clock: clocks.VirtualClock,
    store: provider.Provider,
    link: relay.Relay,
    way: str,
) -> None:
    world.edit_class(secretObjects=scene.SYNCED)
    world.create_class("other", parameters={"key": "of the other"})
    owner = world.create_replica_set()
    running = [world.create_pod(f"runs-{n}", owner) for n in range(2)]
    coming = [world.create_pod(f"comes-{n}", owner) for n in range(2)]
    waits = world.create_pod("waits")
    async with start(**ROTATING, clock=clock, server=url(link)) as driver, clock.flowing():
        await driver.watching()
        volumes = [await driver.publish_for(pod) for pod in running]
        await driver.in_step()

        if way == "refusing":
            await link.refuse()
        else:
            link.silence()
        store.files = {"password": b"second"}
        waiting = asyncio.create_task(patient_publish(driver, waits, "other"))
        await clock.skip(100.0)
        first_mounts = [asyncio.create_task(driver.publish_for(pod)) for pod in coming]
        # Files need nobody but the provider.
        await eventually(partial(_all_show, volumes, b"second"), GIVEN_UP_S)
        volumes += await asyncio.wait_for(asyncio.gather(*first_mounts), GIVEN_UP_S)
        assert _all_show(volumes, b"second")
        await driver.unpublish(running[0]["metadata"]["uid"])
        assert not waiting.done()
        await clock.skip(100.0)
        assert world.secret_value() == b"first"
        assert world.status("comes-0") is None
        store.files = {"password": b"third"}
        await clock.skip(70.0)
        await eventually(partial(_all_show, volumes[1:], b"third"), GIVEN_UP_S)

        await link.resume()
        await asyncio.wait_for(waiting, WATCHES_BACK_S)
        await driver.watching(WATCHES_BACK_S)
        await catch_up(clock, lambda: world.secret_value() == b"third")
        for pod in (*coming, waits):
            name = pod["metadata"]["name"]
            class_name = "other" if pod is waits else "app"
            path = world.api.pod_statuses(f"{name}-{world.namespace}-{class_name}")
            await catch_up(clock, partial(world.find, path))
        # And changes are heard of again.
        world.edit_class("app", parameters={"key": "edited"})
        asked = len(store.calls)
        await eventually(lambda: len(store.calls) > asked)


async def test_a_start_without_an_api_server(
    start: Start,
    world: scene.Scene,
    clock: clocks.VirtualClock,
    store: provider.Provider,
    link: relay.Relay,
) -> None:
    """Upstream's process ends; ours serves what it knows of."""
    pods = [world.create_pod(f"web-{n}") for n in range(3)]
    async with start(**ROTATING, clock=clock, server=url(link)) as driver, clock.flowing():
        await driver.watching()
        volumes = [await driver.publish_for(pod) for pod in pods]
    await link.refuse()
    async with start(**ROTATING, clock=clock, server=url(link)) as driver, clock.flowing():
        store.files = {"password": b"second"}
        await driver.publish_for(pods[1])
        await driver.unpublish(pods[0]["metadata"]["uid"])
        assert len(driver.node.mounts()) == len(driver.records()) == 2
        await clock.skip(300.0)
        assert (volumes[1] / "password").read_bytes() == b"first"
        labels = {"namespace": world.namespace, "secretproviderclass": "app", "provider": "fake"}
        # That nobody can be asked for the class does not make the contents stale.
        assert driver.sample("secrets_store_stale_seconds", **labels) == 0
        await link.resume()
        await driver.watching(WATCHES_BACK_S)
        await clock.skip(100.0)
        await eventually(partial(_all_show, volumes[1:], b"second"))


RESOURCES = [*drivers.WATCHED, "secrets", "events"]


@pytest.mark.parametrize("api", ["stand-in"], indirect=True)
@pytest.mark.parametrize("code", [403, 410, 429])
async def test_each_resource_refused_in_turn(
    start: Start,
    world: scene.Scene,
    clock: clocks.VirtualClock,
    store: provider.Provider,
    code: int,
) -> None:
    """Faults of the stand-in, for all verbs; watches are cut so that they meet them."""
    stand_in = world.api.stand_in
    assert stand_in is not None
    world.edit_class(secretObjects=scene.SYNCED)
    owner = world.create_replica_set()
    pods = {which: world.create_pod(which, owner) for which in ("old", *RESOURCES)}
    async with start(**ROTATING, clock=clock) as driver, clock.flowing():
        await driver.watching()
        volumes = [await driver.publish_for(pods["old"])]
        await driver.in_step()
        for which in RESOURCES:
            fault = stand_in.faults.add(resource=which, code=code)
            if which in drivers.WATCHED:
                stand_in.cut_watches()
                await eventually(partial(_hit, fault))
            volumes.append(await asyncio.wait_for(driver.publish_for(pods[which]), GIVEN_UP_S))
            expected = f"while {which}".encode()
            store.files = {"password": expected}
            await clock.skip(130.0)
            await eventually(partial(_all_show, volumes, expected), GIVEN_UP_S)
            stand_in.faults.remove(fault)
        await driver.watching(WATCHES_BACK_S)
        await catch_up(clock, lambda: world.secret_value() == b"while events")
        for name in pods:
            await catch_up(clock, partial(world.status, name))
        assert len(driver.node.mounts()) == len(pods)
        store.files = {"password": b"at last"}
        await catch_up(clock, lambda: world.secret_value() == b"at last")
