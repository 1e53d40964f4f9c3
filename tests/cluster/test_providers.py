"""Providers that are dead, hang or are overloaded: nobody else suffers, all goes on by itself."""

import asyncio
import pathlib
import statistics
import time
from collections import Counter
from collections.abc import AsyncIterator

import grpc
import grpc.aio
import pytest
from google.protobuf import any_pb2, duration_pb2

from csi_spec import provider_pb2
from devkit import provider, stage
from devkit.kubelet import agent, objects
from tests.cluster import clock as clocks
from tests.cluster import drivers, scene
from tests.cluster.conftest import Start
from tests.cluster.drivers import eventually

pytestmark = [pytest.mark.root, pytest.mark.timeout(30)]

BACK_S, DELETED_S, REPUBLISH_S = 1.0, 2.0, 0.010
STATES = ["dead", "hanging"]


async def fall(store: provider.Provider, state: str) -> None:
    """Let a provider die without its socket, or answer no more."""
    if state == "dead":
        await store.stop(leave_socket=True)
    else:
        store.faults.hang = asyncio.Event()


async def rise(store: provider.Provider, state: str) -> None:
    if state == "dead":
        await store.start()
    else:
        assert store.faults.hang is not None
        store.faults.hang.set()
        store.faults.hang = None


@pytest.mark.parametrize("state", STATES)
async def test_a_new_pod_waits_is_told_why_and_goes_on(
    start: Start,
    world: scene.Scene,
    clock: clocks.VirtualClock,
    store: provider.Provider,
    state: str,
) -> None:
    pod = world.create_pod("web")
    async with start(clock=clock) as driver:
        await driver.watching()
        await fall(store, state)
        publishing = asyncio.create_task(driver.publish_for(pod))
        await eventually(lambda: driver.node.mounts())
        await clock.skip(4.0)
        await asyncio.sleep(0.3)
        assert world.events() == []
        await clock.skip(2.0)
        (event,) = await eventually(lambda: world.events("SecretsNotAvailableYet"))
        assert event["involvedObject"]["uid"] == pod["metadata"]["uid"]
        assert '"fake"' in event["message"]
        assert str(driver.node.providers) in event["message"]
        assert not publishing.done()
        await rise(store, state)
        volume = await asyncio.wait_for(publishing, BACK_S)
        assert (volume / "password").read_bytes() == b"first"


@pytest.fixture
async def kubelet(node: stage.Node) -> AsyncIterator[agent.Kubelet]:
    made = agent.Kubelet(node.kubelet, stage.NODE)
    yield made
    await made.close()


def volume_of(class_name: str = "app") -> objects.Volume:
    return objects.Volume("secrets", {"secretProviderClass": class_name})


@pytest.mark.parametrize("state", STATES)
async def test_a_running_pod_is_deleted_in_time(
    start: Start, world: scene.Scene, store: provider.Provider, kubelet: agent.Kubelet, state: str
) -> None:
    pod = objects.Pod.from_dict(world.create_pod("web"))
    async with start(enable_secret_rotation=True, rotation_poll_interval_s=0.1) as driver:
        await kubelet.register(str(driver.node.csi_socket))
        await driver.watching()
        await kubelet.publish(pod, volume_of(), attempts=1)
        await fall(store, state)
        # A refresh is under way or has failed.
        await eventually(lambda: store.running or world.events("MountRotationFailed"))
        world.delete_pod("web", grace_s=30)
        await asyncio.wait_for(kubelet.delete_pod(pod, attempts=1), DELETED_S)
        assert driver.node.mounts() == []
        assert driver.records() == []
        if state == "hanging":
            await rise(store, state)


@pytest.mark.parametrize("state", STATES)
async def test_a_waiting_pod_is_deleted_in_time(
    start: Start, world: scene.Scene, store: provider.Provider, kubelet: agent.Kubelet, state: str
) -> None:
    """kubelet sends no unpublish before the publish has ended; the pod watch ends it."""
    pod = objects.Pod.from_dict(world.create_pod("web"))
    async with start() as driver:
        await kubelet.register(str(driver.node.csi_socket))
        await driver.watching()
        await fall(store, state)
        publishing = asyncio.create_task(kubelet.publish(pod, volume_of(), attempts=1))
        await eventually(lambda: driver.node.mounts())
        started = time.monotonic()
        world.delete_pod("web", grace_s=30)
        deleting = asyncio.create_task(kubelet.delete_pod(pod, attempts=1))
        await asyncio.wait_for(deleting, DELETED_S)
        assert time.monotonic() - started < DELETED_S
        with pytest.raises(Exception, match="the pod is being deleted"):
            await publishing
        assert driver.node.mounts() == []
        assert not pathlib.Path(driver.node.target(pod.uid)).exists()
        if state == "hanging":
            await rise(store, state)


