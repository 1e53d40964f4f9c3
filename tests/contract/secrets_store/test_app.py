"""The whole driver put together: what it needs to start, and what is left when it has ended."""

import asyncio
import threading

import grpc
import grpc.aio
import pytest

from csi_spec import csi_pb2, csi_pb2_grpc
from devkit import provider, stage
from devkit.apiserver import server
from secrets_store import tasks
from tests.contract.secrets_store.conftest import Start, eventually

Code = grpc.StatusCode


async def test_it_is_ready_without_an_api_server(start: Start, api: server.APIServer) -> None:
    api.pause()
    async with start() as driver:
        assert (await driver.identity.Probe(csi_pb2.ProbeRequest())).ready.value
        assert (await driver.csi.NodeGetInfo(csi_pb2.NodeGetInfoRequest())).node_id
        await driver.unpublish()
    api.resume()


@pytest.mark.root
async def test_a_publish_of_an_unknown_class_waits_for_the_api_server(
    start: Start, api: server.APIServer
) -> None:
    api.pause()
    async with start() as driver:
        publishing = asyncio.create_task(driver.publish())
        await asyncio.sleep(0.3)
        assert not publishing.done()
        assert driver.provider.attempts == 0
        api.resume()
        volume = await asyncio.wait_for(publishing, 3.0)
        assert (volume / "password").read_bytes() == b"first"
        assert await eventually(driver.status)


@pytest.mark.root
async def test_that_wait_ends_with_the_callers_time_and_a_code_to_try_again(
    start: Start, api: server.APIServer
) -> None:
    api.pause()
    async with start() as driver:
        with pytest.raises(grpc.aio.AioRpcError) as failed:
            await driver.csi.NodePublishVolume(driver.request(), timeout=1.0)
        assert failed.value.code() is Code.UNAVAILABLE
        assert driver.node.mounts() == []
    api.resume()


@pytest.mark.root
async def test_volumes_of_before_are_served_without_an_api_server(
    start: Start, api: server.APIServer
) -> None:
    async with start() as driver:
        volume = await driver.publish()
    api.pause()
    async with start() as driver:
        assert await driver.publish() == volume
        await driver.unpublish()
        assert not volume.exists()
    api.resume()


@pytest.mark.root
async def test_nothing_runs_on_when_it_has_ended(start: Start) -> None:
    before = asyncio.all_tasks()
    async with start(enable_secret_rotation=True, rotation_poll_interval_s=0.05) as driver:
        await driver.publish()
        await eventually(lambda: len(driver.provider.calls) > 2)
        await driver.publish("pod2")
    names = {thread.name for thread in threading.enumerate()}
    ours = [x for x in asyncio.all_tasks() - before if "/secrets_store/" in _place(x)]
    assert ours == []
    assert not {name for name in names if name.startswith(("host", "api", "watch", "reflector"))}
    assert not driver.node.csi_socket.exists()
    assert len(driver.node.mounts()) == 2


def _place(task: "asyncio.Task[object]") -> str:
    # gRPC's own coroutines are compiled and have no place.
    code = getattr(task.get_coro(), "cr_code", None)
    return str(code.co_filename).replace("/tests/contract", "") if code else ""


@pytest.mark.parametrize("turns", range(5))
async def test_a_stop_is_heard_also_when_something_else_happens(turns: int) -> None:
    """Whoever waits for an event in an endless loop must not lose the cancellation to it."""
    event = asyncio.Event()
    waiting = asyncio.create_task(tasks.SystemClock().wait(event, 60.0))
    await asyncio.sleep(0)
    event.set()
    for _ in range(turns):
        await asyncio.sleep(0)
    stopped = waiting.cancel()
    await asyncio.wait({waiting})
    assert waiting.cancelled() == stopped


