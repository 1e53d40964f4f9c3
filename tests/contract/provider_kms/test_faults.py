"""What the KMS and the network before it can do wrong: code, sentence, requests, no files.

Retries have no wait here (jitter is a number in [0, 1) and is 0), so a case that is tried four
times takes no longer than one that is not.
"""

import asyncio
import dataclasses
import io
import json
import secrets
import threading
import time
from collections.abc import Callable
from typing import Any

import grpc
import grpc.aio
import pytest

from csi_spec import provider_pb2_grpc
from devkit.kms import faults
from provider_kms import status
from tests.contract.provider_kms.stage import APP, DB, GET, LIST, LOGIN, SEED, Stage, contents

Code = grpc.StatusCode
OTHER = {"secretPath": "/app", "secretKey": "EMPTY", "fileName": "empty"}


@dataclasses.dataclass(frozen=True)
class Case:
    """A fault and what must come of it."""

    name: str
    fault: faults.Fault
    route: str
    code: grpc.StatusCode
    words: tuple[str, ...]
    asked: tuple[str, ...]
    items: tuple[dict[str, Any], ...] = (DB,)


def refusal(number: int, error: str) -> faults.Fault:
    return faults.status(number, error=error)


CASES = (
    Case(
        "503 always",
        refusal(503, "ServiceUnavailable"),
        GET,
        Code.UNAVAILABLE,
        ("503", "after 4 tries", '"prod"', '"/"', '"DB_PASSWORD"', "req-"),
        ("LOGIN 200", *["GET 503"] * 4),
    ),
    Case(
        "500 at login always",
        refusal(500, "InternalServerError"),
        LOGIN,
        Code.UNAVAILABLE,
        ("500", "after 4 tries", "req-"),
        tuple(["LOGIN 500"] * 4),
    ),
    Case(
        "504 from a proxy",
        faults.html(504),
        GET,
        Code.UNAVAILABLE,
        ("504", "after 4 tries"),
        ("LOGIN 200", *["GET 504"] * 4),
    ),
    Case(
        "429 without a time",
        refusal(429, "RateLimitExceeded"),
        GET,
        Code.RESOURCE_EXHAUSTED,
        ("limits requests", "60 s", "req-", '"DB_PASSWORD"'),
        ("LOGIN 200", "GET 429"),
    ),
    Case(
        "429 for too long",
        faults.retry_after("600"),
        LOGIN,
        Code.RESOURCE_EXHAUSTED,
        ("limits requests", "600 s"),
        ("LOGIN 429",),
    ),
    Case(
        "503 for too long",
        faults.retry_after("600", status=503),
        GET,
        Code.UNAVAILABLE,
        ("503",),
        ("LOGIN 200", "GET 503"),
    ),
    Case(
        "reset always",
        faults.reset(),
        GET,
        Code.UNAVAILABLE,
        ("after 4 tries",),
        # The first on the login's connection: that it is closed before a word may just be the
        # end of its life, so the request is sent once more without being counted as a try.
        ("LOGIN 200", *["GET 0"] * 5),
    ),
    Case(
        "body cut off always",
        faults.truncated(20),
        GET,
        Code.UNAVAILABLE,
        ("cut off", "after 4 tries"),
        ("LOGIN 200", *["GET 200"] * 4),
    ),
    Case(
        "a page instead of a secret",
        faults.html(),
        GET,
        Code.INTERNAL,
        ("not a KMS API answer", "text/html"),
        ("LOGIN 200", "GET 200"),
    ),
    Case(
        "a page instead of a list",
        faults.html(),
        LIST,
        Code.INTERNAL,
        ("not a KMS API answer", "text/html", '"/app"'),
        ("LOGIN 200", "LIST 200"),
        (APP, OTHER),
    ),
    Case(
        "an empty object instead of a secret",
        faults.status(200, body=b"{}"),
        GET,
        Code.INTERNAL,
        ("not a KMS API answer", "no secret"),
        ("LOGIN 200", "GET 200"),
    ),
    Case(
        "null instead of a secret",
        faults.status(200, body=b'{"secret": null}'),
        GET,
        Code.INTERNAL,
        ("not a KMS API answer",),
        ("LOGIN 200", "GET 200"),
    ),
    Case(
        "a pending approval",
        faults.status(200, body=b'{"secret": null, "aiAccess": {"requestId": "ask-7"}}'),
        GET,
        Code.FAILED_PRECONDITION,
        ("ask-7", '"DB_PASSWORD"'),
        ("LOGIN 200", "GET 200"),
    ),
    Case(
        "an empty object instead of a login",
        faults.status(200, body=b"{}"),
        LOGIN,
        Code.INTERNAL,
        ("not a KMS API answer", "accessToken"),
        ("LOGIN 200",),
    ),
    Case(
        "half a JSON text",
        faults.status(200, body=b'{"secret": {"id": "s1"'),
        GET,
        Code.INTERNAL,
        ("not JSON",),
        ("LOGIN 200", "GET 200"),
    ),
    Case(
        "bytes that are no UTF-8",
        faults.status(
            200,
            body=b'{"secret": {"id": "s1", "secretKey": "DB_PASSWORD", '
            b'"version": 1, "secretPath": "/", "secretValue": "\xff\xfe"}}',
        ),
        GET,
        Code.INTERNAL,
        ("not JSON",),
        ("LOGIN 200", "GET 200"),
    ),
    Case(
        "half a surrogate",
        faults.status(
            200,
            body=b'{"secret": {"id": "s1", "secretKey": "DB_PASSWORD", '
            b'"version": 1, "secretPath": "/", "secretValue": "\\ud800"}}',
        ),
        GET,
        Code.INTERNAL,
        ("not Unicode",),
        ("LOGIN 200", "GET 200"),
    ),
    Case(
        "another secret",
        faults.status(
            200,
            body=b'{"secret": {"id": "s9", "secretKey": "OTHER", '
            b'"version": 1, "secretPath": "/", "secretValue": "x"}}',
        ),
        GET,
        Code.INTERNAL,
        ("another key",),
        ("LOGIN 200", "GET 200"),
    ),
    Case(
        "redirect to another host",
        faults.redirect("https://evil.example/x"),
        GET,
        Code.INTERNAL,
        ("redirects to evil.example",),
        ("LOGIN 200", "GET 302"),
    ),
    Case(
        "redirect to nowhere",
        faults.redirect("https://[evil.example/x"),
        GET,
        Code.INTERNAL,
        ("not a KMS API answer", "redirects to elsewhere"),
        ("LOGIN 200", "GET 302"),
    ),
    Case(
        "redirect of a login",
        faults.redirect("https://evil.example/x", 307),
        LOGIN,
        Code.INTERNAL,
        ("redirects to evil.example",),
        ("LOGIN 307",),
    ),
    Case(
        "401 at login",
        refusal(401, "UnauthorizedError"),
        LOGIN,
        Code.PERMISSION_DENIED,
        ("401", "UnauthorizedError", '"kms"', "req-"),
        ("LOGIN 401",),
    ),
    Case(
        "401 of the token review",
        refusal(401, "KubernetesTokenReviewError"),
        LOGIN,
        Code.UNAUTHENTICATED,
        ("KubernetesTokenReviewError",),
        ("LOGIN 401",),
    ),
    Case(
        "403 at login",
        refusal(403, "ForbiddenError"),
        LOGIN,
        Code.PERMISSION_DENIED,
        ("403",),
        ("LOGIN 403",),
    ),
    Case(
        "404 at login",
        refusal(404, "NotFound"),
        LOGIN,
        Code.NOT_FOUND,
        ('identity "I"', "404"),
        ("LOGIN 404",),
    ),
    Case(
        "400 at login for good",
        refusal(400, "KubernetesUsernameParseError"),
        LOGIN,
        Code.INVALID_ARGUMENT,
        ("KubernetesUsernameParseError",),
        ("LOGIN 400",),
    ),
    Case(
        "400 at login for a while",
        refusal(400, "KubernetesConnectionRefused"),
        LOGIN,
        Code.UNAVAILABLE,
        ("KubernetesConnectionRefused",),
        tuple(["LOGIN 400"] * 4),
    ),
    Case(
        "422 at login",
        refusal(422, "ValidationFailure"),
        LOGIN,
        Code.INVALID_ARGUMENT,
        ("422",),
        ("LOGIN 422",),
    ),
    Case(
        "404 of a route that is not there",
        faults.status(404, body=b'{"message": "no", "error": "Not Found", "statusCode": 404}'),
        GET,
        Code.INTERNAL,
        ("not a KMS API answer", "404"),
        ("LOGIN 200", "GET 404"),
        ({**DB, "optional": "true"},),
    ),
    Case(
        "403 PermissionDenied",
        refusal(403, "PermissionDenied"),
        GET,
        Code.PERMISSION_DENIED,
        ("403", '"prod"', '"/"', '"DB_PASSWORD"', "req-"),
        ("LOGIN 200", "GET 403"),
    ),
    Case(
        "403 ForbiddenError",
        refusal(403, "ForbiddenError"),
        GET,
        Code.PERMISSION_DENIED,
        ("ForbiddenError",),
        ("LOGIN 200", "GET 403"),
    ),
    Case(
        "403 ForbiddenReadSecretError",
        refusal(403, "ForbiddenReadSecretError"),
        GET,
        Code.PERMISSION_DENIED,
        ("ForbiddenReadSecretError",),
        ("LOGIN 200", "GET 403"),
    ),
    Case(
        "403 of a proxy",
        faults.html(403),
        GET,
        Code.INTERNAL,
        ("not a KMS API answer", "403"),
        ("LOGIN 200", "GET 403"),
    ),
    Case(
        "403 TokenError with a fresh token",
        refusal(403, "TokenError"),
        GET,
        Code.UNAUTHENTICATED,
        ("TokenError",),
        ("LOGIN 200", "GET 403"),
    ),
    Case(
        "401 with a fresh token",
        refusal(401, "UnauthorizedError"),
        GET,
        Code.UNAUTHENTICATED,
        ("401",),
        ("LOGIN 200", "GET 401"),
    ),
    Case(
        "400 of a read",
        refusal(400, "BadRequest"),
        GET,
        Code.INVALID_ARGUMENT,
        ("400", '"DB_PASSWORD"'),
        ("LOGIN 200", "GET 400"),
    ),
    Case(
        "404 of a folder",
        refusal(404, "SecretPathNotFound"),
        LIST,
        Code.NOT_FOUND,
        ("SecretPathNotFound", '"APP_SECRET"'),
        ("LOGIN 200", "LIST 404"),
        (APP, OTHER),
    ),
)