@pytest.mark.parametrize("state", STATES)
async def test_republishes_take_no_notice(
    start: Start, world: scene.Scene, store: provider.Provider, state: str
) -> None:
    async with start(enable_secret_rotation=True, rotation_poll_interval_s=0.1) as driver:
        await driver.publish()
        await fall(store, state)
        await eventually(lambda: store.running or world.events("MountRotationFailed"))
        took: list[float] = []
        for _ in range(30):
            started = time.monotonic()
            await driver.publish()
            took.append(time.monotonic() - started)
        assert statistics.median(took) <= REPUBLISH_S
        if state == "hanging":
            await rise(store, state)


@pytest.mark.parametrize("state", STATES)
async def test_other_providers_go_on_at_their_pace(
    start: Start, world: scene.Scene, store: provider.Provider, state: str
) -> None:
    """More volumes wait for the bad provider than may ask at the same time."""
    world.create_class("well", provider="other")
    counted: Counter[str] = Counter()

    def files(call: object) -> dict[str, provider.Content]:
        counted[call.attributes["csi.storage.k8s.io/pod.uid"]] += 1  # type: ignore[attr-defined]
        return {"password": b"well"}

    async with (
        start(enable_secret_rotation=True, rotation_poll_interval_s=0.2) as driver,
        provider.Provider(driver.node.providers, "other", files),
    ):
        await asyncio.gather(
            *(driver.publish(f"bad{n}") for n in range(12)),
            *(driver.publish(f"well{n}", class_name="well") for n in range(3)),
        )
        await fall(store, state)
        if state == "hanging":
            await eventually(lambda: store.running == 8)
        else:
            await eventually(lambda: len(world.events("MountRotationFailed")) >= 8)
        counted.clear()
        started = time.monotonic()
        await eventually(lambda: min(counted[f"well{n}"] for n in range(3)) >= 5, 5.0)
        # Five checks 0.2 s apart, jitter and the machine's other work included.
        assert time.monotonic() - started < 2.5
        assert store.peak <= 12
        started = time.monotonic()
        await driver.publish("new", class_name="well")
        assert time.monotonic() - started < 1.0
        if state == "hanging":
            assert store.running == 8
            await rise(store, state)


async def test_a_first_publish_is_not_behind_refreshes(
    start: Start, world: scene.Scene, store: provider.Provider
) -> None:
    """All places for refreshes of this provider are taken by calls that hang."""
    async with start(enable_secret_rotation=True, rotation_poll_interval_s=0.1) as driver:
        await asyncio.gather(*(driver.publish(f"old{n}") for n in range(10)))
        hang = store.faults.hang = asyncio.Event()
        await eventually(lambda: store.running == 8)
        store.faults.hang = None
        volume = await asyncio.wait_for(driver.publish("new"), 1.0)
        assert (volume / "password").read_bytes() == b"first"
        assert store.running == 8
        hang.set()


@pytest.mark.parametrize("state", STATES)
async def test_refreshes_resume_when_the_provider_does(
    start: Start, world: scene.Scene, store: provider.Provider, state: str
) -> None:
    async with start(enable_secret_rotation=True, rotation_poll_interval_s=0.3) as driver:
        volumes = [await driver.publish(f"pod{n}") for n in range(12)]
        await fall(store, state)
        if state == "hanging":
            await eventually(lambda: store.running == 8)
        else:
            await eventually(lambda: len(world.events("MountRotationFailed")) == 12)
        store.files = {"password": b"second"}
        await rise(store, state)
        await eventually(
            lambda: all((v / "password").read_bytes() == b"second" for v in volumes), 1.5
        )


class Overloaded(provider.Provider):
    """A provider that refuses some classes, and may say for how long."""

    refused_key = ""
    code = grpc.StatusCode.RESOURCE_EXHAUSTED
    retry_after_s: int | None = None

    async def Mount(
        self,
        request: provider_pb2.MountRequest,
        context: "grpc.aio.ServicerContext[provider_pb2.MountRequest, provider_pb2.MountResponse]",
    ) -> provider_pb2.MountResponse:
        if f'"key":"{self.refused_key}"' not in request.attributes:
            return await super().Mount(request, context)
        self.attempts += 1
        if self.retry_after_s is not None:
            context.set_trailing_metadata(
                (("grpc-status-details-bin", retry_info(self.retry_after_s)),)
            )
        await context.abort(self.code, "too many requests")
        raise AssertionError("abort returns to nobody")


