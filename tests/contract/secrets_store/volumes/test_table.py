"""Publishes and unpublishes of one volume that meet, and target paths that are a trap."""

import asyncio
import contextlib
import os
import pathlib
import random
import subprocess
from collections.abc import Iterator

import grpc
import grpc.aio
import pytest

from csi_spec import csi_pb2
from secrets_store.host import syscalls
from tests.contract.secrets_store.conftest import Driver, Start, eventually

pytestmark = pytest.mark.root
Code = grpc.StatusCode


async def unpublish(driver: Driver, target: str, volume_id: str = "csi-x") -> grpc.StatusCode:
    request = csi_pb2.NodeUnpublishVolumeRequest(volume_id=volume_id, target_path=target)
    try:
        await driver.csi.NodeUnpublishVolume(request)
    except grpc.aio.AioRpcError as error:
        return error.code()
    return Code.OK


@pytest.mark.timeout(20)
async def test_publish_and_unpublish_that_race_leave_all_or_nothing(start: Start) -> None:
    """A7: upstream stacks mounts, answers OK over nothing, and writes to the disk below."""
    async with start(enable_secret_rotation=True, rotation_poll_interval_s=0.05) as driver:
        driver.provider.faults.delay_s = 0.005
        volume = pathlib.Path(driver.node.target("pod1"))
        for _ in range(30):
            calls = [_later(driver.publish()), _later(driver.unpublish()), _later(driver.publish())]
            random.shuffle(calls)
            await asyncio.gather(*calls, return_exceptions=True)
            mounts = driver.node.mounts()
            assert len(mounts) <= 1, "stacked"
            if mounts:
                assert (volume / "password").read_bytes() == b"first"
            elif volume.exists():
                assert list(volume.iterdir()) == [], "written to the disk"
        await driver.unpublish()
        assert driver.node.mounts() == []
        assert driver.records() == []
        assert not volume.exists()


def _later(call: "asyncio.Future[object] | object") -> "asyncio.Task[object]":
    async def run() -> object:
        await asyncio.sleep(random.uniform(0.0, 0.02))
        return await call  # type: ignore[misc]

    return asyncio.create_task(run())


@pytest.mark.timeout(20)
async def test_many_unpublishes_at_once_all_succeed(driver: Driver) -> None:
    """In upstream about 1 in 400 fails: «target is busy»."""
    uids = [f"pod{number}" for number in range(60)]
    await asyncio.gather(*(driver.publish(uid) for uid in uids))
    held = [open(f"{driver.node.target(uid)}/password", "rb") for uid in uids]  # noqa: SIM115
    results = await asyncio.gather(
        *(unpublish(driver, driver.node.target(uid), f"csi-{uid}-secrets") for uid in uids * 2)
    )
    for one in held:
        one.close()
    assert set(results) <= {Code.OK, Code.ABORTED}
    assert driver.node.mounts() == []
    for uid in uids:
        await driver.unpublish(uid)


@contextlib.contextmanager
def bind_mount(source: pathlib.Path, target: pathlib.Path) -> Iterator[None]:
    target.mkdir(parents=True, exist_ok=True)
    subprocess.run(["mount", "--bind", str(source), str(target)], check=True)
    try:
        yield
    finally:
        if target.is_mount():
            syscalls.umount_detached(str(target))


async def test_a_bind_mount_at_the_target_is_nobodys_business(driver: Driver) -> None:
    """A16, A20: upstream deletes what is mounted there."""
    victim = driver.node.root / "victim"
    victim.mkdir()
    # Where /tmp is a tmpfs itself, a directory of it would look like a volume.
    subprocess.run(["mount", "-t", "ramfs", "ramfs", str(victim)], check=True)
    (victim / "file").write_bytes(b"precious")
    target = pathlib.Path(driver.node.target("pod9"))
    with bind_mount(victim, target):
        assert await unpublish(driver, str(target)) is Code.INTERNAL
        with pytest.raises(grpc.aio.AioRpcError, match="another file system is mounted there"):
            await driver.publish("pod9")
        assert (target / "file").read_bytes() == b"precious"
    assert (victim / "file").read_bytes() == b"precious"


