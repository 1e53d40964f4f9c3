"""A driver's start where another one was before: its records, its mounts, its leftovers."""

import contextlib
import dataclasses
import json
import logging
import os
import pathlib
import subprocess
from collections.abc import Iterator
from typing import Any

import grpc
import grpc.aio
import pytest

from csi_spec import csi_pb2
from devkit import stage
from secrets_store.host import mount, records, syscalls
from secrets_store.model import record, volume
from tests.contract.secrets_store.conftest import Driver, Start, eventually

pytestmark = pytest.mark.root
Code = grpc.StatusCode


def state(node: stage.Node) -> pathlib.Path:
    return node.csi_socket.parent / "state"


def known(node: stage.Node, uid: str = "pod1", **changes: Any) -> record.Record:
    """A record such as the driver writes, of a volume that need not exist."""
    fields: dict[str, Any] = {
        "volume_id": f"csi-{uid}-secrets",
        "target_path": node.target(uid),
        "pod": volume.Pod("default", f"pod-{uid}", uid),
        "service_account": "default",
        "class_name": "app",
        "class_uid": "",
        "class_generation": 1,
        "provider": "fake",
        "objects": {"secret/password": "1"},
        "attributes": {"secretProviderClass": "app"},
        "last_check_s": 1.0,
        "last_change_s": 1.0,
        "status_name": f"pod-{uid}-default-app",
        "group": None,
        "boot_id": records.boot_id(),
    }
    # Fields that a later version adds have defaults in the eyes of this test.
    for field in dataclasses.fields(record.Record):
        if field.name not in fields and field.default is dataclasses.MISSING:
            fields[field.name] = ()
    return record.Record(**(fields | changes))


def put(node: stage.Node, one: record.Record) -> pathlib.Path:
    records.Records(str(state(node))).save(one)
    return state(node) / record.file_name(one.target_path)


def leave_mounted(node: stage.Node, uid: str = "pod1", *, whole: bool = True) -> pathlib.Path:
    """Leave a volume as an upstream driver does: a tmpfs, files of its own time, no record."""
    target = pathlib.Path(node.target(uid))
    mount.Mounter(size_bytes=1 << 20, inodes=100).mount(str(target))
    directory = target / "..2024_01_02_03_04_05.678901234"
    directory.mkdir()
    (directory / "password").write_bytes(b"of upstream")
    if whole:
        (target / "..data").symlink_to(directory.name)
        (target / "password").symlink_to("..data/password")
    return target


async def publish_fails(driver: Driver, **changes: Any) -> grpc.StatusCode:
    with pytest.raises(grpc.aio.AioRpcError) as failed:
        await driver.publish(**changes)
    return failed.value.code()


async def test_a_restart_takes_its_volumes_in_and_asks_nobody_for_them(start: Start) -> None:
    async with start() as driver:
        volume_ = await driver.publish()
    async with start() as driver:
        await eventually(lambda: driver.api.watches == 3)
        seen = len(driver.provider.calls)
        assert await driver.publish() == volume_
        assert len(driver.provider.calls) == seen
        assert (volume_ / "password").read_bytes() == b"first"
        await driver.unpublish()
        assert driver.node.mounts() == []
        assert driver.records() == []


async def test_a_volume_taken_in_is_not_another_pods(start: Start) -> None:
    async with start() as driver:
        await driver.publish()
    async with start() as driver:
        request = driver.request()
        request.volume_context["csi.storage.k8s.io/pod.uid"] = "pod2"
        with pytest.raises(grpc.aio.AioRpcError) as failed:
            await driver.csi.NodePublishVolume(request)
        assert failed.value.code() is Code.ALREADY_EXISTS


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"{",
        b"[]",
        b"null",
        b"\xff\xfe\x00",
        b'{"schema": 99}',
        b"[" * 100_000,
        b'{"a":' * 50_000,
    ],
    ids=["empty", "cut", "list", "null", "binary", "schema", "deep", "deeper"],
)
async def test_a_broken_record_is_removed_and_its_work_done_again(
    node: stage.Node, start: Start, text: bytes
) -> None:
    path = put(node, known(node))
    path.write_bytes(text)
    async with start() as driver:
        assert not path.exists()
        volume_ = await driver.publish()
        assert (volume_ / "password").read_bytes() == b"first"


async def test_a_record_under_another_ones_name_is_believed_nothing(
    node: stage.Node, start: Start
) -> None:
    path = put(node, known(node, "pod2"))
    os.rename(path, state(node) / record.file_name(node.target("pod1")))
    leave_mounted(node, "pod2")
    async with start() as driver:
        assert driver.records() == []


