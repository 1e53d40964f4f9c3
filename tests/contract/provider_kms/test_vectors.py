"""The twelve test vectors of the KMS API's fact sheet, over real HTTPS with a private CA.

Numbers in names are those of the vectors. What must be asked of the KMS is asserted exactly.
"""

import time
from collections.abc import Callable
from typing import Any

import grpc
import pytest

from csi_spec import provider_pb2
from devkit.kms import faults
from tests.contract.provider_kms.stage import APP, DB, GET, LOGIN, Stage, contents, versions


async def test_version(stage: Stage) -> None:
    answer = await stage.stub.Version(provider_pb2.VersionRequest(version="v1alpha1"))

    assert (answer.version, answer.runtime_name) == ("v1alpha1", "kms-csi-provider")
    assert answer.runtime_version.count(".") == 2


async def test_1_two_secrets_of_two_folders(stage: Stage) -> None:
    answer = await stage.mount(DB, APP)

    assert [(f.path, f.contents, f.mode) for f in answer.files] == [
        ("dbPassword", b"hunter2", 420),
        ("appSecret", b"line1\nline2\n", 420),
    ]
    assert [(v.id, v.version) for v in answer.object_version] == [
        ("dbPassword", "s1-/-DB_PASSWORD-3"),
        ("appSecret", "s2-/app-APP_SECRET-1"),
    ]
    assert stage.asked() == ["LOGIN 200", "GET 200", "GET 200"]
    assert {record.user_agent for record in stage.kms.requests.records()} == {
        "hanzo-kms-csi-provider/1.7.0"
    }


async def test_3_no_token_for_the_audience(stage: Stage) -> None:
    tokens = '{"vault": {"token": "J", "expirationTimestamp": ""}}'

    error = await stage.refused(DB, **{"csi.storage.k8s.io/serviceAccount.tokens": tokens})

    assert error.code() is grpc.StatusCode.FAILED_PRECONDITION
    assert '"kms"' in error.details()
    assert '"vault"' in error.details()
    assert stage.asked() == []


async def test_4_one_secret_under_two_names(stage: Stage) -> None:
    answer = await stage.mount(DB | {"fileName": "a"}, DB | {"fileName": "b"})

    assert contents(answer) == {"a": b"hunter2", "b": b"hunter2"}
    assert versions(answer) == {"a": "s1-/-DB_PASSWORD-3", "b": "s1-/-DB_PASSWORD-3"}
    assert stage.asked() == ["LOGIN 200", "GET 200"]


@pytest.mark.parametrize("beside", [(), (APP,)], ids=["single read", "list"])
async def test_5_the_last_import_wins(stage: Stage, beside: tuple[dict[str, str], ...]) -> None:
    shared = {"secretPath": "/app", "secretKey": "SHARED_KEY", "fileName": "shared"}

    answer = await stage.mount(shared, *beside)

    assert contents(answer)["shared"] == b"high"
    assert versions(answer)["shared"] == "s5-/override-SHARED_KEY-1"
    assert stage.asked() == ["LOGIN 200", "LIST 200" if beside else "GET 200"]


async def test_6_an_empty_secret_is_an_empty_file(stage: Stage) -> None:
    answer = await stage.mount({"secretPath": "/app", "secretKey": "EMPTY", "fileName": "e"})

    assert contents(answer) == {"e": b""}
    assert versions(answer) == {"e": "s3-/app-EMPTY-2"}
    assert stage.asked() == ["LOGIN 200", "GET 200"]


async def test_8_a_missing_secret_is_named(stage: Stage) -> None:
    missing = {"secretPath": "/app", "secretKey": "NOPE", "fileName": "x"}

    error = await stage.refused(DB, missing)

    assert error.code() is grpc.StatusCode.NOT_FOUND
    for word in ('"prod"', '"/app"', '"NOPE"', "404", "req-"):
        assert word in error.details()
    assert stage.count(LOGIN) == 1
    assert stage.count(GET) == 2


