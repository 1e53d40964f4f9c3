"""SIGTERM and what comes after: calls in flight, mounts, the socket, the exit code."""

import asyncio
import contextlib
import os
import pathlib
import signal
import time
from collections.abc import AsyncIterator, Awaitable

import grpc
import grpc.aio
import pytest

from csi_spec import csi_pb2, csi_pb2_grpc
from devkit import provider, stage
from devkit.apiserver import server

pytestmark = [pytest.mark.root, pytest.mark.timeout(40)]
Code = grpc.StatusCode


class Bed:
    """A driver process, a provider in this process, and an open connection."""

    def __init__(
        self, node: stage.Node, api: server.APIServer, fake: provider.Provider, *flags: str
    ) -> None:
        self.node, self.api, self.provider = node, api, fake
        self.log = node.root / "log"
        self.driver = stage.DriverProcess(
            node, api.kubeconfig(node.root / "kubeconfig", tls=False), flags=flags, log=self.log
        )
        api.create(stage.class_object())
        api.create(stage.class_object("late", provider="late"))

    @contextlib.asynccontextmanager
    async def calls(self) -> AsyncIterator["csi_pb2_grpc.NodeAsyncStub"]:
        async with grpc.aio.insecure_channel(
            f"unix:{self.node.csi_socket}", options=(("grpc.use_local_subchannel_pool", 1),)
        ) as channel:
            yield csi_pb2_grpc.NodeStub(channel)

    def signal(self, number: signal.Signals) -> None:
        os.kill(self.driver.pid, number)

    async def exit_code(self) -> int:
        """Wait until the process ends by what it was sent before."""
        status = pathlib.Path(f"/proc/{self.driver.pid}/stat")
        while status.read_text().rpartition(")")[2].split()[0] != "Z":
            await asyncio.sleep(0.01)
        return await self.driver.stop()

    async def publish(self, uid: str) -> pathlib.Path:
        request = stage.request(self.node, uid)
        async with self.calls() as csi:
            await csi.NodePublishVolume(request, timeout=10)
        return pathlib.Path(request.target_path)


@pytest.fixture
async def bed() -> AsyncIterator[Bed]:
    with stage.Node("stop") as node, server.APIServer() as api:
        async with provider.Provider(node.providers, "fake", {"f": b"contents"}) as fake:
            made = Bed(node, api, fake)
            await made.driver.start()
            yield made
            with contextlib.suppress(ProcessLookupError, stage.DriverEnded):
                await made.driver.kill()


async def failure(call: Awaitable[object]) -> tuple[grpc.StatusCode, str]:
    with pytest.raises(grpc.aio.AioRpcError) as failed:
        await call
    return failed.value.code(), str(failed.value.details())


async def test_at_rest_it_ends_at_once_and_leaves_the_mounts(bed: Bed) -> None:
    volume = await bed.publish("pod1")
    started = time.monotonic()
    assert await bed.driver.stop() == 0
    assert time.monotonic() - started < 2.0
    assert (volume / "f").read_bytes() == b"contents"
    assert bed.node.mounts() == [str(volume)]
    assert not bed.node.csi_socket.exists()
    assert "received shutdown signal" in bed.log.read_text()


@pytest.mark.parametrize("class_name", ["late", "app"])
async def test_publishes_that_wait_for_a_provider_end_and_leave_nothing(
    bed: Bed, class_name: str
) -> None:
    """F3: upstream was still running 30 s after the signal."""
    kept = await bed.publish("pod1")
    bed.provider.faults.hang = asyncio.Event()
    async with bed.calls() as csi:
        waiting = [
            csi.NodePublishVolume(
                stage.request(bed.node, f"waits{number}", class_name=class_name), timeout=120
            )
            for number in range(5)
        ]
        while len(bed.node.mounts()) < 6:
            await asyncio.sleep(0.01)
        started = time.monotonic()
        assert await bed.driver.stop() == 0
        assert time.monotonic() - started < 5.0
        for call in waiting:
            assert await failure(call) == (
                Code.ABORTED,
                f"volume at {_target(bed, waiting.index(call))}: the driver is shutting down",
            )
    bed.provider.faults.hang.set()
    assert bed.node.mounts() == [str(kept)]
    assert not pathlib.Path(bed.node.target("waits0")).exists()


def _target(bed: Bed, number: int) -> str:
    return bed.node.target(f"waits{number}")


