"""Whether the pod of a volume is still there."""

import asyncio

import pytest

from secrets_store.kube import reflector, store
from secrets_store.model import record, volume
from secrets_store.volumes import presence, table

POD = store.Pod.from_dict({"metadata": {"namespace": "shop", "name": "web", "uid": "uid1"}})


class Clock:
    """Time that a test sets."""

    def __init__(self) -> None:
        self.now_s = 1000.0

    def wall_s(self) -> float:
        raise AssertionError("a clock that can be set does not count")

    def mono_s(self) -> float:
        return self.now_s

    async def wait(self, event: asyncio.Event, timeout_s: float | None) -> bool:
        raise AssertionError("nothing is waited for")


class Node:
    """A volume of POD, last seen now, and the watch."""

    def __init__(self) -> None:
        self.clock, self.pods = Clock(), store.Pods()
        self._presence = presence.Presence(self.pods, self.clock)
        known = record.Record(
            volume_id="v", target_path="/t", pod=volume.Pod("shop", "web", "uid1"),
            service_account="", class_name="cls", class_uid="", class_generation=1, provider="p",
            objects={}, attributes={}, last_check_s=0.0, last_change_s=0.0, status_name="s",
            group=None, boot_id="",
        )  # fmt: skip
        self.volume = table.Volume(known, seen_mono=self.clock.now_s)

    def gone_after(self, seconds: float) -> bool:
        self.clock.now_s += seconds
        return self._presence.gone(self.volume)


@pytest.fixture
async def node() -> Node:
    return Node()


async def test_a_pod_without_a_sign_of_life_is_gone(node: Node) -> None:
    node.pods.on_event(reflector.Synced())

    assert not node.gone_after(presence.GONE_S)
    assert node.gone_after(0.1)


async def test_a_pod_that_the_watch_knows_is_there(node: Node) -> None:
    node.pods.on_event(reflector.Added(POD))
    node.pods.on_event(reflector.Synced())

    assert not node.gone_after(100 * presence.GONE_S)


async def test_the_time_counts_from_when_the_pod_was_last_there(node: Node) -> None:
    node.pods.on_event(reflector.Added(POD))
    node.pods.on_event(reflector.Synced())
    assert not node.gone_after(100 * presence.GONE_S)

    node.pods.on_event(reflector.Deleted(POD))

    assert not node.gone_after(presence.GONE_S)
    assert node.gone_after(0.1)


async def test_a_publish_is_a_sign_of_life(node: Node) -> None:
    node.pods.on_event(reflector.Synced())
    assert node.gone_after(10 * presence.GONE_S)

    node.volume.seen_mono = node.clock.now_s

    assert not node.gone_after(presence.GONE_S)


async def test_nothing_is_known_while_the_watch_is_down(node: Node) -> None:
    assert not node.gone_after(10 * presence.GONE_S)
    node.pods.on_event(reflector.Synced())
    assert node.gone_after(presence.GONE_S + 1)

    node.pods.on_event(reflector.Stale("closed"))

    assert not node.gone_after(10 * presence.GONE_S)