async def test_what_is_no_record_is_not_taken_for_one(node: stage.Node, start: Start) -> None:
    state(node).mkdir()
    half = state(node) / "0123456789abcdef.json.tmp"
    half.write_text(known(node).to_json())
    directory = state(node) / ("0" * 32 + ".json")
    directory.mkdir()
    async with start() as driver:
        assert not half.exists()
        await driver.publish()
        await driver.unpublish()
        assert driver.node.mounts() == []


async def test_a_symlink_for_a_record_is_not_followed(node: stage.Node, start: Start) -> None:
    elsewhere = node.root / "elsewhere"
    elsewhere.write_text(known(node).to_json())
    state(node).mkdir()
    (state(node) / record.file_name(node.target("pod1"))).symlink_to(elsewhere)
    async with start() as driver:
        await driver.publish()
        assert json.loads(elsewhere.read_text())["last_check_s"] == 1.0
        path = state(node) / record.file_name(node.target("pod1"))
        assert not path.is_symlink()
        assert json.loads(path.read_text())["last_check_s"] > 1.0


async def test_a_ghost_is_dropped(node: stage.Node, start: Start) -> None:
    """A record whose volume went while nobody looked: the node was cleaned by hand."""
    path = put(node, known(node))
    async with start() as driver:
        assert not path.exists()
        volume_ = await driver.publish()
        assert (volume_ / "password").read_bytes() == b"first"
        assert driver.node.mounts() == [str(volume_)]


async def test_a_record_of_another_boot_is_dropped(node: stage.Node, start: Start) -> None:
    """Its tmpfs ended with that boot; what is mounted there now is not what it tells of."""
    leave_mounted(node)
    path = put(node, known(node, boot_id="of another boot"))
    async with start() as driver:
        assert not path.exists()
        await driver.publish()
        assert json.loads(path.read_text())["boot_id"] == records.boot_id()


async def test_after_a_reboot_the_plain_directory_is_no_volume(
    node: stage.Node, start: Start
) -> None:
    """A2: upstream takes the directory that is left for a volume that is fresh enough."""
    target = pathlib.Path(node.target("pod1"))
    target.mkdir(parents=True)
    put(node, known(node, boot_id="of another boot", last_check_s=4e9))
    async with start(enable_secret_rotation=True, rotation_poll_interval_s=86400.0) as driver:
        await driver.publish()
        assert driver.node.mounts() == [str(target)]
        assert (target / "password").read_bytes() == b"first"


async def test_a_volume_of_an_upstream_driver_is_adopted_as_it_is(
    node: stage.Node, start: Start
) -> None:
    target = leave_mounted(node)
    async with start() as driver:
        await driver.publish()
        assert driver.provider.attempts == 0
        assert (target / "password").read_bytes() == b"of upstream"
        assert len(driver.records()) == 1
        assert driver.node.mounts() == [str(target)]


async def test_an_adopted_volume_is_refreshed_as_soon_as_it_may_be(
    node: stage.Node, start: Start
) -> None:
    target = leave_mounted(node)
    async with start(enable_secret_rotation=True, rotation_poll_interval_s=3600.0) as driver:
        await driver.publish()
        await eventually(lambda: (target / "password").read_bytes() == b"first", 2.0)
        assert await eventually(driver.status)


@pytest.mark.parametrize("fault", ["provider refuses", "provider missing", "class missing"])
async def test_an_adopted_volume_is_kept_whatever_fails(
    node: stage.Node, start: Start, fault: str
) -> None:
    """Its pod runs: what a failed first publish of a new pod undoes must stay here."""
    target = leave_mounted(node)
    async with start(enable_secret_rotation=True, rotation_poll_interval_s=0.1) as driver:
        class_name = "app"
        if fault == "class missing":
            class_name = "nope"
        elif fault == "provider missing":
            await driver.provider.stop()
        else:
            driver.provider.faults.every_error = Code.PERMISSION_DENIED
        await driver.publish(class_name=class_name)
        await eventually(lambda: driver.events("MountRotationFailed"))
        await driver.publish(class_name=class_name)
        assert driver.node.mounts() == [str(target)]
        assert (target / "password").read_bytes() == b"of upstream"
        if fault == "provider missing":
            await driver.provider.start()


async def test_a_mount_that_is_not_whole_is_filled_again(node: stage.Node, start: Start) -> None:
    """A crash came before ``..data``; nothing there proves that it is complete."""
    target = leave_mounted(node, whole=False)
    async with start() as driver:
        await driver.publish()
        assert (target / "password").read_bytes() == b"first"
        assert driver.provider.attempts == 1
        assert driver.node.mounts() == [str(target)]
        assert [x.name for x in target.iterdir() if x.name.startswith("..20")] == [
            os.readlink(target / "..data")
        ]


