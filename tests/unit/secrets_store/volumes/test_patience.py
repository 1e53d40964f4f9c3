"""How long a publish waits, and what ends the wait early."""

import asyncio

import pytest

from secrets_store import errors
from secrets_store.volumes import patience, table


class Clock:
    """Time that a test sets."""

    def __init__(self) -> None:
        self.now_s = 1000.0

    def wall_s(self) -> float:
        raise AssertionError("a clock that can be set does not count")

    def mono_s(self) -> float:
        return self.now_s

    async def wait(self, event: asyncio.Event, timeout_s: float | None) -> bool:
        raise AssertionError("not asked")


class Publish:
    """A publish with a minute of patience."""

    def __init__(self) -> None:
        self.clock, self.flight = Clock(), table.InFlight("/t", "uid1")
        self.noticed: list[str] = []
        self.patience = patience.Patience(
            self.flight, self.clock, wait_s=60.0, notice=self.noticed.append
        )


@pytest.fixture
async def publish() -> Publish:
    return Publish()


@pytest.mark.parametrize(
    ("remaining_s", "budget_s"),
    [
        (None, patience.MAX_WAIT_S),
        (600.0, patience.MAX_WAIT_S),
        (120.0, 110.0),
        (60.0, 50.0),
        (5.0, 4.0),
        (0.01, 0.05),
        (-1.0, 0.05),
    ],
)
def test_the_callers_deadline_bounds_the_wait(remaining_s: float | None, budget_s: float) -> None:
    assert patience.budget_s(remaining_s) == pytest.approx(budget_s)


async def test_what_is_left_shrinks_with_time_and_is_never_negative(publish: Publish) -> None:
    assert publish.patience.left_s() == 60.0
    publish.clock.now_s += 45.0
    assert publish.patience.left_s() == 15.0
    publish.clock.now_s += 45.0
    assert publish.patience.left_s() == 0.0


async def test_watch_ends_with_the_task_also_if_that_failed(publish: Publish) -> None:
    async def fail() -> None:
        await asyncio.sleep(0)
        raise OSError("of the task's own")

    task = asyncio.create_task(fail())

    assert await publish.patience.watch(task)
    assert isinstance(task.exception(), OSError)


async def test_watch_ends_after_its_time_and_the_task_goes_on(publish: Publish) -> None:
    task: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    assert not await publish.patience.watch(task, 0.01)

    assert not task.done()


async def test_watch_ends_at_once_when_the_publish_is_abandoned(publish: Publish) -> None:
    task: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    asyncio.get_running_loop().call_soon(publish.flight.abandon, "the pod is ending")

    with pytest.raises(errors.VolumeBusy, match="the pod is ending"):
        await publish.patience.watch(task)

    assert not task.done()


async def test_a_result_counts_even_if_the_publish_was_abandoned(publish: Publish) -> None:
    task: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    task.set_result(None)
    publish.flight.abandon("the pod is ending")

    assert await publish.patience.watch(task)


async def test_pause_waits_if_there_is_time_for_another_try(publish: Publish) -> None:
    loop = asyncio.get_running_loop()
    began_s = loop.time()

    assert await publish.patience.pause(0.05, "the class")

    assert loop.time() - began_s >= 0.04


@pytest.mark.parametrize("left_s", [0.0, 20.0])
async def test_pause_ends_at_once_without_time_for_another_try(
    publish: Publish, left_s: float
) -> None:
    publish.clock.now_s += 60.0 - left_s

    async with asyncio.timeout(1.0):
        assert not await publish.patience.pause(20.0, "the class")


@pytest.mark.parametrize("when", ["before", "meanwhile"])
async def test_pause_ends_at_once_when_the_publish_is_abandoned(
    publish: Publish, when: str
) -> None:
    if when == "before":
        publish.flight.abandon("unpublish")
    else:
        asyncio.get_running_loop().call_soon(publish.flight.abandon, "unpublish")

    with pytest.raises(errors.VolumeBusy, match="unpublish"):
        async with asyncio.timeout(1.0):
            await publish.patience.pause(30.0, "the class")


async def test_a_wait_is_told_once_and_when_it_has_become_noticeable(publish: Publish) -> None:
    publish.clock.now_s += patience.NOTICE_AFTER_S - 0.1
    publish.patience.notify("the class")
    assert publish.noticed == []

    publish.clock.now_s += 0.1
    await publish.patience.pause(0.0, "the class")
    publish.clock.now_s += 10.0
    publish.patience.notify("the provider")

    assert publish.noticed == ["the class"]
