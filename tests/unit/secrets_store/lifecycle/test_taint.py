"""The startup taint, on the stand-in API server."""

import asyncio
import contextlib
import logging
import pathlib
import shutil
import tempfile
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest

from devkit import provider
from devkit.apiserver import server
from secrets_store import tasks
from secrets_store.kube import access, client
from secrets_store.lifecycle import taint
from secrets_store.providers import registry

DRIVER, NODE = "secrets-store.csi.k8s.io", "node-1"
OURS = {"key": taint.KEY, "effect": "NoSchedule"}
OTHER = {"key": "example.com/other", "value": "x", "effect": "NoExecute"}


class Clock:
    """Time that passes when a test lets it."""

    def __init__(self) -> None:
        self.waits_s: asyncio.Queue[float | None] = asyncio.Queue()
        self._turns = asyncio.Semaphore(0)

    def wall_s(self) -> float:
        raise AssertionError("not asked")

    def mono_s(self) -> float:
        raise AssertionError("not asked")

    async def wait(self, event: asyncio.Event, timeout_s: float | None) -> bool:
        self.waits_s.put_nowait(timeout_s)
        await self._turns.acquire()
        return event.is_set()

    async def next_wait_s(self) -> float | None:
        """Return how long is waited after the look that runs."""
        async with asyncio.timeout(4.0):
            return await self.waits_s.get()

    def go_on(self) -> None:
        """End the wait."""
        self._turns.release()


class Node:
    """A node with the taint, and what looks after it."""

    def __init__(self, api: server.APIServer, sockets: pathlib.Path) -> None:
        self.api, self.sockets, self.clock = api, sockets, Clock()
        self.providers = registry.Registry([str(sockets)], max_receive_bytes=1 << 20)
        self._client = client.Client(access.Config(api.url), user_agent="tests/1")
        self._threads = tasks.Threads("api", 2)

    def make(self, *taints: dict[str, str]) -> None:
        self.api.create({"apiVersion": "v1", "kind": "Node", "metadata": {"name": NODE}})
        # A new node is given a taint of its own, which goes when it is ready.
        self.change(*taints)

    def change(self, *taints: dict[str, str]) -> None:
        named = {"apiVersion": "v1", "kind": "Node", "metadata": {"name": NODE}}
        self.api.patch(named, {"spec": {"taints": list(taints)}})

    def register(self, *drivers: str) -> None:
        """Make the CSINode, as kubelet does."""
        listed = [{"name": name, "nodeID": NODE, "topologyKeys": []} for name in drivers]
        self.api.create(
            {
                "apiVersion": "storage.k8s.io/v1",
                "kind": "CSINode",
                "metadata": {"name": NODE},
                "spec": {"drivers": listed},
            }
        )

    def taints(self) -> list[dict[str, str]]:
        spec: dict[str, Any] = self.api.get("v1", "Node", NODE).get("spec") or {}
        found: list[dict[str, str]] = spec.get("taints") or []
        return found

    @contextlib.asynccontextmanager
    async def looking(self, *required: str) -> AsyncIterator[None]:
        """Let the taint be looked after."""
        one = taint.Taint(
            self._client,
            self._threads,
            self.providers,
            self.clock,
            node=NODE,
            driver=DRIVER,
            required=required,
        )
        running = asyncio.create_task(one.run())
        try:
            yield
            assert not running.done()
        finally:
            running.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await running

    async def gone(self) -> list[dict[str, str]]:
        """Wait until the taint is gone; return the others."""
        async with asyncio.timeout(4.0):
            while OURS in (left := self.taints()):
                await asyncio.sleep(0.01)
        return left

    async def stop(self) -> None:
        await self.providers.close()
        self._threads.stop()
        self._client.close()


@pytest.fixture
def api() -> Iterator[server.APIServer]:
    with server.APIServer() as running:
        yield running


@pytest.fixture
async def node(api: server.APIServer) -> AsyncIterator[Node]:
    sockets = pathlib.Path(tempfile.mkdtemp(prefix="ta", dir="/tmp"))
    made = Node(api, sockets)
    yield made
    await made.stop()
    shutil.rmtree(sockets)


def told(caplog: pytest.LogCaptureFixture, message: str) -> list[dict[str, Any]]:
    return [line.__dict__["pairs"] for line in caplog.records if line.getMessage() == message]


@pytest.mark.parametrize("others", [[], [OTHER]], ids=["alone", "with another"])
async def test_it_goes_when_all_is_ready_and_others_stay(
    node: Node, others: list[dict[str, str]]
) -> None:
    node.make(*others, OURS)
    node.register("other.csi.example.com", DRIVER)

    async with node.looking():
        assert await node.gone() == others

    assert node.clock.waits_s.empty()