async def test_a_call_that_is_being_answered_is_answered(bed: Bed) -> None:
    """The provider has answered; the volume is complete and its success is told."""
    big = {f"file{number}": os.urandom(100_000) for number in range(20)}
    bed.provider.files = big
    async with bed.calls() as csi:
        requests = [stage.request(bed.node, f"pod{number}") for number in range(20)]
        calls = [csi.NodePublishVolume(request, timeout=30) for request in requests]
        while len(bed.provider.calls) < 20:
            await asyncio.sleep(0.001)
        bed.signal(signal.SIGTERM)
        results = await asyncio.gather(*calls, return_exceptions=True)
        assert await bed.exit_code() == 0
    for request, result in zip(requests, results, strict=True):
        target = pathlib.Path(request.target_path)
        if isinstance(result, grpc.aio.AioRpcError):
            assert result.code() is Code.ABORTED
            assert not target.exists()
        else:
            assert {path: (target / path).read_bytes() for path in big} == big


async def test_new_calls_are_refused_while_it_ends(bed: Bed) -> None:
    bed.provider.faults.delay_s = 0.5
    async with bed.calls() as csi, bed.calls() as other:
        await other.NodeGetInfo(csi_pb2.NodeGetInfoRequest())
        call = csi.NodePublishVolume(stage.request(bed.node, "pod1"), timeout=30)
        await bed.provider.wait_attempts(1)
        bed.signal(signal.SIGTERM)
        while bed.node.csi_socket.exists():
            await asyncio.sleep(0.001)
        code, _ = await failure(other.NodePublishVolume(stage.request(bed.node, "pod2"), timeout=5))
        # To kubelet both say: try again.
        assert code in (Code.UNAVAILABLE, Code.CANCELLED)
        assert await failure(call) == (
            Code.ABORTED,
            f"volume at {bed.node.target('pod1')}: the driver is shutting down",
        )
    assert await bed.exit_code() == 0
    assert bed.node.mounts() == []


async def test_a_second_signal_ends_it_at_once(bed: Bed) -> None:
    """Both come while it is stopped, so that the second is there before it can have ended."""
    bed.signal(signal.SIGSTOP)
    bed.signal(signal.SIGTERM)
    bed.signal(signal.SIGINT)
    bed.signal(signal.SIGCONT)
    assert await bed.exit_code() == 1


async def test_sigint_ends_it_as_well(bed: Bed) -> None:
    bed.signal(signal.SIGINT)
    assert await bed.exit_code() == 0


async def test_it_ends_without_an_api_server_and_without_a_provider(bed: Bed) -> None:
    await bed.publish("pod1")
    await bed.provider.stop(leave_socket=True)
    started = time.monotonic()
    assert await bed.driver.stop() == 0
    assert time.monotonic() - started < 3.0
    await bed.provider.start()


async def test_a_second_process_takes_over_and_the_first_leaves_its_socket_alone(
    bed: Bed,
) -> None:
    """A rolling update with surge: the new one serves before the old one has ended."""
    volume = await bed.publish("pod1")
    inode = bed.node.csi_socket.stat().st_ino
    successor = stage.DriverProcess(bed.node, bed.node.root / "kubeconfig")
    # It is the first that answers until the second has taken its place.
    await successor.start()
    try:
        while bed.node.csi_socket.stat().st_ino == inode:
            await asyncio.sleep(0.005)
        inode = bed.node.csi_socket.stat().st_ino
        assert await bed.driver.stop() == 0
        assert bed.node.csi_socket.stat().st_ino == inode
        assert await bed.publish("pod1") == volume
        assert len(bed.provider.calls) == 1
        await bed.publish("pod2")
    finally:
        assert await successor.stop() == 0
    assert not bed.node.csi_socket.exists()


@contextlib.asynccontextmanager
async def hanging_publish(bed: Bed) -> AsyncIterator[Awaitable[object]]:
    """A publish in flight whose request to the API server hangs."""
    hanging = bed.api.faults.add(verb="get", delay_s=60.0)
    request = stage.request(bed.node, "pod1", context={"unknown": "x"})
    async with bed.calls() as csi:
        call = csi.NodePublishVolume(request, timeout=30)
        while not hanging.hits:
            await asyncio.sleep(0.01)
        yield call


async def test_an_api_server_that_hangs_holds_the_end_up_only_shortly(bed: Bed) -> None:
    """kubelet kills what has not ended after its grace period of 30 s."""
    async with hanging_publish(bed) as call:
        started = time.monotonic()
        assert await bed.driver.stop() == 0
        assert time.monotonic() - started < 10.0
        await asyncio.gather(call, return_exceptions=True)


async def test_a_second_signal_ends_it_at_once_also_while_a_call_hangs(bed: Bed) -> None:
    async with hanging_publish(bed) as call:
        bed.signal(signal.SIGTERM)
        await asyncio.gather(call, return_exceptions=True)
    # So long the tasks of the background have; what is left then is the thread of the request.
    await asyncio.sleep(1.5)
    started = time.monotonic()
    bed.signal(signal.SIGTERM)
    assert await bed.exit_code() == 1
    assert time.monotonic() - started < 2.5