@pytest.fixture
def marker() -> str:
    return secrets.token_hex(16)


@pytest.fixture
async def marked(
    stage_of: Callable[..., Any], kms_at: Callable[..., Any], marker: str, logged: io.StringIO
) -> Stage:
    """A stage whose secret values all hold a marker."""
    return await stage_of(kms_at(SEED.replace("hunter2", marker).replace("line1", marker)))


@pytest.mark.parametrize("case", CASES, ids=[case.name for case in CASES])
async def test_a_fault_has_one_code_and_leaves_no_file(
    marked: Stage, marker: str, logged: io.StringIO, case: Case
) -> None:
    marked.fail(case.fault, case.route, times=None)
    token = marked.pod_token()

    error = await marked.refused(*case.items, token=token)

    assert error.code() is case.code
    for word in case.words:
        assert word in error.details()
    assert tuple(marked.asked()) == case.asked
    output = logged.getvalue() + error.details() + str(error.trailing_metadata())
    assert '"mount failed"' in output
    for secret in (marker, token, "Bearer ey"):
        assert secret not in output


ONCE = (
    (refusal(500, "InternalServerError"), GET, ["LOGIN 200", "GET 500", "GET 200"]),
    (refusal(502, "BadGateway"), LOGIN, ["LOGIN 502", "LOGIN 200", "GET 200"]),
    (faults.reset(), GET, ["LOGIN 200", "GET 0", "GET 200"]),
    (faults.reset(), LOGIN, ["LOGIN 0", "LOGIN 200", "GET 200"]),
    (faults.truncated(5), GET, ["LOGIN 200", "GET 200", "GET 200"]),
    (faults.retry_after("0"), GET, ["LOGIN 200", "GET 429", "GET 200"]),
    (faults.retry_after("0", status=503), GET, ["LOGIN 200", "GET 503", "GET 200"]),
    (faults.retry_after("Thu, 01 Jan 2026 00:00:00 GMT"), GET, ["LOGIN 200", "GET 429", "GET 200"]),
    (refusal(400, "KubernetesConnectionTimeout"), LOGIN, ["LOGIN 400", "LOGIN 200", "GET 200"]),
)


