"""What only kubelet can hand over, and what is said when it does not."""

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator

import pytest

from secrets_store import tasks
from secrets_store.kube import reflector, store
from secrets_store.log import Sealed
from secrets_store.model import record, volume
from secrets_store.volumes import events, handover, presence, table

GIVEN = volume.Handover(Sealed("{}"), Sealed({}), Sealed({}))


class Clock:
    """Time that passes when a test lets it."""

    def __init__(self) -> None:
        self.now_s = 1000.0
        self._waits_s: asyncio.Queue[float | None] = asyncio.Queue()
        self._turns = asyncio.Semaphore(0)

    def wall_s(self) -> float:
        return self.now_s

    def mono_s(self) -> float:
        return self.now_s

    async def wait(self, event: asyncio.Event, timeout_s: float | None) -> bool:
        self._waits_s.put_nowait(timeout_s)
        await self._turns.acquire()
        return event.is_set()

    async def waited(self) -> None:
        """Wait until the patience has begun."""
        async with asyncio.timeout(2.0):
            assert await self._waits_s.get() == handover.PATIENCE_S

    async def patience_ends(self, *, again: bool = True) -> None:
        """Let the patience pass, and await the next one if there is one."""
        self.now_s += handover.PATIENCE_S
        self._turns.release()
        if again:
            await self.waited()
            return
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.1):
                await self._waits_s.get()


class Told(events.Events):
    """Events of the node as they were asked for."""

    def __init__(self) -> None:
        self.sent: list[tuple[str, str]] = []

    def node_warning(self, reason: str, message: str, *, source: str = events.ROTATION) -> None:
        self.sent.append((reason, message))


class Disk:
    """A store without anything to keep."""

    def save(self, known: record.Record) -> None:
        pass

    def drop(self, target_path: str) -> None:
        pass


class Node:
    """Volumes that need what kubelet hands over, and what was told of them."""

    def __init__(self) -> None:
        self.clock, self.told, self.pods = Clock(), Told(), store.Pods()
        self.threads = tasks.Threads("host", 1)
        self.table = table.Table(Disk(), self.threads)
        self.handovers = handover.Handovers(
            self.table, presence.Presence(self.pods, self.clock), self.told, self.clock
        )

    def volume(self, target_path: str = "/t", *, needs_handover: bool = True) -> table.Volume:
        known = record.Record(
            volume_id="v", target_path=target_path, pod=volume.Pod("shop", "web", target_path),
            service_account="", class_name="cls", class_uid="", class_generation=1, provider="p",
            objects={}, attributes={}, last_check_s=0.0, last_change_s=0.0,
            status_name=target_path, group=None, boot_id="", needs_handover=needs_handover,
        )  # fmt: skip
        found = self.table.adopt(known)
        found.seen_mono = self.clock.now_s
        return found

    @contextlib.asynccontextmanager
    async def watching(self) -> AsyncIterator[None]:
        running = asyncio.create_task(self.handovers.run())
        try:
            yield
            assert not running.done()
        finally:
            running.cancel()
            await asyncio.wait({running})


@pytest.fixture
async def node() -> AsyncIterator[Node]:
    made = Node()
    yield made
    made.threads.stop()


@pytest.mark.parametrize(
    ("needs", "given", "ends_after_s", "usable"),
    [
        (False, volume.EMPTY_HANDOVER, 0.0, True),
        (True, volume.EMPTY_HANDOVER, float("inf"), False),
        (True, GIVEN, float("inf"), True),
        (True, GIVEN, 0.1, True),
        (True, GIVEN, 0.0, False),
    ],
    ids=["not needed", "after a restart", "without end", "just valid", "ended"],
)
async def test_a_handover_is_usable_until_it_ends(
    node: Node, needs: bool, given: volume.Handover, ends_after_s: float, usable: bool
) -> None:
    found = node.volume(needs_handover=needs)
    found.handover, found.handover_ends_s = given, node.clock.now_s + ends_after_s

    assert node.handovers.usable(found) is usable


async def test_a_publish_tells_once_whether_a_check_waits_for_it(node: Node) -> None:
    found, other = node.volume("/a"), node.volume("/b")
    assert not node.handovers.came(found)

    node.handovers.awaited(found)

    assert not node.handovers.came(other)
    assert node.handovers.came(found)
    assert not node.handovers.came(found)


async def test_a_kubelet_that_never_comes_is_told_of_once(
    node: Node, caplog: pytest.LogCaptureFixture
) -> None:
    for target_path in ("/a", "/b"):
        node.handovers.awaited(node.volume(target_path))
    node.volume("/c")

    async with node.watching():
        await node.clock.waited()
        assert node.told.sent == []
        for _ in range(3):
            await node.clock.patience_ends()

    assert node.told.sent == [(handover.REASON, f"2 {handover.MESSAGE}")]
    (line,) = caplog.records
    assert (line.levelno, line.getMessage()) == (logging.WARNING, handover.MESSAGE)
    assert line.__dict__["pairs"] == {"volumes": 2}


async def test_a_republish_takes_it_back_and_silence_is_told_of_again(
    node: Node, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    first, second = node.volume("/a"), node.volume("/b")
    node.handovers.awaited(first)
    node.handovers.awaited(second)

    async with node.watching():
        await node.clock.waited()
        await node.clock.patience_ends()
        node.handovers.came(first)
        node.handovers.came(first)
        await node.clock.patience_ends()
        # kubelet has come to another volume meanwhile: it repeats its publishes.
        assert len(node.told.sent) == 1
        await node.clock.patience_ends()

    assert [message for _, message in node.told.sent] == [
        f"2 {handover.MESSAGE}",
        f"1 {handover.MESSAGE}",
    ]
    assert [line.getMessage() for line in caplog.records] == [
        handover.MESSAGE,
        "kubelet repeats publishes again",
        handover.MESSAGE,
    ]


async def test_nothing_is_told_when_kubelet_has_come_in_time(node: Node) -> None:
    found = node.volume()
    node.handovers.awaited(found)

    async with node.watching():
        await node.clock.waited()
        node.handovers.came(found)
        await node.clock.patience_ends(again=False)
        # It rests now, until somebody waits again.
        node.handovers.awaited(found)
        await node.clock.waited()

    assert node.told.sent == []


async def test_a_volume_whose_pod_has_gone_waits_for_nothing(node: Node) -> None:
    node.pods.on_event(reflector.Synced())
    node.handovers.awaited(node.volume())

    async with node.watching():
        await node.clock.waited()
        await node.clock.patience_ends(again=False)

    assert node.told.sent == []