@pytest.mark.parametrize("drivers", [None, [], ["other.csi.example.com"]], ids=str)
async def test_it_stays_until_kubelet_has_registered_the_driver(
    node: Node, drivers: list[str] | None, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    node.make(OURS)
    if drivers is not None:
        node.register(*drivers)

    async with node.looking():
        for _ in range(3):
            assert await node.clock.next_wait_s() == taint.LOOK_S
            assert node.taints() == [OURS]
            node.clock.go_on()
        assert await node.clock.next_wait_s() == taint.LOOK_S
        if drivers is not None:
            node.api.delete("storage.k8s.io/v1", "CSINode", NODE)
        node.register(DRIVER)
        node.clock.go_on()
        await node.gone()

    (facts,) = told(caplog, "startup taint stays")
    assert "kubelet has not" in facts["waitsFor"]


async def test_it_stays_until_every_required_provider_answers(
    node: Node, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    node.make(OURS)
    node.register(DRIVER)

    async with provider.Provider(node.sockets, "one"), node.looking("one", "two"):
        for _ in range(2):
            assert await node.clock.next_wait_s() == taint.LOOK_S
            assert node.taints() == [OURS]
            node.clock.go_on()
        assert await node.clock.next_wait_s() == taint.LOOK_S
        async with provider.Provider(node.sockets, "two"):
            node.clock.go_on()
            await node.gone()

    (facts,) = told(caplog, "startup taint stays")
    assert 'provider "two"' in facts["waitsFor"]


async def test_while_a_provider_is_missing_few_looks_reach_the_api_server(node: Node) -> None:
    """It may be missing on all nodes, and for good."""
    node.make(OURS)
    node.register(DRIVER)
    asked = [
        node.api.faults.add(resource=kind, verb="get", delay_s=0.001)
        for kind in ("nodes", "csinodes")
    ]

    async with node.looking("one"):
        for _ in range(taint.PROVIDER_LOOKS * (taint.QUICK_LOOKS - 1) + 20):
            assert await node.clock.next_wait_s() == taint.LOOK_S
            node.clock.go_on()
        # The last look has yet to be followed by another: it is one of the rare.
        assert [kind.hits for kind in asked] == [taint.QUICK_LOOKS] * 2
        node.change(OURS, OTHER)
        async with provider.Provider(node.sockets, "one"):
            node.clock.go_on()
            assert await node.gone() == [OTHER]


async def test_what_kubelet_does_not_do_within_a_minute_is_asked_for_rarely(node: Node) -> None:
    node.make(OURS)

    async with node.looking():
        waits_s = []
        for _ in range(taint.QUICK_LOOKS + 2):
            waits_s.append(await node.clock.next_wait_s())
            node.clock.go_on()
        node.register(DRIVER)
        node.clock.go_on()
        await node.gone()

    quick, rare = waits_s[: taint.QUICK_LOOKS - 1], waits_s[taint.QUICK_LOOKS - 1 :]
    assert set(quick) == {taint.LOOK_S}
    assert rare == [taint.RARE_S] * 3


async def test_a_node_without_it_needs_no_look_at_anything_else(node: Node) -> None:
    node.make(OTHER)
    asked = node.api.faults.add(resource="csinodes", code=500)
    read = node.api.faults.add(resource="nodes", verb="get", delay_s=0.001)

    async with node.looking("none"):
        async with asyncio.timeout(4.0):
            while not read.hits:
                await asyncio.sleep(0.01)
        # The second look would come after a wait, and there is none.
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.2):
                await node.clock.waits_s.get()

    assert asked.hits == 0
    assert node.taints() == [OTHER]


async def test_a_missing_right_is_told_once_and_rarely_asked_for(
    node: Node, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    node.make(OURS)
    node.register(DRIVER)
    denied = node.api.faults.add(resource="nodes", verb="patch", code=403, message="no right")

    async with node.looking():
        for _ in range(3):
            assert await node.clock.next_wait_s() == taint.DENIED_S
            assert node.taints() == [OURS]
            node.clock.go_on()
        assert await node.clock.next_wait_s() == taint.DENIED_S
        node.api.faults.remove(denied)
        node.clock.go_on()
        await node.gone()

    assert denied.hits == 4
    (facts,) = told(caplog, "startup taint cannot be removed")
    assert "no right" in facts["reason"]


async def test_a_look_that_is_not_refused_ends_the_long_waits(
    node: Node, caplog: pytest.LogCaptureFixture
) -> None:
    node.make(OURS)
    node.register(DRIVER)
    waits_s: list[float | None] = []

    async def look(code: int) -> None:
        """Let one look at the node end with an error."""
        fault = node.api.faults.add(resource="nodes", verb="get", code=code)
        node.clock.go_on()
        waits_s.append(await node.clock.next_wait_s())
        node.api.faults.remove(fault)

    first = node.api.faults.add(resource="nodes", verb="get", code=403)
    async with node.looking():
        waits_s.append(await node.clock.next_wait_s())
        node.api.faults.remove(first)
        for code in (403, 409, 403):
            await look(code)
        node.clock.go_on()
        await node.gone()

    assert waits_s == [taint.DENIED_S, taint.DENIED_S, taint.LOOK_S, taint.DENIED_S]
    assert len(told(caplog, "startup taint cannot be removed")) == 2


async def test_taints_that_others_change_meanwhile_are_kept(node: Node) -> None:
    node.make(OURS)
    node.register(DRIVER)
    # Between the look at the node and the removal.
    slow = node.api.faults.add(resource="csinodes", verb="get", delay_s=1.0, count=1)

    async with node.looking():
        async with asyncio.timeout(4.0):
            while not slow.hits:
                await asyncio.sleep(0.01)
        node.change(OURS, OTHER)
        assert await node.clock.next_wait_s() == taint.LOOK_S
        assert node.taints() == [OURS, OTHER]

        node.clock.go_on()
        assert await node.gone() == [OTHER]