@pytest.mark.parametrize(("fault", "route", "asked"), ONCE)
async def test_a_fault_that_passes_is_not_noticed(
    marked: Stage, marker: str, fault: faults.Fault, route: str, asked: list[str]
) -> None:
    marked.fail(fault, route)

    answer = await marked.mount(DB)

    assert contents(answer) == {"dbPassword": marker.encode()}
    assert marked.asked() == asked


async def test_a_known_wait_comes_as_retry_info(stage: Stage) -> None:
    stage.fail(faults.retry_after("120"), LOGIN, times=None)

    error = await stage.refused(DB)

    trailers = {entry[0]: entry[1] for entry in error.trailing_metadata() or ()}
    expected = status.with_retry_info(8, error.details() or "", 120.0)
    assert trailers["grpc-status-details-bin"] == expected


async def test_others_do_not_ask_while_a_limit_holds(stage: Stage) -> None:
    stage.fail(faults.retry_after("120"), GET)
    await stage.refused(DB)
    stage.kms.requests.clear()

    error = await stage.refused(APP, account="front-2")

    assert error.code() is Code.RESOURCE_EXHAUSTED
    assert stage.asked() == ["LOGIN 200"]


DRIVERS_SERVICE_CONFIG = {
    "methodConfig": [
        {
            "name": [{"service": "v1alpha1.CSIDriverProvider"}],
            "waitForReady": True,
            "retryPolicy": {
                "maxAttempts": 3,
                "initialBackoff": "0.01s",
                "maxBackoff": "10s",
                "backoffMultiplier": 1.1,
                "retryableStatusCodes": ["UNAVAILABLE"],
            },
        }
    ]
}