async def test_a_mount_that_is_not_whole_is_no_success_when_the_provider_fails(
    node: stage.Node, start: Start
) -> None:
    """Nor is it taken away: a provider may have written files of its own for a running pod."""
    target = leave_mounted(node, whole=False)
    async with start() as driver:
        driver.provider.faults.every_error = Code.PERMISSION_DENIED
        for _ in range(2):
            assert await publish_fails(driver) is Code.PERMISSION_DENIED
        assert driver.node.mounts() == [str(target)]
        assert driver.records() == []
        await driver.unpublish()
        assert driver.node.mounts() == []


async def test_an_empty_mount_of_a_crash_is_no_success_and_goes_with_the_failure(
    node: stage.Node, start: Start
) -> None:
    mount.Mounter(size_bytes=1 << 20, inodes=100).mount(node.target("pod1"))
    async with start(enable_secret_rotation=True) as driver:
        driver.provider.faults.errors.append(Code.PERMISSION_DENIED)
        assert await publish_fails(driver) is Code.PERMISSION_DENIED
        assert driver.node.mounts() == []
        volume_ = await driver.publish()
        assert (volume_ / "password").read_bytes() == b"first"


async def test_a_recorded_volume_that_lost_its_files_is_filled_again(start: Start) -> None:
    async with start() as driver:
        volume_ = await driver.publish()
    (volume_ / "..data").unlink()
    async with start() as driver:
        await driver.publish()
        assert (volume_ / "password").read_bytes() == b"first"
        assert driver.provider.attempts == 2


async def test_stacked_mounts_of_an_upstream_driver_all_go(node: stage.Node, start: Start) -> None:
    leave_mounted(node)
    # Upstream mounts over what is mounted; ours refuses to, so the second is made by hand.
    subprocess.run(["mount", "-t", "tmpfs", "tmpfs", node.target("pod1")], check=True)
    assert len(node.mounts()) == 2
    async with start() as driver:
        await driver.unpublish()
        assert driver.node.mounts() == []


async def test_volumes_of_pods_that_are_gone_can_be_unpublished_after_a_restart(
    start: Start,
) -> None:
    async with start() as driver:
        volume_ = await driver.publish()
    async with start() as driver:
        driver.api.pause()
        await driver.unpublish()
        assert not volume_.exists()
        driver.api.resume()


@contextlib.contextmanager
def mounted_over(directory: pathlib.Path, options: str) -> Iterator[None]:
    directory.mkdir(exist_ok=True)
    subprocess.run(
        ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(directory)], check=True, timeout=3
    )
    try:
        yield
    finally:
        syscalls.umount_detached(str(directory))


def fill(directory: pathlib.Path) -> None:
    with contextlib.suppress(OSError), (directory / "filler.json").open("wb") as file:
        while True:
            file.write(b"\0" * 4096)
            file.flush()


@pytest.mark.parametrize("disk", ["read-only", "full"])
async def test_a_record_that_cannot_be_written_is_kept_in_memory_and_told(
    node: stage.Node, start: Start, caplog: pytest.LogCaptureFixture, disk: str
) -> None:
    options = "ro" if disk == "read-only" else "size=8k"
    with mounted_over(state(node), options):
        async with start() as driver:
            if disk == "full":
                fill(state(node))
            volume_ = await driver.publish()
            assert (volume_ / "password").read_bytes() == b"first"
            told = [x for x in caplog.records if x.getMessage() == "record kept in memory only"]
            assert [x.levelno for x in told] == [logging.ERROR]
            await driver.publish()
            assert len(driver.provider.calls) == 1
            await driver.unpublish()
            assert not volume_.exists()


async def test_a_volume_whose_record_was_never_written_is_adopted_after_a_restart(
    node: stage.Node, start: Start
) -> None:
    with mounted_over(state(node), "ro"):
        async with start() as driver:
            volume_ = await driver.publish()
    async with start() as driver:
        await driver.publish()
        assert driver.provider.attempts == 1
        assert (volume_ / "password").read_bytes() == b"first"
        assert len(driver.records()) == 1


async def test_a_state_directory_that_is_none_does_not_keep_the_driver_down(
    node: stage.Node, start: Start
) -> None:
    state(node).write_text("not a directory")
    async with start() as driver:
        volume_ = await driver.publish()
        assert (volume_ / "password").read_bytes() == b"first"
        await driver.unpublish()
        answer = await driver.identity.Probe(csi_pb2.ProbeRequest())
        assert answer.ready.value
