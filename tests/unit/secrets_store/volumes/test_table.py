"""The volumes of a node: who works on which, and what outlives the process."""

import asyncio
import dataclasses
import errno
import logging
import os
from collections.abc import AsyncIterator

import pytest

from secrets_store import errors, tasks
from secrets_store.log import Sealed
from secrets_store.model import pod_status, record, volume
from secrets_store.volumes import table

POD = volume.Pod("shop", "web", "uid1")


class Disk:
    """Records by target path; full when a test says so."""

    def __init__(self) -> None:
        self.records: dict[str, record.Record] = {}
        self.full = False

    def save(self, known: record.Record) -> None:
        self._check()
        self.records[known.target_path] = known

    def drop(self, target_path: str) -> None:
        self._check()
        self.records.pop(target_path, None)

    def _check(self) -> None:
        if self.full:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


class Node:
    """A table and its disk."""

    def __init__(self) -> None:
        self.disk, self.threads = Disk(), tasks.Threads("host", 1)
        self.table = table.Table(self.disk, self.threads)


@pytest.fixture
async def node() -> AsyncIterator[Node]:
    made = Node()
    yield made
    made.threads.stop()


def a_record(target_path: str = "/t", status_name: str = "s") -> record.Record:
    return record.Record(
        volume_id="v", target_path=target_path, pod=POD, service_account="", class_name="cls",
        class_uid="", class_generation=1, provider="p", objects={}, attributes={},
        last_check_s=0.0, last_change_s=0.0, status_name=status_name, group=None, boot_id="",
    )  # fmt: skip


def a_path(volume_name: str) -> str:
    return f"/var/lib/kubelet/pods/uid1/volumes/kubernetes.io~csi/{volume_name}/mount"


async def test_a_volume_is_worked_on_by_one_at_a_time(node: Node) -> None:
    async with node.table.flight("/t", "uid1") as flight:
        assert node.table.running("/t") is flight
        with pytest.raises(errors.VolumeBusy) as caught:
            async with node.table.flight("/t", "uid1"):
                pass
        # The one that was refused must not have taken away what it does not have.
        assert node.table.running("/t") is flight
        async with node.table.flight("/other", "uid1"):
            pass
        assert not flight.ended.is_set()

    assert caught.value.status_code == errors.Code.ABORTED
    assert flight.ended.is_set()
    assert node.table.running("/t") is None


async def test_a_failure_ends_the_flight(node: Node) -> None:
    with pytest.raises(OSError, match="disk"):
        async with node.table.flight("/t", "uid1") as flight:
            raise OSError("disk")

    assert flight.ended.is_set()
    async with node.table.flight("/t", "uid1"):
        pass


async def test_a_flight_waits_for_the_lock_and_others_for_its(node: Node) -> None:
    order: list[str] = []

    async def publish() -> None:
        async with node.table.flight("/t", "uid1"):
            order.append("publish")

    async def refresh() -> None:
        async with node.table.locks.hold("/t"):
            order.append("refresh")

    async with node.table.locks.hold("/t"):
        publishing = asyncio.create_task(publish())
        await asyncio.sleep(0)
        refreshing = asyncio.create_task(refresh())
        await asyncio.sleep(0)
        assert node.table.running("/t") is not None
        order.append("first")
    await asyncio.gather(publishing, refreshing)

    assert order == ["first", "publish", "refresh"]


async def test_a_flight_that_is_cancelled_while_it_waits_leaves_nothing(node: Node) -> None:
    async def publish() -> None:
        async with node.table.flight("/t", "uid1"):
            raise AssertionError("the lock is held")

    async with node.table.locks.hold("/t"):
        publishing = asyncio.create_task(publish())
        await asyncio.sleep(0)
        publishing.cancel()
        await asyncio.wait({publishing})
        assert publishing.cancelled()
        assert node.table.running("/t") is None


async def test_all_publishes_give_up_and_the_first_reason_counts(node: Node) -> None:
    async with node.table.flight("/a", "uid1") as first, node.table.flight("/b", "uid1") as second:
        first.check()
        first.abandon("unpublish")
        node.table.abandon_all("shutdown")
        for flight, reason in ((first, "unpublish"), (second, "shutdown")):
            with pytest.raises(errors.VolumeBusy, match=f"{flight.target_path}: {reason}"):
                flight.check()


async def test_a_publish_gives_up_with_the_end_of_its_pod() -> None:
    flight = table.InFlight("/t", "uid1")
    cancelled: asyncio.Future[str] = asyncio.get_running_loop().create_future()
    cancelled.cancel()
    flight.follow(cancelled)
    flight.check()

    ending: asyncio.Future[str] = asyncio.get_running_loop().create_future()
    ending.set_result("the pod is ending")
    flight.follow(ending)

    with pytest.raises(errors.VolumeBusy, match="the pod is ending"):
        flight.check()


async def test_what_is_put_is_on_disk_and_in_memory(node: Node) -> None:
    found = await node.table.put(a_record())

    assert node.disk.records == {"/t": found.record}
    assert node.table.get("/t") is found
    assert list(node.table) == [found]
    assert len(node.table) == 1


