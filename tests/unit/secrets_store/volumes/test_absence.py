"""Looking out for providers that were away."""

import asyncio

import pytest

from secrets_store import tasks
from secrets_store.model import record, volume
from secrets_store.providers import registry
from secrets_store.volumes import absence, fetch, table


class Clock:
    """Time that passes when somebody waits."""

    def __init__(self) -> None:
        self.waits_s: list[float | None] = []

    def wall_s(self) -> float:
        raise AssertionError("not asked")

    def mono_s(self) -> float:
        raise AssertionError("not asked")

    async def wait(self, event: asyncio.Event, timeout_s: float | None) -> bool:
        self.waits_s.append(timeout_s)
        await asyncio.sleep(0)
        return event.is_set()


class Fetcher(fetch.Fetcher):
    """Finds a provider away as many times as told."""

    def __init__(self, background: tasks.Background) -> None:
        super().__init__(registry.Registry([], max_receive_bytes=1), background)
        self.away: dict[str, int] = {}

    def answers(self, provider: str) -> bool:
        self.away[provider] -= 1
        return self.away[provider] < 0


class Disk:
    """Keeps nothing."""

    def save(self, known: record.Record) -> None:
        pass

    def drop(self, target_path: str) -> None:
        pass


class Node:
    """A volume of each provider named, and who came back."""

    def __init__(self) -> None:
        self.threads, self.background = tasks.Threads("disk", 1), tasks.Background()
        self.volumes, self.clock = table.Table(Disk(), self.threads), Clock()
        self.fetcher, self.back = Fetcher(self.background), list[str]()
        self.absences = absence.Absences(
            self.volumes, self.fetcher, self.background, self.clock, self.back.append
        )

    def mount(self, provider: str) -> str:
        path = f"/t/{provider}"
        self.volumes.adopt(
            record.Record(
                volume_id="v", target_path=path, pod=volume.Pod("shop", "web", "uid1"),
                service_account="", class_name="cls", class_uid="", class_generation=1,
                provider=provider, objects={}, attributes={}, last_check_s=0.0, last_change_s=0.0,
                status_name=f"s-{provider}", group=None, boot_id="",
            )
        )  # fmt: skip
        return path

    async def rest(self) -> None:
        """Let whatever looks out come to its end."""
        await self.background.drain(3.0)


@pytest.fixture
async def node() -> Node:
    return Node()


async def test_a_provider_is_looked_for_at_a_steady_pace_until_it_is_back(node: Node) -> None:
    node.mount("vault")
    node.fetcher.away["vault"] = 3

    node.absences.noticed("vault")
    await node.rest()

    assert node.back == ["vault"]
    assert node.clock.waits_s == [absence.LOOK_S] * 3


async def test_one_task_looks_however_many_volumes_notice(node: Node) -> None:
    node.mount("vault")
    node.fetcher.away["vault"] = 3

    for _ in range(5):
        node.absences.noticed("vault")
    await node.rest()

    assert node.back == ["vault"]
    assert len(node.clock.waits_s) == 3


async def test_each_provider_is_looked_for(node: Node) -> None:
    for provider, looks in (("vault", 4), ("aws", 1)):
        node.mount(provider)
        node.fetcher.away[provider] = looks
        node.absences.noticed(provider)

    await node.rest()

    assert node.back == ["aws", "vault"]


async def test_a_provider_that_goes_away_again_is_looked_for_again(node: Node) -> None:
    node.mount("vault")
    for _ in range(2):
        node.fetcher.away["vault"] = 1
        node.absences.noticed("vault")
        await node.rest()

    assert node.back == ["vault", "vault"]


async def test_a_provider_that_no_volume_needs_is_let_go(node: Node) -> None:
    path = node.mount("vault")
    node.mount("aws")
    node.fetcher.away["vault"] = 1_000_000

    node.absences.noticed("vault")
    while len(node.clock.waits_s) < 3:
        await asyncio.sleep(0)
    await node.volumes.drop(path)
    await node.rest()
    node.threads.stop()

    assert node.back == []
    assert node.fetcher.away["vault"] > 0
