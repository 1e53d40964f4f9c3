"""offlineGrace: the last good answer stands in for a KMS out of reach, and only for that."""

import io
from collections.abc import Callable
from typing import Any

import grpc
import pytest

from devkit.kms import faults
from tests.contract.provider_kms.stage import DB, GET, LOGIN, Stage, contents, versions

Code = grpc.StatusCode
GRACE = {"offlineGrace": "1h"}


@pytest.fixture
async def stage(stage_of: Callable[..., Any]) -> Stage:
    """A provider that has served the class once."""
    stage: Stage = await stage_of(cache_bound_s=0.0)
    await stage.mount(DB, **GRACE)
    return stage


def offline(stage: Stage) -> float:
    return stage.app.metrics.registry.get_sample_value("kms_provider_offline_answers_total") or 0.0


@pytest.mark.parametrize(
    "fault",
    [faults.status(503), faults.status(500), faults.html(502), faults.reset()],
    ids=["503", "500", "502", "reset"],
)
async def test_stands_in(stage: Stage, fault: faults.Fault, logged: io.StringIO) -> None:
    stage.fail(fault, times=None)

    answer = await stage.mount(DB, **GRACE)

    assert contents(answer) == {"dbPassword": b"hunter2"}
    assert versions(answer) == {"dbPassword": "s1-/-DB_PASSWORD-3-offline"}
    assert offline(stage) == 1
    assert '"served from memory"' in logged.getvalue()
    assert "offlineAgeSeconds" in logged.getvalue()
    assert "hunter2" not in logged.getvalue()


async def test_stands_in_for_a_kms_that_is_down(stage: Stage) -> None:
    stage.kms.stop()

    answer = await stage.mount(DB, **GRACE)

    assert contents(answer) == {"dbPassword": b"hunter2"}


async def test_stands_in_when_time_runs_out(stage: Stage) -> None:
    stage.fail(faults.delay(60.0), times=None)

    answer = await stage.mount(DB, timeout=1.0, **GRACE)

    assert contents(answer) == {"dbPassword": b"hunter2"}


async def test_stands_in_for_other_pods_of_the_account(stage: Stage) -> None:
    stage.fail(faults.status(503), times=None)

    answer = await stage.mount(DB, pod="front-2", **GRACE)

    assert contents(answer) == {"dbPassword": b"hunter2"}


async def test_ends_with_the_outage(stage: Stage) -> None:
    outage = stage.fail(faults.status(503), times=None)
    await stage.mount(DB, **GRACE)
    stage.kms.faults.remove(outage)

    answer = await stage.mount(DB, **GRACE)

    assert versions(answer) == {"dbPassword": "s1-/-DB_PASSWORD-3"}


@pytest.mark.parametrize(
    ("fault", "route", "code"),
    [
        (faults.status(403, error="PermissionDenied"), GET, Code.PERMISSION_DENIED),
        (faults.status(404, error="NotFound"), GET, Code.NOT_FOUND),
        (faults.status(401, error="UnauthorizedError"), "*", Code.PERMISSION_DENIED),
    ],
    ids=["403", "404", "401"],
)
async def test_a_refusal_is_passed_on_and_forgets_the_answer(
    stage: Stage, fault: faults.Fault, route: str, code: grpc.StatusCode
) -> None:
    refusing = stage.fail(fault, route, times=None)
    error = await stage.refused(DB, **GRACE)
    stage.kms.faults.remove(refusing)
    stage.fail(faults.status(503), times=None)

    later = await stage.refused(DB, **GRACE)

    assert error.code() is code
    assert later.code() is Code.UNAVAILABLE
    assert offline(stage) == 0


@pytest.mark.parametrize(
    "changes",
    [{"account": "front-2"}, {"identityId": "other"}, {"envSlug": "dev"}, {"offlineGrace": None}],
    ids=["account", "identity", "environment", "not asked for"],
)
async def test_is_for_the_same_question_only(stage: Stage, changes: dict[str, Any]) -> None:
    stage.fail(faults.status(503), times=None)

    error = await stage.refused(DB, **{**GRACE, **changes})

    assert error.code() is Code.UNAVAILABLE


async def test_ends_with_its_time(stage_of: Callable[..., Any]) -> None:
    stage = await stage_of(cache_bound_s=0.0)
    await stage.mount(DB, offlineGrace="1ms")
    stage.fail(faults.status(503), times=None)

    error = await stage.refused(DB, offlineGrace="1ms")

    assert error.code() is Code.UNAVAILABLE


async def test_a_limit_is_not_an_outage(stage: Stage) -> None:
    stage.fail(faults.retry_after("120"), times=None)

    error = await stage.refused(DB, **GRACE)

    assert error.code() is Code.RESOURCE_EXHAUSTED


async def test_asks_twice_at_most(stage: Stage) -> None:
    stage.fail(faults.status(503), LOGIN, times=None)
    stage.fail(faults.status(503), GET, times=None)
    stage.kms.requests.clear()

    await stage.mount(DB, **GRACE)

    assert stage.asked() == ["GET 503", "GET 503"]