async def test_unavailable_is_not_repeated_by_the_drivers_channel(stage: Stage) -> None:
    stage.fail(refusal(503, "ServiceUnavailable"), LOGIN, times=None)
    options = [("grpc.service_config", json.dumps(DRIVERS_SERVICE_CONFIG))]

    async with grpc.aio.insecure_channel(f"unix:{stage.socket}", options=options) as channel:
        stub = provider_pb2_grpc.CSIDriverProviderStub(channel)
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await stub.Mount(stage.request(DB), timeout=10)

    assert caught.value.code() is Code.UNAVAILABLE
    assert stage.asked() == ["LOGIN 503"] * 4


async def test_a_kms_that_is_down(stage_of: Callable[..., Any], kms_at: Callable[..., Any]) -> None:
    kms = kms_at()
    stage = await stage_of(kms)
    kms.stop()

    error = await stage.refused(DB)

    assert error.code() is Code.UNAVAILABLE
    assert "no connection" in error.details()
    assert "after 4 tries" in error.details()


async def test_a_name_that_does_not_exist_is_tried_once(stage: Stage) -> None:
    error = await stage.refused(DB, kmsUrl="https://kms.invalid")

    assert error.code() is Code.UNAVAILABLE
    assert "its name is not found" in error.details()
    assert "tries" not in error.details()


async def test_names_that_nobody_answers_hold_up_no_other_mount(stage: Stage) -> None:
    # So does a look-up whose name server is silent: a thread of the loop, for some ten seconds.
    answered = threading.Event()
    loop = asyncio.get_running_loop()
    lookups = [loop.run_in_executor(None, answered.wait) for _ in range(40)]
    try:
        answer = await stage.mount({"secretPath": "/override", "keys": "*"}, timeout=5)
    finally:
        answered.set()
        await asyncio.gather(*lookups)

    assert contents(answer) == {"SHARED_KEY": b"high"}


