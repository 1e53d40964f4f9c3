"""The files of volumes on real tmpfs: these tests mount."""

import asyncio
import logging
import os
import pathlib
import secrets
import stat
from collections.abc import AsyncIterator, Mapping

import pytest

from secrets_store import errors, tasks
from secrets_store.host import mount
from secrets_store.model import record
from secrets_store.providers import client
from secrets_store.volumes import contents, table

pytestmark = pytest.mark.root

SIZE_BYTES, INODES = 1 << 16, 40
TAIL = "pods/11-22/volumes/kubernetes.io~csi/store/mount"


class Clock(tasks.SystemClock):
    """Waits until the test says that the time has come."""

    def __init__(self) -> None:
        self.waits: list[float | None] = []
        self.come = asyncio.Event()

    async def wait(self, event: asyncio.Event, timeout_s: float | None) -> bool:
        self.waits.append(timeout_s)
        await self.come.wait()
        return event.is_set()


class Memory:
    """A store of records that is not asked."""

    def save(self, known: record.Record) -> None:
        raise AssertionError("contents are no record")

    def drop(self, target_path: str) -> None:
        raise AssertionError("contents are no record")


class Node:
    """Contents of one target path."""

    def __init__(self, target: pathlib.Path, clock: tasks.Clock) -> None:
        self.target, self.path = target, str(target)
        self.threads, self.background = tasks.Threads("host", 2), tasks.Background()
        self.table = table.Table(Memory(), self.threads)
        self.contents = contents.Contents(
            mount.Mounter(size_bytes=SIZE_BYTES, inodes=INODES),
            self.threads, self.table, self.background, clock,
        )  # fmt: skip

    async def store(
        self,
        files: Mapping[str, bytes],
        *,
        mode: int = 0o644,
        group: int | None = None,
        default_mode: int | None = None,
    ) -> bool:
        """Return whether the files have changed."""
        answer = client.Answer({"o": "1"}, [(path, mode, data) for path, data in files.items()])
        changed, checked = await self.contents.store(
            self.path, answer, group=group, default_mode=default_mode
        )
        assert checked.files.keys() == files.keys()
        return changed

    def held(self) -> dict[str, bytes]:
        return {
            name: (self.target / name).read_bytes()
            for name in os.listdir(self.target)
            if not name.startswith("..")
        }

    def sets(self) -> int:
        """How many sets of files there are, shown or replaced."""
        return sum(x.startswith("..2") for x in os.listdir(self.target))


@pytest.fixture
async def clock() -> Clock:
    return Clock()


@pytest.fixture
async def node(mount_place: pathlib.Path, clock: Clock) -> AsyncIterator[Node]:
    made = Node(mount_place / TAIL, clock)
    yield made
    clock.come.set()
    await made.background.drain(3.0)
    made.threads.stop()


def some() -> bytes:
    return secrets.token_bytes(16)


async def test_what_stands_at_a_target_path(node: Node) -> None:
    look, state = node.contents.survey, mount.State
    assert await look(node.path) == contents.Survey(state.ABSENT, whole=False, empty=True)

    node.target.mkdir(parents=True)
    assert await look(node.path) == contents.Survey(state.PLAIN, whole=False, empty=True)

    await node.contents.mount(node.path)
    assert await look(node.path) == contents.Survey(state.MOUNTED, whole=False, empty=True)

    (node.target / "a").write_bytes(some())
    assert await look(node.path) == contents.Survey(state.MOUNTED, whole=False, empty=False)

    await node.store({"a": some()})
    assert await look(node.path) == contents.Survey(state.MOUNTED, whole=True, empty=False)

    await node.contents.unmount(node.path)
    assert await look(node.path) == contents.Survey(state.ABSENT, whole=False, empty=True)


async def test_files_are_shown_and_told_when_they_change(node: Node, clock: Clock) -> None:
    first, second = {"a": some(), "b": some()}, {"a": some()}
    await node.contents.mount(node.path)

    assert await node.store(first)
    assert node.held() == first
    assert not await node.store(first)
    assert clock.waits == []

    assert await node.store(second)
    assert node.held() == second


async def test_an_answer_without_files_leaves_what_the_provider_has_written(node: Node) -> None:
    await node.contents.mount(node.path)
    written = {"own": some()}
    (node.target / "own").write_bytes(written["own"])

    assert not await node.store({})

    assert node.held() == written


async def test_an_answer_that_breaks_a_rule_changes_nothing(node: Node) -> None:
    good = {"a": some()}
    await node.contents.mount(node.path)
    await node.store(good)

    with pytest.raises(errors.PayloadRejected):
        await node.store({"a": some(), "../b": some()})

    assert node.held() == good


async def test_nothing_is_written_where_no_volume_is(node: Node) -> None:
    node.target.mkdir(parents=True)

    with pytest.raises(errors.VolumeAbsent):
        await node.store({"a": some()})

    assert os.listdir(node.target) == []


async def test_a_volume_that_is_too_small_says_what_it_holds_and_where_to_change_it(
    node: Node,
) -> None:
    good = {"a": some()}
    await node.contents.mount(node.path)
    await node.store(good)

    for files in ({"a": bytes(2 * SIZE_BYTES)}, {f"f{n}": b"x" for n in range(INODES)}):
        with pytest.raises(errors.FileFailure) as caught:
            await node.store(files)

        assert f"at most {SIZE_BYTES} bytes and {INODES} files" in str(caught.value)
        assert "(flags tmpfs-size and tmpfs-inodes)" in str(caught.value)
        assert node.held() == good


async def test_a_replaced_set_goes_when_its_time_has_come(mount_place: pathlib.Path) -> None:
    node = Node(mount_place / TAIL, tasks.SystemClock())
    second = {"a": some()}
    await node.contents.mount(node.path)
    await node.store({"a": some()})
    await node.store(second)
    assert node.sets() == 2

    await node.background.drain(4.0)

    assert node.sets() == 1
    assert node.held() == second
    node.threads.stop()


async def test_a_volume_may_be_gone_when_the_time_has_come(
    node: Node, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    await node.contents.mount(node.path)
    await node.store({"a": some()})
    await node.store({"a": some()})
    await node.contents.unmount(node.path)
    clock.come.set()

    await node.background.drain(3.0)

    assert clock.waits == [contents.RETIRE_AFTER_S]
    assert [x.getMessage() for x in caplog.records if x.name.startswith("secrets_store")] == []


@pytest.mark.parametrize(
    ("mode", "default_mode", "shown"),
    [(0o644, None, 0o644), (0o644, 0o400, 0o400), (0o600, 0o440, 0o600)],
)
async def test_the_default_mode_is_for_files_of_which_the_provider_knows_no_better(
    node: Node, mode: int, default_mode: int | None, shown: int
) -> None:
    await node.contents.mount(node.path)

    await node.store({"a": some()}, mode=mode, default_mode=default_mode)

    assert stat.S_IMODE((node.target / "a").stat().st_mode) == shown


async def test_files_of_a_pod_with_a_group_are_the_groups_alone(
    node: Node, other_group: int
) -> None:
    await node.contents.mount(node.path)

    await node.store({"a": some()}, group=other_group)

    found = (node.target / "a").stat()
    assert (found.st_gid, stat.S_IMODE(found.st_mode)) == (other_group, 0o440)
