"""How a provider is asked: a real one on a real socket."""

import asyncio
import pathlib
import secrets
import shutil
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable

import grpc
import pytest

from devkit import provider
from secrets_store import errors, tasks
from secrets_store.log import Sealed
from secrets_store.providers import client, registry
from secrets_store.volumes import fetch, patience, table

CONTENTS = secrets.token_bytes(16)
FINAL = [
    grpc.StatusCode.UNKNOWN,
    grpc.StatusCode.INTERNAL,
    grpc.StatusCode.NOT_FOUND,
    grpc.StatusCode.PERMISSION_DENIED,
    grpc.StatusCode.RESOURCE_EXHAUSTED,
]


def a_question(name: str = "kms") -> client.Question:
    return client.Question(
        provider=name,
        attributes=Sealed("{}"),
        secrets=Sealed("null"),
        target_path="/volume",
        objects={},
        confidential=Sealed(()),
    )


class Waits(patience.Patience):
    """Patience whose pauses take no time; what happens during one is up to the test."""

    def __init__(self, flight: table.InFlight, *, wait_s: float = 4.0, pauses: int = 20) -> None:
        super().__init__(flight, tasks.SystemClock(), wait_s=wait_s, notice=lambda what: None)
        self.paused: list[tuple[float, str]] = []
        self.meanwhile: Callable[[], Awaitable[None]] | None = None
        self._flight, self._pauses = flight, pauses

    async def pause(self, seconds: float, what: str) -> bool:
        self._flight.check()
        if len(self.paused) == self._pauses:
            return False
        self.paused.append((seconds, what))
        if self.meanwhile is not None:
            await self.meanwhile()
        self._flight.check()
        return True


class Node:
    """A fetcher, and a directory for the sockets of providers."""

    def __init__(self) -> None:
        self.directory = pathlib.Path(tempfile.mkdtemp(prefix="fe", dir="/tmp"))
        self.background = tasks.Background()
        self.registry = registry.Registry([str(self.directory)], max_receive_bytes=4 << 20)
        self.fetcher = fetch.Fetcher(self.registry, self.background)
        self.flight = table.InFlight("/volume", "uid1")
        self.waits = Waits(self.flight)

    def provider(self, contents: bytes = CONTENTS) -> provider.Provider:
        return provider.Provider(self.directory, "kms", {"a": contents}, direct=True)

    async def once(self) -> client.Answer:
        return await self.fetcher.once(a_question(), timeout_s=3.0)

    async def patiently(self) -> client.Answer:
        return await self.fetcher.patiently(a_question(), self.waits)

    async def failure(self) -> errors.ProviderFailed:
        with pytest.raises(errors.ProviderFailed) as caught:
            await self.patiently()
        return caught.value


@pytest.fixture
async def node() -> AsyncIterator[Node]:
    made = Node()
    yield made
    await made.background.drain(3.0)
    await made.registry.close()
    shutil.rmtree(made.directory)


def contents(answer: client.Answer) -> list[bytes]:
    return [data for _, _, data in answer.files]


# -- once --------------------------------------------------------------------------------------


async def test_one_question_has_one_answer(node: Node) -> None:
    async with node.provider() as served:
        assert contents(await node.once()) == [CONTENTS]
        kept = node.registry.in_use()["kms"]
        await node.once()

        assert node.registry.in_use() == {"kms": kept}
        assert served.attempts == 2


@pytest.mark.parametrize(
    ("code", "kept"),
    [(grpc.StatusCode.UNAVAILABLE, False), *((code, True) for code in FINAL)],
    ids=str,
)
async def test_a_channel_that_leads_nowhere_is_dropped(
    node: Node, code: grpc.StatusCode, kept: bool
) -> None:
    async with node.provider() as served:
        served.faults.errors.append(code)

        with pytest.raises(errors.ProviderFailed) as caught:
            await node.once()

        assert caught.value.status_code is errors.Code[code.name]
        assert served.attempts == 1
        assert ("kms" in node.registry.in_use()) is kept


async def test_a_refresh_does_not_wait_for_a_provider(node: Node) -> None:
    with pytest.raises(errors.ProviderMissing):
        await node.once()


async def test_whether_somebody_listens(node: Node) -> None:
    assert not node.fetcher.answers("kms")
    assert not node.fetcher.answers("no/name")

    async with node.provider():
        assert node.fetcher.answers("kms")


# -- patiently ---------------------------------------------------------------------------------


async def test_an_answer_at_once_needs_no_patience(node: Node) -> None:
    async with node.provider() as served:
        assert contents(await node.patiently()) == [CONTENTS]

        assert (served.attempts, node.waits.paused) == (1, [])


