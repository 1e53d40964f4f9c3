"""The stand-in registrar: what it asks of the driver and shows to kubelet."""

import pathlib
import shutil
import tempfile
from collections.abc import AsyncIterator

import grpc.aio
import pytest

from devkit import registration, registration_pb2, registration_pb2_grpc
from devkit.kubelet import node_client, plugins
from tests.unit.devkit.kubelet import node_driver


@pytest.fixture
async def directory() -> AsyncIterator[pathlib.Path]:
    """A directory with a driver on `csi.sock`."""
    path = pathlib.Path(tempfile.mkdtemp(prefix="reg", dir="/tmp"))
    server = await node_driver.NodeDriver().serve(f"{path}/csi.sock")
    yield path
    await server.stop(0)
    shutil.rmtree(path)


async def test_tells_the_drivers_name_and_kubelets_path(directory: pathlib.Path) -> None:
    registrar = registration.Registrar(
        f"{directory}/csi.sock", directory, kubelet_path="/host/csi.sock"
    )
    await registrar.start()
    async with node_client.channel(f"{directory}/secrets-store.csi.k8s.io-reg.sock") as channel:
        stub = registration_pb2_grpc.RegistrationStub(channel)
        info = await stub.GetInfo(registration_pb2.InfoRequest(), timeout=3)
    assert info == registration_pb2.PluginInfo(
        type="CSIPlugin",
        name="secrets-store.csi.k8s.io",
        endpoint="/host/csi.sock",
        supported_versions=["1.0.0"],
    )
    await registrar.stop()
    assert [path.name for path in directory.iterdir()] == ["csi.sock"]
    await registrar.stop()


@pytest.mark.parametrize(
    ("status", "error"),
    [
        (registration_pb2.RegistrationStatus(error="no"), "no"),
        (registration_pb2.RegistrationStatus(), "no reason given"),
    ],
)
async def test_a_bad_verdict_is_raised(
    directory: pathlib.Path, status: registration_pb2.RegistrationStatus, error: str
) -> None:
    registrar = registration.Registrar(f"{directory}/csi.sock", directory)
    await registrar.start()
    async with node_client.channel(f"{directory}/secrets-store.csi.k8s.io-reg.sock") as channel:
        stub = registration_pb2_grpc.RegistrationStub(channel)
        await stub.NotifyRegistrationStatus(status, timeout=3)
    with pytest.raises(plugins.RegistrationFailed, match=f"^{error}$"):
        await registrar.outcome()
    await registrar.stop()


async def test_without_a_driver_there_is_no_socket(directory: pathlib.Path) -> None:
    registrar = registration.Registrar(f"{directory}/none.sock", directory)
    with pytest.raises(grpc.aio.AioRpcError):
        await registrar.start()
    assert [path.name for path in directory.iterdir()] == ["csi.sock"]
