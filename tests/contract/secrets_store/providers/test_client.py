"""One provider behind its socket: what it is asked, and what becomes of its answers."""

import asyncio
import base64
import pathlib
import secrets
import tempfile
from collections.abc import AsyncIterator, Iterator
from typing import Any

import grpc
import grpc.aio
import pytest

from csi_spec import provider_pb2, provider_pb2_grpc, rpc
from devkit import provider
from secrets_store import errors
from secrets_store.log import Sealed
from secrets_store.providers import client, retry_info

Code = grpc.StatusCode


@pytest.fixture
def directory() -> Iterator[pathlib.Path]:
    with tempfile.TemporaryDirectory(prefix="pc", dir="/tmp") as name:
        yield pathlib.Path(name)


@pytest.fixture
async def fake(directory: pathlib.Path) -> AsyncIterator[provider.Provider]:
    async with provider.Provider(directory, "fake", {"password": b"first"}) as running:
        yield running


@pytest.fixture
async def asking(fake: provider.Provider) -> AsyncIterator[client.Client]:
    channel = client.Client(fake.path, (0, 0, 0), max_receive_bytes=4 << 20)
    yield channel
    await channel.close()


def question(**changes: Any) -> client.Question:
    fields: dict[str, Any] = {
        "provider": "fake",
        "attributes": Sealed('{"key":"value"}'),
        "secrets": Sealed("null"),
        "target_path": "/pods/1/mount",
        "objects": {},
        "confidential": Sealed(()),
    }
    return client.Question(**(fields | changes))


async def refusal(asking: client.Client, timeout_s: float = 3.0, **changes: Any) -> Any:
    with pytest.raises(errors.ProviderFailed) as failed:
        await asking.mount(question(**changes), timeout_s)
    return failed.value


async def test_it_is_asked_as_every_provider_wants_it(
    fake: provider.Provider, asking: client.Client
) -> None:
    answer = await asking.mount(
        question(secrets=Sealed('{"user":"u"}'), objects={"b": "2", "a": "1"}), 3.0
    )
    call = fake.calls[0]
    assert call.attributes == {"key": "value"}
    assert call.secrets == {"user": "u"}
    assert call.permission == 0o644
    assert call.authority == "localhost"
    assert call.target_path == "/pods/1/mount"
    assert list(call.current_object_version.items()) == [("a", "1"), ("b", "2")]
    assert call.deadline_s is not None
    assert 2.0 < call.deadline_s <= 3.0
    assert answer.files == [("password", 0o644, b"first")]
    assert list(answer.objects) == ["secret/password"]


async def test_version_is_asked_with_the_version_of_the_contract(
    fake: provider.Provider, asking: client.Client
) -> None:
    assert await asking.version(1.0) == "0.0.1"
    assert fake.versions_asked == ["v1alpha1"]


async def test_an_empty_runtime_version_is_no_fault(directory: pathlib.Path) -> None:
    async with provider.Provider(directory, "quiet", runtime_version="") as quiet:
        asking = client.Client(quiet.path, (0, 0, 0), max_receive_bytes=1 << 20)
        assert await asking.version(1.0) == ""
        await asking.close()


@pytest.mark.parametrize(
    ("code", "words"),
    [
        (Code.PERMISSION_DENIED, "PermissionDenied"),
        (Code.CANCELLED, "Canceled"),
        (Code.INVALID_ARGUMENT, "InvalidArgument"),
        (Code.UNKNOWN, "Unknown"),
    ],
)
async def test_a_refusal_keeps_its_code_and_text(
    fake: provider.Provider, asking: client.Client, code: grpc.StatusCode, words: str
) -> None:
    fake.faults.errors.append(code)
    failed = await refusal(asking)
    assert str(failed) == f"rpc error: code = {words} desc = made to fail"
    assert failed.status_code.name == code.name
    assert failed.__cause__ is None
    assert failed.__suppress_context__


async def test_a_text_that_echoes_what_is_confidential_is_stripped_of_it(
    fake: provider.Provider, asking: client.Client
) -> None:
    token = secrets.token_hex(16)
    fake.faults.errors.append(Code.UNAUTHENTICATED)
    fake.faults.error_message = f"token {token}\nrejected: {token}"
    failed = await refusal(asking, confidential=Sealed((token,)))
    assert str(failed).endswith("token ***stripped*** rejected: ***stripped***")