async def test_a_provider_that_is_unavailable_is_asked_three_times(node: Node) -> None:
    async with node.provider() as served:
        served.faults.every_error = grpc.StatusCode.UNAVAILABLE

        failure = await node.failure()

        assert failure.status_code is errors.Code.UNAVAILABLE
        assert served.attempts == fetch.ATTEMPTS == 3
        assert len(node.waits.paused) == 2
        assert all(0 <= seconds <= 1.0 for seconds, _ in node.waits.paused)


async def test_a_provider_that_dies_of_a_question_is_asked_three_times(node: Node) -> None:
    """Or one class could keep it from ever serving another: it dies whenever it is back."""
    served = node.provider()
    served.faults.hang = asyncio.Event()
    dead = asyncio.Event()

    async def die() -> None:
        for number in range(1, 7):
            await served.wait_attempts(number)
            await served.stop()
            dead.set()

    async def come_back() -> None:
        if dead.is_set():
            dead.clear()
            await served.start()

    node.waits.meanwhile = come_back
    await served.start()
    dying = asyncio.create_task(die())

    failure = await node.failure()

    assert failure.status_code is errors.Code.UNAVAILABLE
    assert served.attempts == fetch.ATTEMPTS
    dying.cancel()
    await asyncio.wait({dying})
    await served.stop()


async def test_the_third_attempt_may_succeed(node: Node) -> None:
    async with node.provider() as served:
        served.faults.errors.extend([grpc.StatusCode.UNAVAILABLE] * 2)

        assert contents(await node.patiently()) == [CONTENTS]
        assert served.attempts == 3


async def test_without_time_there_is_no_further_attempt(node: Node) -> None:
    node.waits = Waits(node.flight, pauses=1)
    async with node.provider() as served:
        served.faults.every_error = grpc.StatusCode.UNAVAILABLE

        assert (await node.failure()).status_code is errors.Code.UNAVAILABLE
        assert served.attempts == 2


@pytest.mark.parametrize("code", FINAL, ids=str)
async def test_a_final_answer_is_not_asked_for_again(node: Node, code: grpc.StatusCode) -> None:
    async with node.provider() as served:
        served.faults.every_error = code

        assert (await node.failure()).status_code is errors.Code[code.name]
        assert (served.attempts, node.waits.paused) == (1, [])


async def test_an_error_in_the_answer_is_final(node: Node) -> None:
    async with node.provider() as served:
        served.faults.answer_code = "Throttled"

        assert (await node.failure()).error_code == "Throttled"
        assert (served.attempts, node.waits.paused) == (1, [])


async def test_a_missing_provider_is_waited_for(node: Node) -> None:
    served = node.provider()

    async def third_look() -> None:
        if len(node.waits.paused) == 3:
            await served.start()

    node.waits.meanwhile = third_look

    assert contents(await node.patiently()) == [CONTENTS]
    assert [seconds for seconds, _ in node.waits.paused] == [fetch.LOOK_S] * 3
    assert "provider not found" in node.waits.paused[0][1]
    await served.stop()


async def test_a_provider_that_does_not_come_in_time_is_missing(node: Node) -> None:
    node.waits = Waits(node.flight, pauses=4)

    with pytest.raises(errors.ProviderMissing):
        await node.patiently()

    assert len(node.waits.paused) == 4


async def test_a_name_that_no_provider_can_have_is_not_waited_for(node: Node) -> None:
    with pytest.raises(errors.ProviderMissing):
        await node.fetcher.patiently(a_question("no/name"), node.waits)

    assert node.waits.paused == []


async def test_a_wait_for_a_missing_provider_can_be_abandoned(node: Node) -> None:
    async def abandon() -> None:
        node.flight.abandon("the pod is gone")

    node.waits.meanwhile = abandon

    with pytest.raises(errors.VolumeBusy, match="the pod is gone"):
        await node.patiently()
    assert len(node.waits.paused) == 1


async def test_a_call_that_hangs_can_be_abandoned_and_runs_out_by_itself(node: Node) -> None:
    async with node.provider() as served:
        served.faults.hang = asyncio.Event()
        asking = asyncio.ensure_future(node.patiently())
        await served.wait_attempts(1)

        node.flight.abandon("the pod is gone")

        with pytest.raises(errors.VolumeBusy, match="the pod is gone"):
            await asking
        assert served.running == 1
        served.faults.hang.set()
        await node.background.drain(3.0)
        assert (served.running, served.attempts) == (0, 1)


async def test_a_provider_that_hangs_is_left_for_its_successor(node: Node) -> None:
    newer = secrets.token_bytes(16)
    async with node.provider() as old:
        old.faults.hang = asyncio.Event()
        asking = asyncio.ensure_future(node.patiently())
        await old.wait_attempts(1)

        async with node.provider(newer) as successor:
            assert contents(await asking) == [newer]
            assert (old.attempts, successor.attempts) == (1, 1)
            old.faults.hang.set()
            await node.background.drain(3.0)