@pytest.mark.root
async def test_a_socket_left_behind_is_replaced(start: Start) -> None:
    async with start() as first:
        node = first.node
        hidden = node.root / "left"
        hidden.hardlink_to(node.csi_socket)
    # A killed process leaves its socket, which nobody serves any more.
    hidden.rename(node.csi_socket)
    async with start() as second:
        assert (await second.identity.Probe(csi_pb2.ProbeRequest())).ready.value


async def test_what_is_no_socket_is_not_replaced(start: Start) -> None:
    async with start() as driver:
        node = driver.node
    node.csi_socket.write_text("precious")
    with pytest.raises(FileExistsError):
        async with start():
            pass
    assert node.csi_socket.read_text() == "precious"


class Broken(tasks.SystemClock):
    """Fails once it is told to."""

    broken = False

    async def wait(self, event: asyncio.Event, timeout_s: float | None) -> bool:
        if self.broken:
            raise ValueError("broken clock")
        return await super().wait(event, timeout_s)


@pytest.mark.root
async def test_a_part_that_fails_ends_the_whole_with_its_reason(
    start: Start, caplog: pytest.LogCaptureFixture
) -> None:
    """Upstream's process waits on, with a part of it gone (F3)."""
    clock = Broken()
    with pytest.RaisesGroup(tasks.TaskEnded):
        # With rotation on, a publish makes the scheduler look at the clock anew.
        async with start(app_options={"clock": clock}, enable_secret_rotation=True) as driver:
            clock.broken = True
            await driver.publish()
            # The failure cancels what stands here, long before.
            await asyncio.sleep(3600)
    assert "task failed" in [x.getMessage() for x in caplog.records]


@pytest.mark.root
async def test_calls_in_flight_end_when_it_stops(
    start: Start, provider_: provider.Provider
) -> None:
    provider_.faults.hang = asyncio.Event()
    async with start() as driver:
        # The driver's fixture closes its own channel before the driver ends.
        channel = grpc.aio.insecure_channel(f"unix:{driver.node.csi_socket}")
        call = csi_pb2_grpc.NodeStub(channel).NodePublishVolume(driver.request(), timeout=60)
        await provider_.wait_attempts(1)
        stopped = asyncio.get_running_loop().time()
    assert asyncio.get_running_loop().time() - stopped < 3.0
    with pytest.raises(grpc.aio.AioRpcError) as failed:
        await call
    assert failed.value.code() is Code.ABORTED
    assert "the driver is shutting down" in str(failed.value.details())
    assert driver.node.mounts() == []
    provider_.faults.hang.set()
    await channel.close()


@pytest.mark.root
async def test_the_health_of_providers_in_use_is_counted(start: Start) -> None:
    async with start(provider_health_check=True, provider_health_check_interval_s=0.05) as driver:
        await driver.publish()
        registry = driver.app.metrics.registry

        def up() -> float | None:
            return registry.get_sample_value("secrets_store_provider_up", {"provider": "fake"})

        await eventually(lambda: up() == 1)
        await driver.provider.stop(leave_socket=True)
        await eventually(lambda: up() == 0)
        await driver.provider.start()
        await driver.publish("pod2")
        await eventually(lambda: up() == 1)


@pytest.mark.root
async def test_a_dead_provider_does_not_slow_another(start: Start) -> None:
    """Upstream's health check holds a lock during its calls, 5 s for each that is dead (F7)."""
    async with start(provider_health_check=True, provider_health_check_interval_s=0.05) as driver:
        await driver.publish("pod1")
        driver.provider.faults.hang = asyncio.Event()
        waiting = asyncio.create_task(driver.publish("pod2"))
        await driver.provider.wait_attempts(2)
        driver.api.create(stage.class_object("other", provider="other"))
        async with provider.Provider(driver.node.providers, "other", {"f": b"x"}):
            started = asyncio.get_running_loop().time()
            await driver.publish("pod3", class_name="other")
            assert asyncio.get_running_loop().time() - started < 1.0
        driver.provider.faults.hang.set()
        await waiting