async def test_a_bind_mount_of_another_pods_volume_is_not_taken_for_ones_own(
    driver: Driver,
) -> None:
    volume = await driver.publish("pod1")
    target = pathlib.Path(driver.node.target("pod9"))
    with bind_mount(volume, target):
        await unpublish(driver, str(target))
        assert (volume / "password").read_bytes() == b"first"
    await driver.unpublish("pod1")


@pytest.mark.parametrize("part", ["volumes", "kubernetes.io~csi", "secrets"])
async def test_a_symlink_on_the_way_is_never_followed(driver: Driver, part: str) -> None:
    """A20: upstream deletes host files through a symlinked parent."""
    victim = driver.node.root / "victim"
    below = {"volumes": "kubernetes.io~csi/secrets/mount", "kubernetes.io~csi": "secrets/mount",
             "secrets": "mount"}[part]  # fmt: skip
    (victim / below).mkdir(parents=True)
    (victim / below / "file").write_bytes(b"precious")
    target = pathlib.Path(driver.node.target("pod9"))
    link = next(x for x in target.parents if x.name == part)
    link.parent.mkdir(parents=True)
    link.symlink_to(victim)
    assert await unpublish(driver, str(target)) is Code.INVALID_ARGUMENT
    with pytest.raises(grpc.aio.AioRpcError) as failed:
        await driver.publish("pod9")
    assert failed.value.code() is Code.INVALID_ARGUMENT
    assert (victim / below / "file").read_bytes() == b"precious"
    assert driver.node.mounts() == []


@pytest.mark.parametrize(
    "target", ["/", "/tmp", "/etc", "//etc/x", "/tmp/./x", "/tmp/x/", "/tmp/x/..", "/a\0b/c"]
)
async def test_a_target_that_is_no_volumes_is_refused(driver: Driver, target: str) -> None:
    assert await unpublish(driver, target) is Code.INVALID_ARGUMENT
    request = driver.request()
    request.target_path = target
    with pytest.raises(grpc.aio.AioRpcError) as failed:
        await driver.csi.NodePublishVolume(request)
    assert failed.value.code() is Code.INVALID_ARGUMENT


@pytest.mark.parametrize("volume_id", ["../../etc", "/", "a" * 4096, "ü", "..data", "*"])
async def test_a_volume_id_is_no_path(driver: Driver, volume_id: str) -> None:
    """CVE-2026-3864, CVE-2026-3865: drivers that delete what an id leads to."""
    request = driver.request()
    request.volume_id = volume_id
    await driver.csi.NodePublishVolume(request)
    assert [x.suffix for x in driver.records()] == [".json"]
    assert await unpublish(driver, request.target_path, volume_id) is Code.OK
    assert driver.records() == []


async def test_kubelets_root_may_be_a_symlink(driver: Driver) -> None:
    """Below it nothing may be one; above it administrators put what they like."""
    link = driver.node.root / "link"
    link.symlink_to(driver.node.kubelet)
    request = driver.request()
    request.target_path = request.target_path.replace(str(driver.node.kubelet), str(link))
    await driver.csi.NodePublishVolume(request)
    assert driver.node.mounts() == [driver.node.target("pod1")]
    assert await unpublish(driver, request.target_path, request.volume_id) is Code.OK
    assert driver.node.mounts() == []


async def test_a_second_request_for_a_volume_at_work_is_told_to_come_again(driver: Driver) -> None:
    driver.provider.faults.hang = asyncio.Event()
    first = asyncio.create_task(driver.publish())
    await driver.provider.wait_attempts(1)
    with pytest.raises(grpc.aio.AioRpcError) as failed:
        await driver.publish()
    assert failed.value.code() is Code.ABORTED
    driver.provider.faults.hang.set()
    await first
    assert os.path.ismount(driver.node.target("pod1"))


async def test_volumes_of_others_go_on_meanwhile(driver: Driver) -> None:
    driver.provider.faults.hang = asyncio.Event()
    first = asyncio.create_task(driver.publish("pod1"))
    await driver.provider.wait_attempts(1)
    hang, driver.provider.faults.hang = driver.provider.faults.hang, None
    await asyncio.wait_for(driver.publish("pod2"), 1.0)
    await asyncio.wait_for(driver.unpublish("pod2"), 1.0)
    hang.set()
    await first
    await eventually(lambda: len(driver.records()) == 1)
