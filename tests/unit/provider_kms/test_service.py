import asyncio
import json
from typing import Any, NoReturn

import grpc
import pytest

from csi_spec import provider_pb2
from provider_kms import errors, fetch, metrics, service, settings, status
from provider_kms.model import files
from tests.unit.provider_kms.model.test_request import BASE

VOLUME = files.Volume((files.File("a", 0o400, b"x"),), (("a", "v"), ("b", "absent")))


class Aborted(Exception):
    """What a refused call ends with."""


class Call:
    """One Mount: the server's side of the call, and a fetcher that does what it is told."""

    def __init__(self, result: Any = VOLUME, left_s: float | None = None, **flags: Any) -> None:
        self.result, self.left_s = result, left_s
        self.metrics = metrics.Metrics()
        self.seconds = 0.0
        self.refresh = False
        self.ended: tuple[Any, str, dict[str, Any]] | None = None
        fetcher: Any = self
        self.provider = service.Provider(lambda: settings.Settings(**flags), fetcher, self.metrics)

    def time_remaining(self) -> float | None:
        return self.left_s

    async def abort(self, code: Any, details: str, trailing_metadata: Any) -> NoReturn:
        self.ended = (code, details, dict(trailing_metadata))
        raise Aborted

    async def volume(self, request: Any, limits: Any, source: fetch.Source) -> files.Volume:
        self.seconds, self.refresh = limits.remaining_s(), request.refresh
        if isinstance(self.result, BaseException):
            raise self.result
        assert isinstance(self.result, files.Volume)
        return self.result

    async def mount(self, **changes: Any) -> provider_pb2.MountResponse:
        return await self.mount_raw(json.dumps(BASE | changes))

    async def mount_raw(self, attributes: str) -> provider_pb2.MountResponse:
        request = provider_pb2.MountRequest(attributes=attributes, permission="420")
        context: Any = self
        return await self.provider.Mount(request, context)

    def count(self, code: str) -> float | None:
        name = "kms_provider_mounts_total"
        return self.metrics.registry.get_sample_value(name, {"code": code})


async def test_files_and_versions_in_order() -> None:
    call = Call()

    answer = await call.mount()

    assert [(f.path, f.mode, f.contents) for f in answer.files] == [("a", 0o400, b"x")]
    assert [(v.id, v.version) for v in answer.object_version] == [("a", "v"), ("b", "absent")]
    assert not answer.HasField("error")
    assert call.count("OK") == 1


@pytest.mark.parametrize(
    ("left_s", "seconds"),
    [(None, 30.0), (120.0, 30.0), (20.0, 19.0), (2.0, 1.6), (0.0, 0.0), (-1.0, 0.0)],
)
async def test_an_answer_is_ready_before_its_caller_gives_up(
    left_s: float | None, seconds: float
) -> None:
    call = Call(left_s=left_s)

    await call.mount()

    assert call.seconds == pytest.approx(seconds, abs=0.05)


CODES = [
    (errors.InvalidRequest("p", "r"), grpc.StatusCode.INVALID_ARGUMENT),
    (errors.KmsTooSlow("x"), grpc.StatusCode.DEADLINE_EXCEEDED),
    (errors.NothingMatched(errors.Place("e", "/"), "*"), grpc.StatusCode.NOT_FOUND),
    (errors.HostForbidden("h"), grpc.StatusCode.PERMISSION_DENIED),
    (errors.RateLimited("h", 7.0), grpc.StatusCode.RESOURCE_EXHAUSTED),
    (errors.TokenAbsent("kms", []), grpc.StatusCode.FAILED_PRECONDITION),
    (errors.NotKmsAnswer("h", "r"), grpc.StatusCode.INTERNAL),
    (errors.KmsUnavailable("h", "p"), grpc.StatusCode.UNAVAILABLE),
    (
        errors.PodTokenRefused("i", "kms", errors.Answer(401, "x")),
        grpc.StatusCode.UNAUTHENTICATED,
    ),
]


@pytest.mark.parametrize(("error", "code"), CODES)
async def test_codes(error: errors.ProviderError, code: grpc.StatusCode) -> None:
    call = Call(error)

    with pytest.raises(Aborted):
        await call.mount()

    assert call.ended is not None
    assert call.ended[:2] == (code, str(error))
    assert call.count(code.name) == 1


async def test_every_code_is_there() -> None:
    assert {error.code for error, _ in CODES} == set(errors.Code)


async def test_a_known_wait_is_in_the_details() -> None:
    call = Call(errors.RateLimited("h", 7.0))

    with pytest.raises(Aborted):
        await call.mount()

    assert call.ended is not None
    assert call.ended[2] == {
        "grpc-status-details-bin": status.with_retry_info(8, call.ended[1], 7.0)
    }


async def test_unavailable_asks_not_to_be_repeated() -> None:
    call = Call(errors.KmsUnavailable("h", "p"))

    with pytest.raises(Aborted):
        await call.mount()

    assert call.ended is not None
    assert call.ended[2] == {"grpc-retry-pushback-ms": "-1"}


async def test_an_unexpected_failure_tells_nothing(caplog: pytest.LogCaptureFixture) -> None:
    call = Call(RuntimeError("hush"))

    with pytest.raises(Aborted):
        await call.mount()

    assert call.ended is not None
    assert call.ended[0] is grpc.StatusCode.INTERNAL
    assert "hush" not in call.ended[1]
    assert "unexpected failure" in caplog.messages


@pytest.mark.parametrize("changes", [{"projectId": ""}, {"unknown": 1}])
async def test_a_class_with_a_fault_is_named_in_the_log(
    caplog: pytest.LogCaptureFixture, changes: dict[str, Any]
) -> None:
    with pytest.raises(Aborted):
        await Call().mount(**changes)

    (line,) = (record for record in caplog.records if record.message == "mount failed")
    facts: dict[str, Any] = line.pairs  # type: ignore[attr-defined]
    assert (facts["pod"], facts["serviceAccount"], facts["spc"]) == (
        "shop/front-1",
        "front",
        "front",
    )


async def test_a_request_that_names_nobody_has_a_line_too(caplog: pytest.LogCaptureFixture) -> None:
    with pytest.raises(Aborted):
        await Call().mount_raw("{")

    (line,) = (record for record in caplog.records if record.message == "mount failed")
    facts: dict[str, Any] = line.pairs  # type: ignore[attr-defined]
    assert facts["reason"] == "invalid_request"
    assert "pod" not in facts


async def test_a_call_that_is_cancelled_counts() -> None:
    call = Call(asyncio.CancelledError())

    with pytest.raises(asyncio.CancelledError):
        await call.mount()

    assert call.count("CANCELLED") == 1


async def test_a_message_that_is_too_large() -> None:
    large = files.Volume((files.File("a", 0, b"x" * 2000),), (("a", "v"),))
    call = Call(large, max_message_bytes=1024)

    with pytest.raises(Aborted):
        await call.mount()

    assert call.ended is not None
    assert call.ended[0] is grpc.StatusCode.FAILED_PRECONDITION
    assert "allowed are 1024 bytes" in call.ended[1]


async def test_warnings_come_once(caplog: pytest.LogCaptureFixture) -> None:
    call = Call()

    await call.mount(unknown="x")
    await call.mount(unknown="x")

    assert caplog.messages.count("SecretProviderClass") == 1
