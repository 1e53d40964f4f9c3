"""What happens to a volume while a publish or a check of it is under way is not lost."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Mapping
from typing import Any

import pytest

from devkit import stage
from tests.contract.secrets_store.conftest import Driver, Start, eventually

pytestmark = pytest.mark.root

API_VERSION, KIND = "secrets-store.csi.x-k8s.io/v1", "SecretProviderClass"
PREFIX = "secrets-store.csi.k8s.io/"
RARELY = {"enable_secret_rotation": True, "rotation_poll_interval_s": 3600.0}


def edit(driver: Driver, key: str, annotations: Mapping[str, str] | None = None) -> None:
    """Let the class ask for something else."""
    obj = driver.api.get(API_VERSION, KIND, "app", "default")
    obj["spec"]["parameters"] = {"key": key}
    obj["metadata"]["annotations"] = {**(annotations or {})}
    driver.api.update(obj)


@contextlib.asynccontextmanager
async def hanging(driver: Driver) -> AsyncIterator[None]:
    """Let the calls that come hang until the end of the block."""
    hang = driver.provider.faults.hang = asyncio.Event()
    yield
    driver.provider.faults.hang = None
    hang.set()


async def watching(driver: Driver) -> None:
    """Let the provider answer what the class asks for, and wait for the watches."""
    driver.provider.files = lambda call: {"which": call.attributes["key"].encode()}
    await eventually(lambda: driver.api.watches == 3)


async def test_a_class_is_edited_while_it_is_checked(start: Start) -> None:
    async with start(**RARELY) as driver:
        await watching(driver)
        volume = await driver.publish()
        async with hanging(driver):
            edit(driver, "second")
            await eventually(lambda: driver.provider.running == 1)
            edit(driver, "third")
            await eventually(lambda: all(found.again for found in driver.app._table))
        await eventually(lambda: (volume / "which").read_bytes() == b"third", 2.0)


async def test_a_class_is_edited_while_it_is_published(start: Start) -> None:
    async with start(**RARELY) as driver:
        await watching(driver)
        async with hanging(driver):
            publishing = asyncio.create_task(driver.publish())
            await eventually(lambda: driver.provider.running == 1)
            edit(driver, "second")
            await eventually(lambda: driver.app._classes.current_generation("default", "app") == 2)
        volume = await publishing
        await eventually(lambda: (volume / "which").read_bytes() == b"second", 2.0)


async def test_the_last_volume_of_a_class_goes_while_another_comes(start: Start) -> None:
    """As at every update of a Deployment; the class is in use without a break."""
    async with start(**RARELY) as driver:
        await watching(driver)
        await driver.publish("old")
        async with hanging(driver):
            publishing = asyncio.create_task(driver.publish("new"))
            await eventually(lambda: driver.provider.running == 1)
            await driver.unpublish("old")
        volume = await publishing
        await eventually(lambda: driver.app._classes.last_read("default", "app"))
        edit(driver, "second")
        await eventually(lambda: (volume / "which").read_bytes() == b"second", 2.0)


def ask(driver: Driver, pod: dict[str, Any], after_s: float) -> None:
    """Ask for a refresh on a pod; the annotation counts in seconds, so each is some ahead."""
    obj = driver.api.get("v1", "Pod", pod["metadata"]["name"], "default")
    at = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() + after_s))
    obj["metadata"]["annotations"] = {PREFIX + "refresh-requested-at": at}
    driver.api.update(obj)


@pytest.mark.parametrize("rotation", [True, False])
async def test_a_refresh_is_asked_for_while_one_is_under_way(start: Start, rotation: bool) -> None:
    async with start(**(RARELY if rotation else {})) as driver:
        pod = driver.api.create(
            {
                "apiVersion": "v1",
                "kind": "Pod",
                "metadata": {"name": "asked", "namespace": "default"},
                "spec": {"nodeName": stage.NODE, "containers": [{"name": "c", "image": "i"}]},
            }
        )
        await driver.publish(pod["metadata"]["uid"])
        await eventually(lambda: driver.api.watches == 3)
        async with hanging(driver):
            ask(driver, pod, 2.0)
            await eventually(lambda: driver.provider.running == 1)
            ask(driver, pod, 4.0)
            await eventually(lambda: all(found.again for found in driver.app._table))
        await eventually(lambda: driver.provider.attempts == 3, 2.0)
