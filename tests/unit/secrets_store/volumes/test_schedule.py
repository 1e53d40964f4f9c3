"""Which volume is looked at next, on a clock that a test drives."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Any

import pytest

from secrets_store import tasks
from secrets_store.model import record, volume
from secrets_store.volumes import schedule, table


class Clock:
    """Time that passes when a test lets it."""

    def __init__(self) -> None:
        self.now_s = 1000.0
        self.waits_s: asyncio.Queue[float | None] = asyncio.Queue()
        self._turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def wall_s(self) -> float:
        raise AssertionError("a clock that can be set does not count")

    def mono_s(self) -> float:
        return self.now_s

    async def wait(self, event: asyncio.Event, timeout_s: float | None) -> bool:
        self._turn = asyncio.get_running_loop().create_future()
        self.waits_s.put_nowait(timeout_s)
        woken = asyncio.ensure_future(event.wait())
        either: set[asyncio.Future[Any]] = {woken, self._turn}
        try:
            await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
        finally:
            woken.cancel()
        return event.is_set()

    async def next_wait_s(self) -> float | None:
        """Return how long is waited, once all calls that are due have been made."""
        async with asyncio.timeout(4.0):
            return await self.waits_s.get()

    def pass_s(self, seconds: float) -> None:
        self.now_s += seconds
        self._turn.set_result(None)


class Disk:
    """A store without anything to keep."""

    def save(self, known: record.Record) -> None:
        pass

    def drop(self, target_path: str) -> None:
        pass


class Node:
    """A schedule, and the calls it made."""

    def __init__(self) -> None:
        self.clock, self.threads = Clock(), tasks.Threads("host", 1)
        self.table = table.Table(Disk(), self.threads)
        self.called: list[str] = []
        self.schedule = schedule.Schedule(
            self.table, self.clock, lambda found: self.called.append(found.record.target_path)
        )

    def volume(self, target_path: str) -> table.Volume:
        known = record.Record(
            volume_id="v", target_path=target_path, pod=volume.Pod("shop", "web", "uid1"),
            service_account="", class_name="cls", class_uid="", class_generation=1, provider="p",
            objects={}, attributes={}, last_check_s=0.0, last_change_s=0.0,
            status_name=target_path, group=None, boot_id="",
        )  # fmt: skip
        return self.table.adopt(known)

    def at(self, target_path: str, after_s: float) -> table.Volume:
        """Ask for a call for a new volume."""
        made = self.volume(target_path)
        self.schedule.at(made, self.clock.now_s + after_s)
        return made


@pytest.fixture
async def node() -> AsyncIterator[Node]:
    made = Node()
    yield made
    made.threads.stop()


@contextlib.asynccontextmanager
async def running(node: Node) -> AsyncIterator[None]:
    task = asyncio.create_task(node.schedule.run())
    try:
        yield
        assert not task.done()
    finally:
        task.cancel()
        await asyncio.wait({task})


async def test_nothing_to_do_is_waited_for_without_end(node: Node) -> None:
    async with running(node):
        assert await node.clock.next_wait_s() is None


async def test_calls_are_made_in_the_order_of_time(node: Node) -> None:
    for target_path, after_s in (("/c", 30.0), ("/a", 10.0), ("/b", 20.0), ("/later", 99.0)):
        node.at(target_path, after_s)

    async with running(node):
        assert await node.clock.next_wait_s() == 10.0
        assert node.called == []
        node.clock.pass_s(10.0)
        assert await node.clock.next_wait_s() == 10.0
        assert node.called == ["/a"]
        node.clock.pass_s(25.0)
        assert await node.clock.next_wait_s() == 64.0

    assert node.called == ["/a", "/b", "/c"]


async def test_volumes_of_the_same_time_are_called_in_the_order_of_asking(node: Node) -> None:
    for target_path in ("/b", "/c", "/a"):
        node.at(target_path, 0.0)

    async with running(node):
        await node.clock.next_wait_s()

    assert node.called == ["/b", "/c", "/a"]


async def test_an_earlier_call_wakes_it(node: Node) -> None:
    node.at("/late", 60.0)

    async with running(node):
        assert await node.clock.next_wait_s() == 60.0
        node.at("/now", 0.0)
        assert await node.clock.next_wait_s() == 60.0
        assert node.called == ["/now"]
        node.at("/soon", 5.0)
        assert await node.clock.next_wait_s() == 5.0

    assert node.called == ["/now"]


async def test_a_later_call_does_not_wake_it(node: Node) -> None:
    node.at("/first", 10.0)

    async with running(node):
        assert await node.clock.next_wait_s() == 10.0
        node.at("/second", 20.0)
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.1):
                await node.clock.waits_s.get()


async def test_a_volume_that_has_gone_is_not_called(node: Node) -> None:
    node.at("/gone", 10.0)
    node.at("/there", 10.0)
    replaced = node.at("/again", 10.0)
    await node.table.drop("/gone")
    await node.table.drop("/again")
    assert node.volume("/again") is not replaced

    async with running(node):
        await node.clock.next_wait_s()
        node.clock.pass_s(10.0)
        assert await node.clock.next_wait_s() is None

    assert node.called == ["/there"]


async def test_calls_for_volumes_that_have_gone_are_not_kept(node: Node) -> None:
    """With an interval of a day they would be, each with its volume, for a day."""
    for number in range(1000):
        node.at(f"/{number}", 86400.0)
        await node.table.drop(f"/{number}")

    assert len(node.schedule) <= schedule.SLACK + 1


async def test_calls_at_times_that_were_given_up_are_not_kept(node: Node) -> None:
    there = node.at("/there", 86400.0)
    for number in range(1000):
        there.check_due_mono = node.clock.now_s + 3600.0 + number
        there.chores_due_mono = node.clock.now_s + 1800.0
        node.schedule.at(there, there.check_due_mono)
        node.schedule.at(there, there.chores_due_mono)

    assert len(node.schedule) <= schedule.SLACK + 5
    async with running(node):
        assert await node.clock.next_wait_s() == 1800.0
        node.clock.pass_s(1800.0)
        await node.clock.next_wait_s()
        assert node.called[-1] == "/there"
        node.clock.pass_s(1800.0 + 999.0)
        await node.clock.next_wait_s()
    assert node.called[-1] == "/there"