async def test_what_is_new_of_a_volume_leaves_the_rest_of_it(node: Node) -> None:
    found = await node.table.put(a_record())
    found.failures = 3
    newer = dataclasses.replace(a_record(), objects={"a": "2"})

    assert node.table.enter(newer) is found
    assert (found.record, found.failures) == (newer, 3)
    assert node.disk.records["/t"] != newer

    await node.table.save(found)
    assert node.disk.records["/t"] == newer


async def test_with_a_full_disk_a_volume_is_kept_in_memory(
    node: Node, caplog: pytest.LogCaptureFixture
) -> None:
    node.disk.full = True

    found = await node.table.put(a_record())

    assert node.table.get("/t") is found
    assert node.disk.records == {}
    (line,) = caplog.records
    assert line.getMessage() == "record kept in memory only"
    assert line.__dict__["pairs"] == {"targetPath": "/t", "reason": os.strerror(errno.ENOSPC)}


async def test_a_disk_that_stays_full_is_told_once_for_a_volume(
    node: Node, caplog: pytest.LogCaptureFixture
) -> None:
    """Every check writes a record: a hundred volumes would fill the log too."""
    caplog.set_level(logging.INFO)
    node.disk.full = True
    for _ in range(3):
        await node.table.put(a_record())
    await node.table.put(a_record("/other"))
    assert len(caplog.records) == 2

    node.disk.full = False
    await node.table.put(a_record())
    node.disk.full = True
    await node.table.put(a_record())

    assert len(caplog.records) == 3


async def test_what_only_kubelet_gives_goes_with_the_volume(node: Node) -> None:
    """Others may hold on to a volume that is gone: a check under way, a call yet to come."""
    found = await node.table.put(a_record())
    found.handover = volume.Handover(Sealed("token"), Sealed({}), Sealed({}))

    await node.table.drop("/t")

    assert found.handover.empty


@pytest.mark.parametrize("full", [False, True])
async def test_a_volume_that_is_dropped_is_forgotten(
    node: Node, full: bool, caplog: pytest.LogCaptureFixture
) -> None:
    await node.table.put(a_record())
    node.disk.full = full

    await node.table.drop("/t")

    assert node.table.get("/t") is None
    assert len(node.table) == 0
    assert bool(node.disk.records) is full
    told = [line.getMessage() for line in caplog.records]
    assert told == (["record not removed"] if full else [])


async def test_to_drop_what_is_not_there_is_no_fault(node: Node) -> None:
    await node.table.drop("/t")

    assert len(node.table) == 0


async def test_the_table_may_change_while_it_is_walked(node: Node) -> None:
    for target_path in ("/a", "/b", "/c"):
        await node.table.put(a_record(target_path))

    for found in node.table:
        await node.table.drop(found.record.target_path)

    assert len(node.table) == 0


def names(node: Node) -> list[str]:
    """Claim names for two volumes of a pod that use one class."""
    return [node.table.claim_status_name(POD, "cls", a_path(name)) for name in ("one", "two")]


async def test_two_volumes_of_a_pod_with_one_class_have_names_of_their_own(node: Node) -> None:
    claimed = names(node)

    assert claimed == [
        pod_status.name(POD, "cls", "one", shared=False),
        pod_status.name(POD, "cls", "two", shared=True),
    ]
    assert claimed[0] == "web-shop-cls"
    assert names(node) == claimed


async def test_names_stay_different_however_many_run_together(node: Node) -> None:
    """Pods of one name that kubelet cannot unmount, each replaced by the next."""
    paths = [
        f"/var/lib/kubelet/pods/uid{number}/volumes/kubernetes.io~csi/secrets/mount"
        for number in range(5)
    ]

    claimed = [node.table.claim_status_name(POD, "cls", path) for path in paths]

    assert len(set(claimed)) == 5
    assert claimed[:2] == ["web-shop-cls", pod_status.name(POD, "cls", "secrets", shared=True)]
    assert [node.table.claim_status_name(POD, "cls", path) for path in paths] == claimed


async def test_a_name_is_free_again_when_its_volume_is_dropped(node: Node) -> None:
    first, second = names(node)

    await node.table.drop(a_path("one"))

    third = node.table.claim_status_name(POD, "cls", a_path("three"))
    assert third == first
    # The second keeps to its own, for its object is there already.
    assert node.table.claim_status_name(POD, "cls", a_path("two")) == second


async def test_a_name_can_be_given_up_by_a_publish_that_failed(node: Node) -> None:
    first, _ = names(node)
    node.table.release_status_name(a_path("one"))

    assert node.table.claim_status_name(POD, "cls", a_path("three")) == first


async def test_the_name_of_an_adopted_volume_is_taken(node: Node) -> None:
    adopted = node.table.adopt(a_record(a_path("one"), "web-shop-cls"))

    assert node.table.get(a_path("one")) is adopted
    assert node.disk.records == {}
    claimed = node.table.claim_status_name(POD, "cls", a_path("two"))
    assert claimed == pod_status.name(POD, "cls", "two", shared=True)
    assert node.table.claim_status_name(POD, "cls", a_path("one")) == "web-shop-cls"


async def test_one_name_in_two_namespaces_is_no_conflict(node: Node) -> None:
    one, other = volume.Pod("b", "x-a", "uid1"), volume.Pod("a-b", "x", "uid2")

    claimed = [node.table.claim_status_name(pod, "cls", f"/{pod.uid}") for pod in (one, other)]

    assert claimed == ["x-a-b-cls", "x-a-b-cls"]