def retry_info(seconds: int) -> bytes:
    """Return google.rpc.Status with a google.rpc.RetryInfo, as a Go provider encodes it."""
    delay = duration_pb2.Duration(seconds=seconds).SerializeToString()
    detail = any_pb2.Any(
        type_url="type.googleapis.com/google.rpc.RetryInfo",
        value=b"\x0a" + bytes((len(delay),)) + delay,
    ).SerializeToString()
    return b"\x08\x08\x1a" + bytes((len(detail),)) + detail


@pytest.fixture
async def overloaded(node: stage.Node) -> AsyncIterator[Overloaded]:
    async with Overloaded(node.providers, "busy", {"password": b"first"}) as running:
        yield running


async def busy_volumes(driver: drivers.Driver, world: scene.Scene, count: int) -> None:
    """Publish volumes of two classes of one provider; only the first is going to be refused."""
    world.create_class("refused", provider="busy", parameters={"key": "refused"})
    world.create_class("served", provider="busy", parameters={"key": "served"})
    await driver.watching()
    for number in range(count):
        await driver.publish_for(world.create_pod(f"refused{number}"), class_name="refused")
    await driver.publish_for(world.create_pod("served"), class_name="served")
    await driver.in_step()


async def test_retry_info_is_honoured(
    start: Start, world: scene.Scene, clock: clocks.VirtualClock, overloaded: Overloaded
) -> None:
    async with start(
        enable_secret_rotation=True, rotation_poll_interval_s=10.0, clock=clock
    ) as driver:
        await busy_volumes(driver, world, 5)
        overloaded.refused_key, overloaded.retry_after_s = "refused", 90
        await clock.advance(11.0)
        served, refused = len(overloaded.calls), overloaded.attempts - len(overloaded.calls)
        assert refused >= 1
        # One has heard it, and it counts for all of its class.
        await clock.advance(78.0)
        assert overloaded.attempts - len(overloaded.calls) == refused
        assert len(overloaded.calls) >= served + 6
        overloaded.refused_key = ""
        await clock.advance(30.0)
        await clock.settle()
        asked = Counter(
            call.attributes["csi.storage.k8s.io/pod.name"] for call in overloaded.calls[served:]
        )
        assert all(asked[f"refused{n}"] >= 1 for n in range(5))


async def test_one_backoff_for_a_provider_and_class(
    start: Start, world: scene.Scene, clock: clocks.VirtualClock, overloaded: Overloaded
) -> None:
    """Twenty volumes every ten seconds would be 1,200 calls in ten minutes."""
    async with start(
        enable_secret_rotation=True, rotation_poll_interval_s=10.0, clock=clock
    ) as driver:
        await busy_volumes(driver, world, 20)
        overloaded.refused_key = "refused"
        served, before = len(overloaded.calls), overloaded.attempts
        await clock.advance(600.0)
        refused = overloaded.attempts - before - (len(overloaded.calls) - served)
        assert 3 <= refused <= 40
        assert len(overloaded.calls) - served >= 54
        # An edit of the class is reason enough to ask again at once.
        before, served = overloaded.attempts, len(overloaded.calls)
        world.edit_class("refused", parameters={"key": "healed"})
        await eventually(lambda: len(overloaded.calls) >= served + 20)


async def test_a_stop_in_the_middle_of_refreshes_starts_none_anew(
    start: Start, world: scene.Scene, store: provider.Provider
) -> None:
    """Each volume is wanted once more while its check hangs, and is given up with the process."""
    async with start(enable_secret_rotation=True, rotation_poll_interval_s=0.1) as driver:
        await driver.watching()
        pods = [world.create_pod(f"web-{n}") for n in range(3)]
        for pod in pods:
            await driver.publish_for(pod)
        hang = store.faults.hang = asyncio.Event()
        await eventually(lambda: store.running == 3)
        # Beyond the second of an annotation, so that it is heard as news.
        for pod in pods:
            path = world.api.at("pods", pod["metadata"]["name"])
            world.ask_for_refresh(path, time.time() + 2.0)
        await eventually(lambda: all(found.again for found in driver.app._table))
    assert "refresh" not in {task.get_name() for task in asyncio.all_tasks()}
    hang.set()
