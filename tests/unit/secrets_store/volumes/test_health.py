"""What NodeGetVolumeStats says; measured for real: tests/unit/secrets_store/host/test_mount.py."""

from collections.abc import Iterator

import pytest

from secrets_store import errors, tasks
from secrets_store.host import mount
from secrets_store.model import record, volume
from secrets_store.volumes import health, table

PATH = "/pods/one/mount"
USAGE = mount.Usage(
    total_bytes=1 << 20, available_bytes=1 << 19, total_inodes=100, available_inodes=90
)


class Mounts(mount.Mounter):
    """A mounter that knows one volume."""

    def __init__(self) -> None:
        super().__init__(size_bytes=1 << 20, inodes=100)
        self.mounted = {PATH}

    def usage(self, target: str) -> mount.Usage:
        if target not in self.mounted:
            raise errors.VolumeAbsent(f"no volume is mounted at {target}")
        return USAGE


class Memory:
    """A store of records that keeps none."""

    def save(self, known: record.Record) -> None:
        raise AssertionError("a look changes nothing")

    def drop(self, target_path: str) -> None:
        raise AssertionError("a look changes nothing")


class Node:
    """One volume in the table and mounted."""

    def __init__(self) -> None:
        self.threads, self.mounts = tasks.Threads("host", 1), Mounts()
        self.table = table.Table(Memory(), self.threads)
        self.volume = self.table.adopt(
            record.Record(
                volume_id="v", target_path=PATH, pod=volume.Pod("shop", "web", "uid1"),
                service_account="", class_name="cls", class_uid="", class_generation=1,
                provider="p", objects={}, attributes={}, last_check_s=1_700_000_000.0,
                last_change_s=0.0, status_name="s", group=None, boot_id="",
            )
        )  # fmt: skip
        self.health = health.Health(self.table, self.mounts, self.threads)


@pytest.fixture
def node() -> Iterator[Node]:
    made = Node()
    yield made
    made.threads.stop()


async def test_a_volume_that_is_well(node: Node) -> None:
    report = await node.health.report("v", PATH)

    assert report == health.Report(
        USAGE, abnormal=False, message="contents checked 2023-11-14T22:13:20+00:00"
    )


async def test_a_volume_whose_refreshes_fail(node: Node) -> None:
    node.volume.failures = 3

    report = await node.health.report("v", PATH)

    assert report == health.Report(
        USAGE,
        abnormal=True,
        message="3 refreshes failed in a row, contents are as of 2023-11-14T22:13:20+00:00",
    )


async def test_a_volume_that_recovers(node: Node) -> None:
    node.volume.failures = 3
    assert (await node.health.report("v", PATH)).abnormal

    node.volume.failures = 0

    assert not (await node.health.report("v", PATH)).abnormal


async def test_a_volume_that_another_driver_mounted(node: Node) -> None:
    node.mounts.mounted.add("/pods/two/mount")

    report = await node.health.report("w", "/pods/two/mount")

    assert report == health.Report(
        USAGE, abnormal=False, message="mounted by another driver, not adopted"
    )


@pytest.mark.parametrize(
    ("volume_id", "path", "missing"), [("", PATH, "Volume ID"), ("v", "", "Volume path")]
)
async def test_a_request_that_lacks_something(
    node: Node, volume_id: str, path: str, missing: str
) -> None:
    with pytest.raises(errors.InvalidRequest, match=missing) as caught:
        await node.health.report(volume_id, path)

    assert caught.value.status_code is errors.Code.INVALID_ARGUMENT


@pytest.mark.parametrize(
    ("volume_id", "path"),
    [("v", "/pods/two/mount"), ("w", PATH), ("v", "pods/one/mount"), ("v", "/pods/../one")],
    ids=["unknown path", "other id", "relative path", "path with dots"],
)
async def test_a_volume_that_is_not_there(node: Node, volume_id: str, path: str) -> None:
    with pytest.raises(errors.VolumeAbsent) as caught:
        await node.health.report(volume_id, path)

    assert caught.value.status_code is errors.Code.NOT_FOUND
    assert path in str(caught.value)


async def test_a_volume_that_somebody_unmounted(node: Node) -> None:
    node.mounts.mounted.clear()

    with pytest.raises(errors.VolumeAbsent):
        await node.health.report("v", PATH)