@pytest.mark.parametrize(
    "fault", [faults.delay(60.0), faults.slow(10, 0.3)], ids=["no answer", "slow body"]
)
async def test_the_callers_deadline_is_kept(stage: Stage, fault: faults.Fault) -> None:
    stage.fail(fault, GET, times=None)
    began = time.monotonic()

    error = await stage.refused(DB, timeout=1.5)

    assert error.code() is Code.DEADLINE_EXCEEDED
    assert "KMS" in error.details()
    assert time.monotonic() - began < 1.5
    # Nobody waits any more, so nothing is asked any more.
    await stage.quiet()


async def test_a_caller_that_leaves_ends_the_request(stage: Stage) -> None:
    stage.fail(faults.delay(60.0), LOGIN)

    call = stage.stub.Mount(stage.request(DB))
    await asyncio.to_thread(stage.kms.requests.wait_for, LOGIN, 1)
    call.cancel()

    await stage.quiet()
    assert [record.abandoned for record in stage.kms.requests.records()] == [True]


async def test_a_certificate_of_another_authority(stage: Stage) -> None:
    error = await stage.refused(DB, caCertificate=None)

    assert error.code() is Code.FAILED_PRECONDITION
    assert "certificate is refused" in error.details()
    assert stage.asked() == []


async def test_a_certificate_that_is_none(stage: Stage) -> None:
    pem = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"

    error = await stage.refused(DB, caCertificate=pem)

    assert error.code() is Code.INVALID_ARGUMENT
    assert "caCertificate" in error.details()
    assert stage.asked() == []


async def test_a_hidden_value_is_never_written(
    stage_of: Callable[..., Any], kms_at: Callable[..., Any]
) -> None:
    seed = SEED.replace("value: hunter2", "value: hunter2, hidden: true")
    stage = await stage_of(kms_at(seed))

    error = await stage.refused(DB)

    assert error.code() is Code.PERMISSION_DENIED
    assert "hides the value" in error.details()


async def test_a_value_of_one_mebibyte(stage: Stage) -> None:
    value = "x" * (1024 * 1024 - 1) + "é"
    stage.kms.world.set_secret("P", "prod", "/", "BIG", value)

    answer = await stage.mount({"secretKey": "BIG", "fileName": "big"})

    assert contents(answer) == {"big": value.encode()}


async def test_more_than_the_driver_takes_is_an_error_that_says_so(stage: Stage) -> None:
    items = []
    for number in range(5):
        stage.kms.world.set_secret("P", "prod", "/big", f"K{number}", "x" * 1_000_000)
        items.append({"secretPath": "/big", "secretKey": f"K{number}", "fileName": f"f{number}"})

    error = await stage.refused(*items)

    assert error.code() is Code.FAILED_PRECONDITION
    assert "4194304 bytes" in error.details()
    assert "--max-call-recv-msg-size" in error.details()
    assert len((await stage.mount(*items[:4])).files) == 4


@pytest.mark.parametrize(
    "name", ["../x", "/x", "a/../b", "..data", "a//b", "./a", "a/", "", "a\0b"]
)
async def test_a_file_name_that_leaves_the_volume(stage: Stage, name: str) -> None:
    error = await stage.refused(**{"secrets": json.dumps([{"secretKey": "A", "fileName": name}])})

    assert error.code() is Code.INVALID_ARGUMENT
    assert "secrets[1].fileName" in error.details()
    assert stage.asked() == []


async def test_a_secret_that_does_not_exist_is_not_asked_for_again_at_once(stage: Stage) -> None:
    missing = {"secretKey": "NOPE", "fileName": "x"}
    await stage.refused(missing)

    error = await stage.refused(missing)

    assert error.code() is Code.NOT_FOUND
    assert "req-" in error.details()
    assert stage.asked() == ["LOGIN 200", "GET 404"]
