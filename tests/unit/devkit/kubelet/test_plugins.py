"""Registration through a real registration socket and a real driver."""

import asyncio
import pathlib
import socket
from collections.abc import AsyncIterator

import grpc
import pytest

from devkit import registration, registration_pb2
from devkit.kubelet import plugins
from tests.unit.devkit.kubelet import node_driver

NAME = "secrets-store.csi.k8s.io"


@pytest.fixture
def registry(directory: pathlib.Path) -> pathlib.Path:
    path = directory / "reg"
    path.mkdir()
    return path


class Seen:
    """What a watcher reported."""

    def __init__(self, registry: pathlib.Path) -> None:
        self.registered: list[plugins.Plugin] = []
        self.gone: list[str] = []
        self.slept_s: list[float] = []
        self.watcher = plugins.Watcher(
            registry, self.registered.append, self.gone.append, sleep=self.sleep
        )

    async def sleep(self, seconds: float) -> None:
        self.slept_s.append(seconds)
        await asyncio.sleep(0)


@pytest.fixture
def seen(registry: pathlib.Path) -> Seen:
    return Seen(registry)


@pytest.fixture
async def registrar(
    driver: node_driver.NodeDriver, directory: pathlib.Path, registry: pathlib.Path
) -> AsyncIterator[registration.Registrar]:
    started = registration.Registrar(f"{directory}/csi.sock", registry)
    await started.start()
    yield started
    await started.stop()


class TestInspect:
    async def test_a_driver_without_a_sidecar(
        self, driver: node_driver.NodeDriver, directory: pathlib.Path
    ) -> None:
        driver.max_volumes = 5
        path = f"{directory}/csi.sock"
        plugin = await plugins.inspect_unnamed(path)
        assert plugin == plugins.Plugin(NAME, path, "node-1", 5, {})

    async def test_a_driver_that_fails_is_refused(
        self, driver: node_driver.NodeDriver, directory: pathlib.Path
    ) -> None:
        driver.info_code = grpc.StatusCode.INTERNAL
        with pytest.raises(plugins.RegistrationFailed, match="code = Internal desc = as ordered"):
            await plugins.inspect(NAME, f"{directory}/csi.sock")

    async def test_a_driver_without_a_node_id_is_refused(
        self, driver: node_driver.NodeDriver, directory: pathlib.Path
    ) -> None:
        driver.node_id = ""
        with pytest.raises(plugins.RegistrationFailed, match="node id is empty"):
            await plugins.inspect(NAME, f"{directory}/csi.sock")

    async def test_a_negative_volume_limit_is_refused(
        self, driver: node_driver.NodeDriver, directory: pathlib.Path
    ) -> None:
        driver.max_volumes = -1
        with pytest.raises(plugins.RegistrationFailed, match="limit is negative"):
            await plugins.inspect(NAME, f"{directory}/csi.sock")

    async def test_no_driver_is_told(self, directory: pathlib.Path) -> None:
        with pytest.raises(plugins.RegistrationFailed, match=r"driver's name.*code = Unavailable"):
            await plugins.inspect_unnamed(f"{directory}/none.sock")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"type": "DevicePlugin"}, "no handler registered for plugin type: DevicePlugin"),
        ({"name": ""}, "name is empty"),
        ({"endpoint": ""}, "endpoint is empty"),
        ({"supported_versions": []}, "none of the versions"),
        ({"supported_versions": ["0.3.0", "2.0.0"]}, "none of the versions"),
    ],
)
def test_what_a_plugin_says_of_itself_is_checked(
    changes: dict[str, str | list[str]], message: str
) -> None:
    good = {
        "type": "CSIPlugin",
        "name": NAME,
        "endpoint": "/csi/csi.sock",
        "supported_versions": ["1.0.0"],
    }
    plugins.check_info(registration_pb2.PluginInfo(**good))  # type: ignore[arg-type]
    with pytest.raises(plugins.RegistrationFailed, match=message):
        plugins.check_info(registration_pb2.PluginInfo(**good | changes))  # type: ignore[arg-type]