async def test_the_code_in_an_answer_is_stripped_too(
    fake: provider.Provider, asking: client.Client
) -> None:
    token = secrets.token_hex(16)
    fake.faults.answer_code = f"no {token}"
    failed = await refusal(asking, confidential=Sealed((token,)))
    assert str(failed) == "mount request failed with provider error code no ***stripped***"
    assert failed.metric_type == "ProviderError"


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("x" * 5000, "x" * client.MAX_ERROR_CHARACTERS + "..."),
        ("a\x00b\x1b[31mc\nd", "a b [31mc d"),
        ("%s %d {0} é 💥", "%s %d {0} é 💥"),
        ("", ""),
    ],
)
def test_a_text_is_bounded_and_printable(text: str, told: str) -> None:
    assert client.scrub(text, ()) == told


async def test_an_answer_without_versions_is_refused(
    fake: provider.Provider, asking: client.Client
) -> None:
    fake.faults.no_versions = True
    assert str(await refusal(asking)) == "missing object versions"


async def test_an_answer_that_is_too_large_tells_the_flag(fake: provider.Provider) -> None:
    fake.files = {"big": b"x" * 3000}
    asking = client.Client(fake.path, (0, 0, 0), max_receive_bytes=2000)
    failed = await refusal(asking)
    assert failed.status_code is errors.Code.RESOURCE_EXHAUSTED
    assert "received message larger than max" in str(failed)
    assert "--max-call-recv-msg-size" in str(failed)
    await asking.close()


async def test_a_provider_that_takes_too_long_fails_the_call(
    fake: provider.Provider, asking: client.Client
) -> None:
    fake.faults.hang = asyncio.Event()
    failed = await refusal(asking, timeout_s=0.1)
    assert failed.status_code is errors.Code.DEADLINE_EXCEEDED
    fake.faults.hang.set()


async def test_a_dead_socket_fails_at_once(fake: provider.Provider, asking: client.Client) -> None:
    """Upstream's channel waits for it until the deadline."""
    await fake.stop(leave_socket=True)
    started = asyncio.get_running_loop().time()
    failed = await refusal(asking)
    assert failed.status_code is errors.Code.UNAVAILABLE
    assert asyncio.get_running_loop().time() - started < 1.0


async def test_a_provider_that_vanishes_in_mid_call_is_not_asked_twice(
    fake: provider.Provider, asking: client.Client
) -> None:
    fake.faults.crashes = 1
    failed = await refusal(asking)
    assert failed.status_code is errors.Code.UNAVAILABLE
    assert fake.attempts == 1


async def test_closing_waits_for_the_calls_that_run(
    fake: provider.Provider, asking: client.Client
) -> None:
    fake.faults.hang = asyncio.Event()
    call = asyncio.create_task(asking.mount(question(), 3.0))
    await fake.wait_attempts(1)
    await asking.close()
    fake.faults.hang.set()
    assert (await call).files == [("password", 0o644, b"first")]


class Overloaded(provider_pb2_grpc.CSIDriverProviderServicer):
    """Refuses with google.rpc.RetryInfo of 1.5 s among the status details."""

    async def Version(self, request: Any, context: Any) -> provider_pb2.VersionResponse:
        return provider_pb2.VersionResponse()

    async def Mount(self, request: Any, context: Any) -> provider_pb2.MountResponse:
        duration = b"\x08\x01\x10" + bytes([0x80, 0xCA, 0xB5, 0xEE, 0x01])
        info = b"\x0a" + bytes([len(duration)]) + duration
        kind = b"type.googleapis.com/google.rpc.RetryInfo"
        packed = b"\x0a" + bytes([len(kind)]) + kind + b"\x12" + bytes([len(info)]) + info
        details = b"\x08\x08\x1a" + bytes([len(packed)]) + packed
        context.set_trailing_metadata([(retry_info.METADATA_KEY, details)])
        await context.abort(Code.RESOURCE_EXHAUSTED, "slow down")
        raise AssertionError


async def test_the_time_that_a_provider_asks_for_is_passed_on(directory: pathlib.Path) -> None:
    path = str(directory / "busy.sock")
    server = await rpc.serve(
        path,
        [lambda x: provider_pb2_grpc.add_CSIDriverProviderServicer_to_server(Overloaded(), x)],
    )
    asking = client.Client(path, (0, 0, 0), max_receive_bytes=1 << 20)
    assert (await refusal(asking)).retry_after_s == 1.5
    await asking.close()
    await server.stop(0)


def test_a_question_shows_nothing_of_what_is_sealed() -> None:
    token = secrets.token_hex(16)
    asked = question(attributes=Sealed(token), secrets=Sealed(token), confidential=Sealed((token,)))
    assert token not in repr(asked)
    answer = client.Answer(objects={"a": "1"}, files=[("f", 0, token.encode())])
    assert token not in repr(answer)
    assert base64.b64encode(token.encode()).decode() not in repr(answer)
