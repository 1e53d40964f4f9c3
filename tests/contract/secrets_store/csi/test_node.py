"""CSI Node but for publish and unpublish, over the real socket."""

import os
import pathlib

import grpc
import grpc.aio
import pytest

from csi_spec import csi_pb2
from devkit import stage
from secrets_store.host import syscalls
from tests.contract.secrets_store.conftest import Driver, Start, eventually

Code = grpc.StatusCode
Rpc = csi_pb2.NodeServiceCapability.RPC
STRANGE_GROUPS = ["staff", "-1", "1.5", "4294967295", "0x10", "1" * 40]


def stats_request(
    driver: Driver, pod_uid: str = "pod1", **changes: str
) -> csi_pb2.NodeGetVolumeStatsRequest:
    fields = {
        "volume_id": f"csi-{pod_uid}-secrets",
        "volume_path": driver.node.target(pod_uid),
    } | changes
    return csi_pb2.NodeGetVolumeStatsRequest(**fields)


async def stats(driver: Driver, pod_uid: str = "pod1") -> csi_pb2.NodeGetVolumeStatsResponse:
    return await driver.csi.NodeGetVolumeStats(stats_request(driver, pod_uid))


async def test_info_is_the_nodes_name_and_nothing_else(driver: Driver) -> None:
    answer = await driver.csi.NodeGetInfo(csi_pb2.NodeGetInfoRequest())
    assert answer == csi_pb2.NodeGetInfoResponse(node_id=stage.NODE)


async def test_the_capabilities_are_those_that_it_has(driver: Driver) -> None:
    answer = await driver.csi.NodeGetCapabilities(csi_pb2.NodeGetCapabilitiesRequest())
    assert {x.rpc.type for x in answer.capabilities} == {
        Rpc.GET_VOLUME_STATS,
        Rpc.VOLUME_CONDITION,
        Rpc.VOLUME_MOUNT_GROUP,
    }
    assert all(x.WhichOneof("type") == "rpc" for x in answer.capabilities)


@pytest.mark.parametrize("method", ["NodeStageVolume", "NodeUnstageVolume", "NodeExpandVolume"])
async def test_what_is_not_claimed_is_unimplemented(driver: Driver, method: str) -> None:
    request = getattr(csi_pb2, f"{method}Request")()
    with pytest.raises(grpc.aio.AioRpcError) as failed:
        await getattr(driver.csi, method)(request)
    assert failed.value.code() is Code.UNIMPLEMENTED
    assert failed.value.details() == f"{method} is not implemented"


@pytest.mark.root
@pytest.mark.parametrize(
    ("changes", "code", "message"),
    [
        ({"volume_id": ""}, Code.INVALID_ARGUMENT, "Volume ID missing in request"),
        ({"volume_path": ""}, Code.INVALID_ARGUMENT, "Volume path missing in request"),
        ({"volume_path": "some/path"}, Code.NOT_FOUND, "is not mounted at some/path"),
        ({"volume_path": "/tmp/../x/y"}, Code.NOT_FOUND, "is not mounted at /tmp/../x/y"),
        ({"volume_path": "/tmp/no/such"}, Code.NOT_FOUND, "no volume is mounted at /tmp/no/such"),
        ({"volume_path": "/usr/share"}, Code.NOT_FOUND, "no volume is mounted at /usr/share"),
        ({"volume_id": "csi-other"}, Code.NOT_FOUND, "volume csi-other is not mounted at"),
    ],
)
async def test_stats_of_no_volume(
    driver: Driver, changes: dict[str, str], code: Code, message: str
) -> None:
    await driver.publish()
    with pytest.raises(grpc.aio.AioRpcError) as failed:
        await driver.csi.NodeGetVolumeStats(stats_request(driver, **changes))
    assert failed.value.code() is code
    assert message in str(failed.value.details())


