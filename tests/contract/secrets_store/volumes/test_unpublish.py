"""NodeUnpublishVolume over the real socket."""

import pathlib

import grpc
import grpc.aio
import pytest

from csi_spec import csi_pb2
from tests.contract.secrets_store.conftest import Driver

pytestmark = pytest.mark.root
Code = grpc.StatusCode


def unpublish_request(target: str, volume_id: str = "csi-x") -> csi_pb2.NodeUnpublishVolumeRequest:
    return csi_pb2.NodeUnpublishVolumeRequest(volume_id=volume_id, target_path=target)


@pytest.mark.parametrize(
    ("volume_id", "target", "message"),
    [
        ("", "/tmp/a/b", "Volume ID missing in request"),
        ("x", "", "Target path missing in request"),
        ("x", "a/b", "invalid target path"),
        ("x", "/tmp/../etc/x", "invalid target path"),
    ],
)
async def test_a_broken_request_is_refused(
    driver: Driver, volume_id: str, target: str, message: str
) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as failed:
        await driver.csi.NodeUnpublishVolume(unpublish_request(target, volume_id))
    assert failed.value.code() is Code.INVALID_ARGUMENT
    assert str(failed.value.details()).startswith(message)


async def test_nothing_is_left_and_a_repeat_succeeds(driver: Driver) -> None:
    volume = await driver.publish()
    await driver.unpublish()
    await driver.unpublish()
    assert not volume.exists()
    assert driver.node.mounts() == []
    assert driver.records() == []


async def test_it_needs_neither_api_server_nor_provider(driver: Driver) -> None:
    volume = await driver.publish()
    driver.api.pause()
    await driver.provider.stop()
    await driver.unpublish()
    assert not volume.exists()
    driver.api.resume()
    await driver.provider.start()


async def test_a_busy_volume_goes_at_once(driver: Driver) -> None:
    volume = await driver.publish()
    with (volume / "password").open("rb") as held:
        await driver.unpublish()
        assert not volume.exists()
        assert held.read() == b"first"


async def test_a_symlinked_target_is_refused_and_what_it_names_untouched(driver: Driver) -> None:
    victim = driver.node.root / "victim"
    victim.mkdir()
    (victim / "file").write_bytes(b"precious")
    target = pathlib.Path(driver.node.target("pod9"))
    target.parent.mkdir(parents=True)
    target.symlink_to(victim)
    with pytest.raises(grpc.aio.AioRpcError) as failed:
        await driver.csi.NodeUnpublishVolume(unpublish_request(str(target)))
    assert failed.value.code() is Code.INVALID_ARGUMENT
    assert (victim / "file").read_bytes() == b"precious"


async def test_files_of_a_plain_directory_are_not_deleted(driver: Driver) -> None:
    target = pathlib.Path(driver.node.target("pod9"))
    target.mkdir(parents=True)
    (target / "file").write_bytes(b"precious")
    with pytest.raises(grpc.aio.AioRpcError) as failed:
        await driver.csi.NodeUnpublishVolume(unpublish_request(str(target)))
    assert failed.value.code() is Code.INTERNAL
    assert (target / "file").read_bytes() == b"precious"


async def test_another_volumes_id_is_refused(driver: Driver) -> None:
    volume = await driver.publish()
    with pytest.raises(grpc.aio.AioRpcError) as failed:
        await driver.csi.NodeUnpublishVolume(unpublish_request(str(volume), "csi-other"))
    assert failed.value.code() is Code.INVALID_ARGUMENT
    assert (volume / "password").exists()


async def test_upstreams_sanity_path_is_answered_without_doing_anything(driver: Driver) -> None:
    await driver.csi.NodeUnpublishVolume(unpublish_request("/tmp/csi/mount"))
