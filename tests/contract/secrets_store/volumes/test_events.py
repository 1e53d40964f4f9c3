"""Events: the place where a pod's user looks."""

import asyncio

import grpc
import pytest

from devkit import stage
from devkit.apiserver import server
from tests.contract.secrets_store.conftest import Driver, Start, eventually

pytestmark = pytest.mark.root


async def test_an_event_is_on_the_pod_and_says_who(driver: Driver) -> None:
    await driver.publish(context={"unknown": "x"})
    event = (await eventually(lambda: driver.events("VolumeAttributesIgnored")))[0]
    assert event["involvedObject"] == {
        "apiVersion": "v1",
        "kind": "Pod",
        "name": "pod-pod1",
        "namespace": "default",
        "uid": "pod1",
    }
    assert event["type"] == "Warning"
    assert event["source"] == {"component": "csi-secrets-store-controller", "host": stage.NODE}
    assert event["firstTimestamp"] == event["lastTimestamp"]
    assert event["metadata"]["namespace"] == "default"


async def test_one_event_for_each_pod_and_reason(start: Start) -> None:
    """A5: upstream has none; a flood would be no better."""
    async with start(enable_secret_rotation=True, rotation_poll_interval_s=0.05) as driver:
        await driver.publish("pod1")
        await driver.publish("pod2")
        driver.provider.faults.every_error = grpc.StatusCode.PERMISSION_DENIED
        seen = driver.provider.attempts
        await eventually(lambda: driver.provider.attempts > seen + 6, 4.5)
        pods = [x["involvedObject"]["name"] for x in driver.events("MountRotationFailed")]
        assert sorted(pods) == ["pod-pod1", "pod-pod2"]


@pytest.mark.parametrize("text", ["100%s of %d", "x" * 5000, "ünïcödé\n\x00 line"])
async def test_any_text_of_a_provider_can_be_told(start: Start, text: str) -> None:
    """C10: upstream takes it for a format."""
    async with start(enable_secret_rotation=True, rotation_poll_interval_s=0.05) as driver:
        await driver.publish()
        driver.provider.faults.error_message = text
        driver.provider.faults.every_error = grpc.StatusCode.PERMISSION_DENIED
        event = (await eventually(lambda: driver.events("MountRotationFailed")))[0]
        assert text[:5] in event["message"]
        assert len(event["message"]) <= 1024
        assert "\n" not in event["message"]


@pytest.mark.timeout(10)
async def test_a_provider_that_is_waited_for_is_named_with_its_places(driver: Driver) -> None:
    driver.api.create(stage.class_object("late", provider="late"))
    call = driver.csi.NodePublishVolume(driver.request(class_name="late"), timeout=60)
    event = (await eventually(lambda: driver.events("SecretsNotAvailableYet"), 8.0))[0]
    assert 'provider "late"' in event["message"]
    assert f"{driver.node.more_providers}/late.sock" in event["message"]
    await driver.unpublish()
    with pytest.raises(grpc.aio.AioRpcError):
        await call


async def test_a_lost_event_costs_nothing_else(driver: Driver, api: server.APIServer) -> None:
    fault = api.faults.add(verb="create", resource="events", code=422)
    await driver.publish(context={"unknown": "x"})
    await eventually(lambda: fault.hits == 1)
    await asyncio.sleep(0)
    await driver.publish("pod2")
