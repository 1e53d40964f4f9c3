"""Series on how fresh the volumes are."""

import asyncio
import itertools

import pytest
from prometheus_client import CollectorRegistry

from secrets_store import tasks
from secrets_store.model import record, volume
from secrets_store.volumes import freshness, table

NOW_S = 1_800_000_000.0
NUMBERS = itertools.count()


class Clock:
    """A moment."""

    def wall_s(self) -> float:
        return NOW_S

    def mono_s(self) -> float:
        raise AssertionError("ages are by Unix time")

    async def wait(self, event: asyncio.Event, timeout_s: float | None) -> bool:
        raise AssertionError("a scrape does not wait")


class Disk:
    """Keeps nothing."""

    def save(self, known: record.Record) -> None:
        raise AssertionError("a scrape writes nothing")

    def drop(self, target_path: str) -> None:
        raise AssertionError("a scrape writes nothing")


class Node:
    """Volumes, and what a scrape says of them."""

    def __init__(self) -> None:
        self.volumes = table.Table(Disk(), tasks.Threads("disk", 1))
        self._registry = CollectorRegistry()
        self._registry.register(freshness.Freshness(self.volumes, Clock()))

    def add(
        self,
        age_s: float,
        *,
        namespace: str = "shop",
        name: str = "cls",
        provider: str = "vault",
        mock: bool = False,
        failures: int = 0,
        awaits_handover: bool = False,
    ) -> None:
        number = next(NUMBERS)
        known = record.Record(
            volume_id="v", target_path=f"/t/{number}", service_account="", class_uid="",
            pod=volume.Pod(namespace, f"pod{number}", f"uid{number}"), class_name=name,
            class_generation=1, provider=provider, objects={}, attributes={},
            last_check_s=NOW_S - age_s, last_change_s=0.0, status_name=f"s{number}", group=None,
            boot_id="", mock=mock,
        )  # fmt: skip
        found = self.volumes.adopt(known)
        found.failures, found.awaits_handover = failures, awaits_handover

    def value(
        self, name: str, namespace: str = "shop", cls: str = "cls", provider: str = "vault"
    ) -> float | None:
        labels = {"namespace": namespace, "secretproviderclass": cls, "provider": provider}
        return self._registry.get_sample_value(f"secrets_store_{name}", labels)

    def awaiting(self) -> float | None:
        return self._registry.get_sample_value("secrets_store_volumes_awaiting_republish")

    def samples(self) -> int:
        return sum(len(family.samples) for family in self._registry.collect())


@pytest.fixture
def node() -> Node:
    return Node()


def test_a_class_is_summed_up_over_its_volumes(node: Node) -> None:
    node.add(10.0)
    node.add(300.0)

    assert node.value("mounted_volumes") == 2
    assert node.value("last_success_timestamp_seconds") == NOW_S - 300.0


@pytest.mark.parametrize(
    "other", [{"namespace": "bank"}, {"cls": "two"}, {"provider": "aws"}], ids=str
)
def test_each_namespace_class_and_provider_is_told_apart(node: Node, other: dict[str, str]) -> None:
    node.add(10.0)
    added = {"name" if key == "cls" else key: text for key, text in other.items()}
    node.add(20.0, **added)  # type: ignore[arg-type]

    assert node.value("last_success_timestamp_seconds") == NOW_S - 10.0
    assert node.value("last_success_timestamp_seconds", **other) == NOW_S - 20.0


def test_old_contents_are_stale_only_if_their_check_failed(node: Node) -> None:
    node.add(9000.0)
    assert node.value("stale_seconds") == 0.0

    node.add(40.0, failures=1)
    node.add(70.0, failures=9)

    assert node.value("stale_seconds") == 70.0


def test_a_volume_that_was_never_checked_shows_as_0(node: Node) -> None:
    node.add(10.0)
    node.add(NOW_S)

    assert node.value("last_success_timestamp_seconds") == 0.0


def test_volumes_that_wait_for_kubelet_are_counted(node: Node) -> None:
    node.add(10.0, awaits_handover=True)
    node.add(10.0, namespace="bank", awaits_handover=True)
    node.add(10.0)

    assert node.awaiting() == 2


def test_the_volume_of_the_sanity_suite_is_left_out(node: Node) -> None:
    node.add(10.0, mock=True, failures=3, awaits_handover=True)

    assert node.awaiting() == 0
    assert node.samples() == 1
