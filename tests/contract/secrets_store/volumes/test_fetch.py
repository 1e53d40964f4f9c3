"""A first publish that fails, and kubelet's retry: success is never told over nothing."""

import asyncio
import pathlib
import random

import grpc
import grpc.aio
import pytest

from devkit import provider, stage
from tests.contract.secrets_store.conftest import Driver, Start, eventually

pytestmark = pytest.mark.root
Code = grpc.StatusCode


def rotating(interval_s: float) -> dict[str, object]:
    return {"enable_secret_rotation": True, "rotation_poll_interval_s": interval_s}


def whole(driver: Driver, uid: str = "pod1") -> bool:
    volume = pathlib.Path(driver.node.target(uid))
    return volume.is_mount() and (volume / "password").read_bytes() == b"first"


@pytest.mark.parametrize(
    "code",
    [Code.RESOURCE_EXHAUSTED, Code.ABORTED, Code.CANCELLED, Code.DEADLINE_EXCEEDED, Code.INTERNAL],
)
@pytest.mark.parametrize("rotation", [True, False])
async def test_after_any_failure_the_retry_does_the_work(
    start: Start, code: grpc.StatusCode, rotation: bool
) -> None:
    """A1: after codes that are not final upstream answers the retry with OK over no mount."""
    async with start(**(rotating(3600.0) if rotation else {})) as driver:
        driver.provider.faults.errors.append(code)
        with pytest.raises(grpc.aio.AioRpcError) as failed:
            await driver.publish()
        assert failed.value.code() is code
        # kubelet keeps the directory after such codes.
        pathlib.Path(driver.node.target("pod1")).mkdir(parents=True, exist_ok=True)
        await driver.publish()
        assert whole(driver)
        assert driver.provider.attempts == 2


@pytest.mark.timeout(20)
async def test_after_a_cancel_at_any_moment_the_retry_does_the_work(start: Start) -> None:
    """In upstream 17 of 20 were answered with OK over nothing."""
    async with start(**rotating(3600.0)) as driver:
        driver.provider.faults.delay_s = 0.02
        for number in range(40):
            uid = f"pod{number}"
            call = driver.csi.NodePublishVolume(driver.request(uid), timeout=30)
            await asyncio.sleep(random.uniform(0.0, 0.05))
            call.cancel()
            await asyncio.gather(call, return_exceptions=True)
            await _until_published(driver, uid)
            assert whole(driver, uid)
        assert len(driver.node.mounts()) == 40


async def _until_published(driver: Driver, uid: str) -> None:
    """Repeat as kubelet does while the first attempt is still at work."""
    while True:
        try:
            await driver.publish(uid)
        except grpc.aio.AioRpcError as error:
            if error.code() is not Code.ABORTED:
                raise
            await asyncio.sleep(0.005)
        else:
            return


async def test_after_a_hang_the_retry_waits_for_what_is_under_way(start: Start) -> None:
    async with start(**rotating(3600.0)) as driver:
        driver.provider.faults.hang = asyncio.Event()
        with pytest.raises(grpc.aio.AioRpcError) as failed:
            await driver.csi.NodePublishVolume(driver.request(), timeout=0.3)
        assert failed.value.code() is Code.DEADLINE_EXCEEDED
        await eventually(lambda: driver.node.mounts() == [])
        driver.provider.faults.hang.set()
        await driver.publish()
        assert whole(driver)


async def test_a_hanging_provider_stops_nobody_elses_refresh(start: Start) -> None:
    """E1: in upstream one of them stops all rotation on the node."""
    async with start(**rotating(0.1)) as driver:
        driver.api.create(stage.class_object("other", provider="other"))
        async with provider.Provider(driver.node.providers, "other", {"f": b"first"}) as other:
            for number in range(20):
                await driver.publish(f"pod{number}")
            volume = await driver.publish("other", class_name="other")
            driver.provider.faults.hang = asyncio.Event()
            await eventually(lambda: driver.provider.running == 8)
            other.files = {"f": b"second"}
            await eventually(lambda: (volume / "f").read_bytes() == b"second", 1.0)
            # Nor a first publish of another pod with the hanging one's neighbour.
            await asyncio.wait_for(driver.publish("more", class_name="other"), 1.0)
            driver.provider.faults.hang.set()


async def test_a_provider_is_never_asked_for_more_than_eight_refreshes_at_once(
    start: Start,
) -> None:
    async with start(**rotating(0.1)) as driver:
        for number in range(30):
            await driver.publish(f"pod{number}")
        driver.provider.faults.delay_s = 0.05
        driver.provider.peak = 0
        seen = len(driver.provider.calls)
        await eventually(lambda: len(driver.provider.calls) >= seen + 40)
        assert driver.provider.peak <= 8


@pytest.mark.parametrize(
    ("provider_name", "label"),
    [("absent", "ProviderNotFound"), ("../x", "ProviderNotFound"), ("fake", "GRPCProviderError")],
)
async def test_each_failure_has_its_error_type(
    driver: Driver, provider_name: str, label: str
) -> None:
    """A6: upstream's is empty when there is no provider."""
    driver.api.create(stage.class_object("broken", provider=provider_name))
    driver.provider.faults.every_error = Code.PERMISSION_DENIED
    with pytest.raises(grpc.aio.AioRpcError):
        await driver.csi.NodePublishVolume(driver.request(class_name="broken"), timeout=0.5)

    def counted() -> float:
        found = driver.app.metrics.registry.collect()
        samples = (x for family in found for x in family.samples)
        return sum(
            x.value
            for x in samples
            if x.name == "node_publish_error_total"
            and x.labels["error_type"] == label
            and x.labels["provider"] == provider_name
        )

    await eventually(lambda: counted() == 1)


async def test_a_class_made_in_the_same_moment_as_its_pod_is_found(driver: Driver) -> None:
    """From upstream's cache it was missing in 1 of 10."""
    for number in range(30):
        driver.api.create(stage.class_object(f"class{number}"))
        await driver.publish(f"pod{number}", class_name=f"class{number}")