@pytest.mark.root
async def test_stats_measure_the_volume(driver: Driver) -> None:
    driver.provider.files = {"big": b"x" * 1_000_000, "small": b"x"}
    await driver.publish()
    bytes_used, inodes = (await stats(driver)).usage
    assert bytes_used.unit == csi_pb2.VolumeUsage.BYTES
    assert bytes_used.total == 64 << 20
    assert 1_000_000 < bytes_used.used < 1_100_000
    assert bytes_used.available == bytes_used.total - bytes_used.used
    assert inodes.unit == csi_pb2.VolumeUsage.INODES
    assert inodes.total == 32768
    # The root, ..data and what it names, and for each file itself and its link.
    assert inodes.used == 7
    assert inodes.available == inodes.total - inodes.used


@pytest.mark.root
async def test_a_well_volume_is_normal_and_says_since_when(driver: Driver) -> None:
    await driver.publish()
    condition = (await stats(driver)).volume_condition
    assert not condition.abnormal
    assert condition.message.startswith("contents checked 20")


@pytest.mark.root
async def test_failing_refreshes_make_it_abnormal_until_one_succeeds(start: Start) -> None:
    async with start(enable_secret_rotation=True, rotation_poll_interval_s=0.1) as driver:
        await driver.publish()
        driver.provider.faults.every_error = Code.PERMISSION_DENIED
        await eventually(lambda: driver.events("MountRotationFailed"))
        condition = (await stats(driver)).volume_condition
        assert condition.abnormal
        assert "failed in a row, contents are as of 20" in condition.message
        driver.provider.faults.every_error = None
        seen = len(driver.provider.calls)
        await eventually(lambda: len(driver.provider.calls) > seen + 1)
        assert not (await stats(driver)).volume_condition.abnormal


@pytest.mark.root
async def test_a_volume_whose_mount_is_lost_is_not_found(driver: Driver) -> None:
    volume = await driver.publish()
    syscalls.umount_detached(str(volume))
    with pytest.raises(grpc.aio.AioRpcError) as failed:
        await stats(driver)
    assert failed.value.code() is Code.NOT_FOUND


@pytest.mark.root
async def test_stats_need_neither_api_server_nor_provider(driver: Driver) -> None:
    await driver.publish()
    driver.api.pause()
    await driver.provider.stop()
    assert not (await stats(driver)).volume_condition.abnormal
    driver.api.resume()
    await driver.provider.start()


@pytest.mark.root
async def test_a_mount_group_gets_the_files(driver: Driver, other_group: int) -> None:
    driver.provider.files = {"password": b"p", "dir/nested": b"n"}
    request = driver.request()
    request.volume_capability.mount.volume_mount_group = str(other_group)
    await driver.csi.NodePublishVolume(request)
    volume = pathlib.Path(request.target_path)
    for path in ("password", "dir", "dir/nested"):
        assert os.stat(volume / path).st_gid == other_group
    assert os.stat(volume / "password").st_mode & 0o777 == 0o440
    assert os.stat(volume / "dir").st_mode & 0o7777 == 0o2750


@pytest.mark.root
async def test_another_group_at_a_republish_gets_the_files_soon(
    driver: Driver, other_group: int
) -> None:
    """Also with rotation off: a pod's fsGroup is no secret that could have changed."""
    volume = await driver.publish()
    request = driver.request()
    request.volume_capability.mount.volume_mount_group = str(other_group)
    await driver.csi.NodePublishVolume(request)
    await eventually(lambda: os.stat(volume / "password").st_gid == other_group)
    assert (volume / "password").read_bytes() == b"first"


@pytest.mark.root
@pytest.mark.parametrize("group", STRANGE_GROUPS)
async def test_a_group_that_is_none_is_refused(driver: Driver, group: str) -> None:
    request = driver.request()
    request.volume_capability.mount.volume_mount_group = group
    with pytest.raises(grpc.aio.AioRpcError) as failed:
        await driver.csi.NodePublishVolume(request)
    assert failed.value.code() is Code.INVALID_ARGUMENT
    assert driver.node.mounts() == []
