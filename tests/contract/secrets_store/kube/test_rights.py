"""A right that is missing costs its feature and a warning; pods get their files all the same."""

import asyncio
import logging
import pathlib

import pytest

from devkit.apiserver import server
from tests.contract.secrets_store.conftest import Start, eventually

pytestmark = [pytest.mark.root, pytest.mark.timeout(20)]
STATUSES = "secretproviderclasspodstatuses"


def warnings(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [x.getMessage() for x in caplog.records if x.levelno == logging.WARNING]


@pytest.mark.parametrize("verb", ["list", "watch"])
@pytest.mark.parametrize("resource", ["pods", "secretproviderclasses", STATUSES])
async def test_nothing_may_be_watched(
    start: Start,
    api: server.APIServer,
    caplog: pytest.LogCaptureFixture,
    verb: str,
    resource: str,
) -> None:
    """E9: upstream's socket does not appear before its informers have synced."""
    api.faults.add(verb=verb, resource=resource, code=403)
    async with start(enable_secret_rotation=True, rotation_poll_interval_s=0.1) as driver:
        volume = await driver.publish()
        driver.provider.files = {"password": b"second"}
        await eventually(lambda: (volume / "password").read_bytes() == b"second")
        await eventually(lambda: "watch is down, trying again" in warnings(caplog))
        assert driver.status() is not None
        await driver.unpublish()
    told = [x for x in caplog.records if x.getMessage() == "watch is down, trying again"]
    loud = [x for x in told if x.levelno == logging.WARNING]
    assert len(loud) == 1
    assert f"{verb} {resource}" in str(loud[0].__dict__["pairs"])


async def test_events_may_not_be_written(
    start: Start, api: server.APIServer, caplog: pytest.LogCaptureFixture
) -> None:
    api.faults.add(verb="create", resource="events", code=403)
    async with start() as driver:
        for pod in ("pod1", "pod2", "pod3"):
            await driver.publish(pod, context={"unknown": "x"})
        await eventually(lambda: api.requests.count(resource="events") == 3)
        await asyncio.sleep(0)
        assert warnings(caplog).count("events cannot be written") == 1


@pytest.mark.parametrize("code", [403, 404, 500])
async def test_status_objects_may_not_be_written(
    start: Start, api: server.APIServer, caplog: pytest.LogCaptureFixture, code: int
) -> None:
    """A13: a volume is not taken away because of its status object; nor is it asked for anew."""
    fault = api.faults.add(resource=STATUSES, verb="create", code=code)
    async with start() as driver:
        volume = await driver.publish()
        assert (volume / "password").read_bytes() == b"first"
        assert await driver.publish() == volume
        assert warnings(caplog).count("status object not written, will be tried again") == 1
        api.faults.remove(fault)
        if code == 500:
            assert await eventually(driver.status, 10.0)
    assert len(driver.provider.calls) == 1


async def test_a_class_that_may_not_be_read_fails_the_publish_with_its_reason(
    start: Start, api: server.APIServer
) -> None:
    api.faults.add(resource="secretproviderclasses", verb="get", code=403, message="no right")
    async with start() as driver:
        with pytest.raises(Exception, match="failed to get secretproviderclass default/app"):
            await driver.publish()
        assert driver.node.mounts() == []


async def test_an_identity_that_is_refused_does_not_end_the_process(
    start: Start, api: server.APIServer
) -> None:
    fault = api.faults.add(code=401)
    async with start() as driver:
        with pytest.raises(Exception, match="failed to get secretproviderclass"):
            await driver.publish()
        api.faults.remove(fault)
        volume = await driver.publish()
        assert pathlib.Path(volume / "password").read_bytes() == b"first"
