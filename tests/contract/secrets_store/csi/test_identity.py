"""CSI Identity over the real socket."""

import asyncio

import grpc
import grpc.aio
import pytest

from csi_spec import csi_pb2
from secrets_store import settings
from tests.contract.secrets_store.conftest import Driver, Start


async def test_it_tells_its_name_and_version(driver: Driver) -> None:
    answer = await driver.identity.GetPluginInfo(csi_pb2.GetPluginInfoRequest())
    assert answer == csi_pb2.GetPluginInfoResponse(
        name="secrets-store.csi.k8s.io", vendor_version=settings.VERSION
    )


async def test_the_name_is_the_flags(start: Start) -> None:
    async with start(driver_name="other.example") as driver:
        answer = await driver.identity.GetPluginInfo(csi_pb2.GetPluginInfoRequest())
        assert answer.name == "other.example"


async def test_without_a_name_it_is_not_to_be_registered(start: Start) -> None:
    async with start(driver_name="") as driver:
        with pytest.raises(grpc.aio.AioRpcError) as failed:
            await driver.identity.GetPluginInfo(csi_pb2.GetPluginInfoRequest())
        assert failed.value.code() is grpc.StatusCode.UNAVAILABLE
        assert failed.value.details() == "driver name not configured"


async def test_it_claims_no_controller(driver: Driver) -> None:
    answer = await driver.identity.GetPluginCapabilities(csi_pb2.GetPluginCapabilitiesRequest())
    assert list(answer.capabilities) == []


async def test_probe_says_ready_in_so_many_words(driver: Driver) -> None:
    answer = await driver.identity.Probe(csi_pb2.ProbeRequest())
    assert answer.HasField("ready")
    assert answer.ready.value is True


@pytest.mark.root
async def test_probe_waits_for_no_provider(driver: Driver) -> None:
    driver.provider.faults.hang = asyncio.Event()
    publishing = asyncio.create_task(driver.publish())
    await driver.provider.wait_attempts(1)
    answer = await driver.identity.Probe(csi_pb2.ProbeRequest(), timeout=0.5)
    assert answer.ready.value
    driver.provider.faults.hang.set()
    await publishing