class TestWatcher:
    async def test_a_socket_that_appears_is_registered_once(
        self,
        seen: Seen,
        registrar: registration.Registrar,
        driver: node_driver.NodeDriver,
        directory: pathlib.Path,
    ) -> None:
        await seen.watcher.look()
        await seen.watcher.look()
        assert seen.registered == [plugins.Plugin(NAME, f"{directory}/csi.sock", "node-1", 0, {})]
        assert driver.calls == ["GetPluginInfo", "NodeGetInfo"]
        await registrar.outcome()

    async def test_a_failure_is_told_and_tried_again(
        self, seen: Seen, registrar: registration.Registrar, driver: node_driver.NodeDriver
    ) -> None:
        driver.info_code = grpc.StatusCode.UNAVAILABLE
        await seen.watcher.look()
        assert seen.registered == []
        [why] = seen.watcher.failures.values()
        assert "as ordered" in why
        with pytest.raises(plugins.RegistrationFailed, match="as ordered"):
            await registrar.outcome()
        driver.info_code = grpc.StatusCode.OK
        await seen.watcher.look()
        assert len(seen.registered) == 1
        assert seen.watcher.failures == {}

    async def test_a_replaced_socket_is_a_new_plugin(
        self,
        seen: Seen,
        registrar: registration.Registrar,
        directory: pathlib.Path,
        registry: pathlib.Path,
    ) -> None:
        await seen.watcher.look()
        successor = registration.Registrar(f"{directory}/csi.sock", registry)
        await successor.start()
        await seen.watcher.look()
        assert len(seen.registered) == 2
        assert seen.gone == []
        await successor.outcome()
        await successor.stop()

    async def test_a_socket_that_goes_takes_the_plugin_along(
        self, seen: Seen, registrar: registration.Registrar
    ) -> None:
        await seen.watcher.look()
        await registrar.stop()
        await seen.watcher.look()
        assert seen.gone == [NAME]

    async def test_a_dead_socket_is_a_failure_until_it_goes(
        self, seen: Seen, registry: pathlib.Path
    ) -> None:
        path = registry / "dead-reg.sock"
        with socket.socket(socket.AF_UNIX) as dead:
            dead.bind(str(path))
        await seen.watcher.look()
        assert "failed to get plugin info" in seen.watcher.failures[str(path)]
        path.unlink()
        await seen.watcher.look()
        assert seen.watcher.failures == {}

    async def test_files_and_hidden_sockets_are_not_seen(
        self, seen: Seen, registry: pathlib.Path
    ) -> None:
        (registry / "file").touch()
        (registry / ".hidden").mkdir()
        with socket.socket(socket.AF_UNIX) as one, socket.socket(socket.AF_UNIX) as two:
            one.bind(f"{registry}/.one")
            two.bind(f"{registry}/.hidden/two")
        await seen.watcher.look()
        assert seen.watcher.failures == {}

    async def test_a_socket_in_a_folder_is_seen(
        self,
        seen: Seen,
        driver: node_driver.NodeDriver,
        directory: pathlib.Path,
        registry: pathlib.Path,
    ) -> None:
        (registry / "sub").mkdir()
        registrar = registration.Registrar(f"{directory}/csi.sock", registry / "sub")
        await registrar.start()
        await seen.watcher.look()
        assert len(seen.registered) == 1
        await registrar.stop()

    async def test_run_looks_again_after_each_wait(
        self, seen: Seen, registrar: registration.Registrar
    ) -> None:
        running = asyncio.create_task(seen.watcher.run(interval_s=1.5))
        await registrar.outcome()
        await registrar.stop()
        while not seen.gone:
            await seen.sleep(0)
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running
        assert 1.5 in seen.slept_s
