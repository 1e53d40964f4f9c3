"""A program that reads its secrets again and again while the driver exchanges them."""

import asyncio
import contextlib
import hashlib
import pathlib
import threading
from collections.abc import AsyncIterator

import grpc.aio
import pytest

from csi_spec import csi_pb2_grpc
from devkit import provider, stage
from devkit.apiserver import server

pytestmark = [pytest.mark.root, pytest.mark.timeout(60)]

READS = 10_000
ROTATIONS = 20


def generation(number: int) -> dict[str, bytes]:
    """Files that prove themselves: each holds its number, and the digest of what follows."""
    body = f"{number}:".encode() + bytes([number % 256]) * 20_000
    whole = hashlib.sha256(body).digest() + body
    return {"cert": whole, "key": whole, "dir/nested": whole}


def number_of(whole: bytes) -> int:
    """Return a file's number. Raises: AssertionError: it is not whole."""
    assert hashlib.sha256(whole[32:]).digest() == whole[:32], "partial file"
    return int(whole[32:].split(b":")[0])


class Reader(threading.Thread):
    """Opens a file READS times, and goes on until it has seen enough rotations.

    Attributes:
        failure: What it met that no reader should; None if all was well.
        seen: The numbers that it has read, in order, each once.
    """

    def __init__(self, volume: pathlib.Path) -> None:
        super().__init__(daemon=True)
        self._volume = volume
        self.reads = 0
        self.seen: list[int] = []
        self.failure: Exception | AssertionError | None = None
        self.wanted = threading.Event()

    def run(self) -> None:
        try:
            while self.reads < READS or not self.wanted.is_set():
                name = ("cert", "key", "dir/nested")[self.reads % 3]
                number = number_of((self._volume / name).read_bytes())
                self.reads += 1
                if not self.seen or self.seen[-1] != number:
                    assert not self.seen or number > self.seen[-1], "went back in time"
                    self.seen.append(number)
        except (OSError, AssertionError) as error:
            self.failure = error


@contextlib.asynccontextmanager
async def rotating(interval: str) -> AsyncIterator[tuple[pathlib.Path, provider.Provider]]:
    with stage.Node("read") as node, server.APIServer() as api:
        api.create(stage.class_object())
        async with provider.Provider(node.providers, "fake", generation(0), direct=True) as fake:
            driver = stage.DriverProcess(
                node,
                api.kubeconfig(node.root / "kubeconfig", tls=False),
                flags=["--enable-secret-rotation", f"--rotation-poll-interval={interval}"],
            )
            await driver.start()
            request = stage.request(node, "pod1")
            async with grpc.aio.insecure_channel(f"unix:{node.csi_socket}") as channel:
                await csi_pb2_grpc.NodeStub(channel).NodePublishVolume(request, timeout=10)
            yield pathlib.Path(request.target_path), fake
            assert await driver.stop() == 0


async def test_no_file_is_ever_missing_partial_or_older() -> None:
    async with rotating("60ms") as (volume, fake):
        reader = Reader(volume)
        reader.start()
        for number in range(1, ROTATIONS + 1):
            fake.files = generation(number)
            calls = len(fake.calls)
            # The second call after the change has been given what the first wrote.
            while len(fake.calls) < calls + 2 and reader.is_alive():
                await asyncio.sleep(0.005)
        reader.wanted.set()
        await asyncio.to_thread(reader.join, 30.0)
        assert reader.failure is None
        assert not reader.is_alive()
        assert reader.reads >= READS
        assert reader.seen[-1] >= ROTATIONS - 1
        assert len(reader.seen) > ROTATIONS // 2


async def test_one_set_stays_together_for_a_reader_that_holds_its_directory() -> None:
    """B7: upstream deletes the old set at once, under whoever walks through it."""
    async with rotating("200ms") as (volume, fake):
        held = (volume / "..data").resolve()
        fake.files = generation(1)
        while number_of((volume / "cert").read_bytes()) == 0:
            await asyncio.sleep(0.001)
        assert {number_of((held / name).read_bytes()) for name in generation(0)} == {0}
        while held.exists():
            await asyncio.sleep(0.02)
