"""Watches that end, expire and come back: nothing that happened meanwhile is missed."""

import pathlib

import pytest

from devkit import stage
from devkit.apiserver import server
from tests.contract.secrets_store.conftest import Driver, Start, eventually

pytestmark = [pytest.mark.root, pytest.mark.timeout(30)]
PATIENCE_S = 15.0
"""A watch that fails is opened again after a random time, which grows with each failure."""
CLASS = ("secrets-store.csi.x-k8s.io/v1", "SecretProviderClass", "app", "default")


def rotating(interval_s: float = 3600.0) -> dict[str, object]:
    return {"enable_secret_rotation": True, "rotation_poll_interval_s": interval_s}


def edit(driver: Driver, value: str) -> None:
    found = driver.api.get(*CLASS)
    found["spec"]["parameters"] = {"key": value}
    driver.api.update(found)


async def published(driver: Driver) -> bytes:
    driver.provider.files = lambda call: {"which": call.attributes["key"].encode()}
    volume = await driver.publish()
    await eventually(lambda: driver.api.watches == 3)
    return (volume / "which").read_bytes()


@pytest.mark.parametrize("history", ["kept", "compacted"])
async def test_a_class_edited_while_its_watch_was_down(start: Start, history: str) -> None:
    async with start(**rotating()) as driver:
        assert await published(driver) == b"value"
        driver.api.faults.add(verb="watch", resource="secretproviderclasses", count=1, code=500)
        driver.api.cut_watches()
        edit(driver, "edited")
        if history == "compacted":
            driver.api.compact()
        which = pathlib.Path(driver.node.target("pod1")) / "which"
        await eventually(lambda: which.read_bytes() == b"edited", PATIENCE_S)


async def test_a_class_edited_while_the_api_server_was_away(start: Start) -> None:
    async with start(**rotating()) as driver:
        assert await published(driver) == b"value"
        driver.api.pause()
        edit(driver, "edited")
        driver.api.resume()
        which = pathlib.Path(driver.node.target("pod1")) / "which"
        await eventually(lambda: which.read_bytes() == b"edited", PATIENCE_S)


async def test_a_pod_deleted_while_its_watch_was_down_ends_the_wait(start: Start) -> None:
    async with start() as driver:
        driver.api.create(stage.class_object("late", provider="late"))
        pod = driver.api.create(
            {
                "apiVersion": "v1",
                "kind": "Pod",
                "metadata": {"name": "waiting", "namespace": "default"},
                "spec": {"nodeName": stage.NODE, "containers": [{"name": "c", "image": "i"}]},
            }
        )
        await eventually(lambda: driver.api.watches == 3)
        call = driver.csi.NodePublishVolume(
            driver.request(pod["metadata"]["uid"], class_name="late"), timeout=60
        )
        await eventually(lambda: driver.node.mounts())
        driver.api.cut_watches()
        driver.api.delete("v1", "Pod", "waiting", "default", {"gracePeriodSeconds": 0})
        driver.api.compact()
        with pytest.raises(Exception, match="the pod is gone"):
            await call
        assert driver.node.mounts() == []


async def test_a_restart_of_the_api_server_costs_no_provider_call_and_no_write(
    start: Start, api: server.APIServer
) -> None:
    async with start(**rotating()) as driver:
        await published(driver)
        api.requests.reset()
        api.pause()
        api.resume()
        await eventually(lambda: api.watches == 3, PATIENCE_S)
        assert {x.method for x in api.requests.entries()} == {"GET"}
        assert len(driver.provider.calls) == 1


async def test_after_an_expired_watch_nothing_is_listed_without_end(
    start: Start, api: server.APIServer
) -> None:
    async with start() as driver:
        await driver.publish()
        await eventually(lambda: api.watches == 3)
        api.requests.reset()
        api.compact()
        api.cut_watches()
        await eventually(lambda: _watched_again(api), PATIENCE_S)
        assert api.requests.count(verb="list") <= 3


def _watched_again(api: server.APIServer) -> bool:
    return api.requests.count(verb="watch") >= 3 and api.watches == 3
