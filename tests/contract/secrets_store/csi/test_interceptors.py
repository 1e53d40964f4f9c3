"""What stands around every call: what is logged of it, and what its caller is told."""

import json
import logging
import secrets

import grpc
import grpc.aio
import pytest

from csi_spec import csi_pb2
from secrets_store import log as logs
from secrets_store.host import mount
from tests.contract.secrets_store.conftest import Start


class Broken(mount.Mounter):
    """Fails as no code here means to, with a secret in its words and in its locals."""

    canary = secrets.token_hex(12)

    def mount(self, target: str) -> None:
        held = {"password": self.canary}
        raise LookupError(f"no {self.canary} in {held}")


def lines(caplog: pytest.LogCaptureFixture, formatter: logging.Formatter) -> str:
    return "\n".join(formatter.format(record) for record in caplog.records)


@pytest.mark.parametrize("formatter", [logs.KlogFormatter(), logs.JsonFormatter()])
async def test_what_is_unforeseen_costs_the_call_and_shows_no_value(
    start: Start, caplog: pytest.LogCaptureFixture, formatter: logging.Formatter
) -> None:
    caplog.set_level(logging.DEBUG)
    broken = Broken(size_bytes=1 << 20, inodes=100)
    async with start(app_options={"mounter": broken}) as driver:
        with pytest.raises(grpc.aio.AioRpcError) as failed:
            await driver.publish()
        assert failed.value.code() is grpc.StatusCode.INTERNAL
        assert failed.value.details() == "internal error: LookupError"
        assert (await driver.identity.Probe(csi_pb2.ProbeRequest())).ready.value
        assert driver.node.mounts() == []
        assert driver.records() == []
    text = lines(caplog, formatter)
    assert "call broke" in text
    assert "test_interceptors.py" in text
    assert Broken.canary not in text
    assert Broken.canary not in json.dumps(driver.api.list_all("v1", "Event", "default"))


async def test_a_status_is_the_errors_code_and_sentence_without_details(
    start: Start, caplog: pytest.LogCaptureFixture
) -> None:
    async with start() as driver:
        with pytest.raises(grpc.aio.AioRpcError) as failed:
            await driver.publish(class_name="nope")
    assert failed.value.code() is grpc.StatusCode.UNKNOWN
    assert not [x for x in failed.value.trailing_metadata() or () if x[0].endswith("-bin")]
    found = [x for x in caplog.records if x.getMessage() == "call failed"]
    assert [x.levelno for x in found] == [logging.ERROR]
    assert 'err="failed to get secretproviderclass default/nope' in lines(
        caplog, logs.KlogFormatter()
    )


@pytest.mark.root
async def test_requests_are_logged_from_verbosity_five(
    start: Start, caplog: pytest.LogCaptureFixture
) -> None:
    async with start() as driver:
        caplog.set_level(logging.INFO)
        await driver.publish("pod1")
        assert "request" not in [x.getMessage() for x in caplog.records]
        caplog.set_level(logging.DEBUG)
        await driver.publish("pod2")
    told = [x for x in caplog.records if x.getMessage() in ("request", "response")]
    assert [x.getMessage() for x in told] == ["request", "response"]
    assert "NodePublishVolume" in lines(caplog, logs.KlogFormatter())