async def test_9_a_refused_login_is_final(stage: Stage) -> None:
    stage.kms.faults.add(faults.status(401, error="UnauthorizedError"), LOGIN)
    token = stage.pod_token()

    error = await stage.refused(DB, APP, token=token)

    assert error.code() is grpc.StatusCode.PERMISSION_DENIED
    assert "401" in error.details()
    assert '"kms"' in error.details()
    assert token not in error.details()
    assert stage.asked() == ["LOGIN 401"]


async def test_9_a_token_of_another_audience(stage: Stage) -> None:
    error = await stage.refused(DB, token=stage.pod_token(audience="vault"))

    assert error.code() is grpc.StatusCode.UNAUTHENTICATED
    assert stage.asked() == ["LOGIN 401"]


async def test_10_a_limit_is_waited_for(stage: Stage) -> None:
    stage.kms.faults.add(faults.retry_after("1"), GET, where="APP_SECRET")
    began = time.monotonic()

    answer = await stage.mount(DB, APP)

    assert contents(answer) == {"dbPassword": b"hunter2", "appSecret": b"line1\nline2\n"}
    assert time.monotonic() - began >= 1.0
    assert sorted(stage.asked()) == ["GET 200", "GET 200", "GET 429", "LOGIN 200"]


async def test_10_a_limit_beyond_the_deadline_fails_at_once(stage: Stage) -> None:
    stage.kms.faults.add(faults.retry_after("120"), GET, where="APP_SECRET", times=None)
    began = time.monotonic()

    error = await stage.refused(DB, APP, timeout=30.0)

    assert error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert time.monotonic() - began < 1.0
    assert "120" in error.details()
    assert stage.asked().count("GET 429") == 1


async def test_11_a_stale_token_is_replaced_once(stage_of: Callable[..., Any]) -> None:
    stage = await stage_of(cache_bound_s=0.0)
    await stage.mount(DB)
    stage.kms.requests.clear()
    stage.kms.faults.add(faults.status(403, error="TokenError"), GET)

    answer = await stage.mount(DB)

    assert contents(answer) == {"dbPassword": b"hunter2"}
    assert stage.asked() == ["GET 403", "LOGIN 200", "GET 200"]


async def test_11_a_fresh_token_that_is_refused_is_final(stage_of: Callable[..., Any]) -> None:
    stage = await stage_of(cache_bound_s=0.0)
    await stage.mount(DB)
    stage.kms.requests.clear()
    stage.kms.faults.add(faults.status(403, error="TokenError"), GET, times=None)

    error = await stage.refused(DB)

    assert error.code() is grpc.StatusCode.UNAUTHENTICATED
    assert stage.asked() == ["GET 403", "LOGIN 200", "GET 403"]


TWO_OF_ONE_NAME = "[{secretKey: A, fileName: f}, {secretKey: B, fileName: f}]"


@pytest.mark.parametrize(
    ("parameter", "changes"),
    [
        ("authMethod", {"authMethod": "universal"}),
        ("projectId", {"projectId": ""}),
        ("secrets", {"secrets": None}),
        ("secretKey", {"secrets": "[{secretPath: /, fileName: x}]"}),
        ("fileName", {"secrets": "[{secretPath: /, secretKey: A, fileName: ../x}]"}),
        ("fileName", {"secrets": TWO_OF_ONE_NAME}),
        ("windowDuration", {"windowDuration": "5"}),
    ],
)
async def test_12_faults_of_the_class_cost_no_request(
    stage: Stage, parameter: str, changes: dict[str, str | None]
) -> None:
    error = await stage.refused(**changes)

    assert error.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert parameter in error.details()
    assert stage.asked() == []


async def test_12_a_page_is_no_login(stage: Stage) -> None:
    stage.kms.faults.add(faults.html(), "*")

    error = await stage.refused(kmsUrl=f"{stage.kms.url}/app")

    assert error.code() is grpc.StatusCode.INTERNAL
    assert "not a KMS API answer" in error.details()
    assert len(stage.asked()) == 1


async def test_a_call_without_a_deadline(stage: Stage) -> None:
    assert contents(await stage.mount(DB, timeout=None)) == {"dbPassword": b"hunter2"}
