"""What users change reaches files and Secrets at once, although the interval is an hour.

The times are real: they are what is promised.
"""

import time
from collections.abc import Callable

import grpc
import grpc.aio
import pytest

from devkit import provider
from tests.cluster import drivers, scene
from tests.cluster.conftest import Start
from tests.cluster.drivers import eventually

pytestmark = [pytest.mark.root, pytest.mark.timeout(30)]

HOUR = {"enable_secret_rotation": True, "rotation_poll_interval_s": 3600.0}
FILES_S, SECRET_S = 1.0, 1.5


async def change(
    world: scene.Scene, driver: drivers.Driver, act: Callable[[], object], expected: bytes
) -> None:
    """Do something and see that files and Secret follow in time."""
    pod = world.create_pod("web", world.create_replica_set())
    await driver.watching()
    volume = await driver.publish_for(pod)
    assert world.secret_value() == (volume / "password").read_bytes() != expected
    act()
    started = time.monotonic()
    await eventually(lambda: (volume / "password").read_bytes() == expected, FILES_S)
    left_s = SECRET_S - (time.monotonic() - started)
    await eventually(lambda: world.secret_value() == expected, left_s)


async def test_a_class_edit(start: Start, world: scene.Scene, store: provider.Provider) -> None:
    world.edit_class(secretObjects=scene.SYNCED)
    store.files = lambda call: {"password": call.attributes["key"].encode()}
    async with start(**HOUR) as driver:
        await change(
            world, driver, lambda: world.edit_class(parameters={"key": "edited"}), b"edited"
        )


async def test_another_provider(start: Start, world: scene.Scene, store: provider.Provider) -> None:
    world.edit_class(secretObjects=scene.SYNCED)
    async with (
        start(**HOUR) as driver,
        provider.Provider(driver.node.providers, "other", {"password": b"of the other"}),
    ):
        await change(world, driver, lambda: world.edit_class(provider="other"), b"of the other")


@pytest.mark.parametrize("where", ["pod", "class"])
@pytest.mark.parametrize("rotation", [True, False], ids=["rotation on", "rotation off"])
async def test_a_refresh_that_is_asked_for(
    start: Start, world: scene.Scene, store: provider.Provider, where: str, rotation: bool
) -> None:
    world.edit_class(secretObjects=scene.SYNCED)
    path = world.api.at("pods", "web") if where == "pod" else world.api.classes("app")

    def ask() -> None:
        store.files = {"password": b"second"}
        # An annotation is precise to the second, in which the publish was too.
        world.ask_for_refresh(path, time.time() + 1.0)

    async with start(**HOUR | {"enable_secret_rotation": rotation}) as driver:
        await change(world, driver, ask, b"second")
        asked = len(store.calls)
        await driver.publish("other", name="other")
        assert len(store.calls) == asked + 1


async def test_an_edit_of_secret_objects_alone(
    start: Start, world: scene.Scene, store: provider.Provider
) -> None:
    """A new key of the Secret, another label, and one less file to look for."""
    world.edit_class(secretObjects=scene.SYNCED)
    pod = world.create_pod("web", world.create_replica_set())
    async with start(**HOUR) as driver:
        await driver.watching()
        await driver.publish_for(pod)
        objects = [
            {
                "secretName": "app",
                "type": "Opaque",
                "labels": {"team": "blue"},
                "data": [{"objectName": "password", "key": "other"}],
            }
        ]
        world.edit_class(secretObjects=objects)
        await eventually(
            lambda: (s := world.secret()) is not None and list(s["data"]) == ["other"], SECRET_S
        )
        secret = world.secret()
        assert secret is not None
        assert secret["metadata"]["labels"]["team"] == "blue"


async def test_a_failing_refresh_is_told_once_and_heals(
    start: Start, world: scene.Scene, store: provider.Provider
) -> None:
    pod = world.create_pod("web")
    async with start(enable_secret_rotation=True, rotation_poll_interval_s=0.2) as driver:
        labels = {"namespace": world.namespace, "secretproviderclass": "app", "provider": "fake"}
        await driver.watching()
        volume = await driver.publish_for(pod)
        assert driver.sample("secrets_store_stale_seconds", **labels) == 0
        store.faults.every_error = grpc.StatusCode.PERMISSION_DENIED
        store.files = {"password": b"second"}
        await eventually(lambda: driver.sample("secrets_store_stale_seconds", **labels) > 0.8)
        assert (volume / "password").read_bytes() == b"first"
        attempts = store.attempts
        await eventually(lambda: store.attempts >= attempts + 2)
        (event,) = world.events("MountRotationFailed")
        assert event["involvedObject"]["uid"] == pod["metadata"]["uid"]
        assert event["type"] == "Warning"
        assert "PermissionDenied" in event["message"]
        store.faults.every_error = None
        await eventually(lambda: (volume / "password").read_bytes() == b"second")
        await eventually(lambda: driver.sample("secrets_store_stale_seconds", **labels) == 0)
        await eventually(lambda: world.events("MountRotationComplete"))
        assert len(world.events("MountRotationFailed")) == 1


async def test_a_class_that_is_deleted_keeps_the_files_and_comes_back(
    start: Start, world: scene.Scene, store: provider.Provider
) -> None:
    pod = world.create_pod("web")
    async with start(enable_secret_rotation=True, rotation_poll_interval_s=0.2) as driver:
        await driver.watching()
        volume = await driver.publish_for(pod)
        world.api.client.request("DELETE", world.api.classes("app")).decoded()
        (event,) = await eventually(lambda: world.events("MountRotationFailed"))
        assert "not found" in event["message"]
        store.files = {"password": b"second"}
        # kubelet's repetition is not to be answered with an error: it would unmount (121271).
        await driver.publish_for(pod)
        assert (volume / "password").read_bytes() == b"first"
        world.create_class()
        await eventually(lambda: (volume / "password").read_bytes() == b"second", 5.0)
