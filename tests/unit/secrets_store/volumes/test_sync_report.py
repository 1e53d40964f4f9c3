"""Reports of Secret sync, and which failures are logged."""

import logging

import pytest

from secrets_store import errors
from secrets_store.model import provider_class
from secrets_store.volumes import secret_requests, sync_report

Outcome, Result = sync_report.Outcome, sync_report.Result


def rejected(name: str, reason: str = "why") -> errors.SecretRejected:
    return errors.SecretRejected(f"shop/{name}", "shop/cls", reason)


def denied(name: str) -> errors.SecretRejected:
    return refused(name, 'User "driver" cannot get resource "secrets"')


def refused(name: str, message: str) -> errors.SecretRejected:
    refusal = secret_requests.Refused("get", errors.Forbidden(message, status=403))
    failure = sync_report.refused(f"shop/{name}", "shop/cls", refusal).failure
    assert failure is not None
    return failure


def test_outcomes_are_summed_up_by_name() -> None:
    failure = rejected("f")
    report = sync_report.SyncReport.of(
        [
            Outcome("z", Result.WRITTEN, repaired=True),
            Outcome("a", Result.OWNERS),
            Outcome("m", Result.SAME),
            Outcome("d", Result.DELETED),
            Outcome("left", None),
            Outcome(failure=failure),
        ]
    )
    assert report == sync_report.SyncReport(
        written=("z",),
        owned=("a",),
        unchanged=("m",),
        repaired=("z",),
        deleted=("d",),
        failed=(failure,),
    )


def test_check_raises_the_first_failure_only_if_there_is_one() -> None:
    sync_report.SyncReport(written=("a",)).check()
    with pytest.raises(errors.SecretRejected, match="shop/one"):
        sync_report.SyncReport(failed=(rejected("one"), rejected("two"))).check()


@pytest.fixture
def told(caplog: pytest.LogCaptureFixture) -> pytest.LogCaptureFixture:
    caplog.set_level(logging.WARNING)
    return caplog


def test_known_failure_is_not_logged_again(told: pytest.LogCaptureFixture) -> None:
    failures = sync_report.FailureLog()

    def warnings(*failed: errors.SecretRejected, class_name: str = "shop/cls") -> list[str]:
        told.clear()
        failures.tell(class_name, failed)
        return [record.__dict__["pairs"]["secret"] for record in told.records]

    assert warnings(rejected("a"), rejected("b")) == ["shop/a", "shop/b"]
    assert warnings(rejected("a"), rejected("b", "other")) == ["shop/b"]
    assert warnings(rejected("a"), class_name="shop/two") == ["shop/a"]
    assert warnings() == []
    assert warnings(rejected("a")) == ["shop/a"]
    failures.forget("shop/cls")
    failures.forget("shop/cls")
    assert warnings(rejected("a")) == ["shop/a"]


def test_an_api_server_that_is_away_is_one_failure_however_it_shows(
    told: pytest.LogCaptureFixture,
) -> None:
    """Each look ends in other words, and there is one per volume and interval."""
    failures = sync_report.FailureLog()
    for reason in ("read timeout", "cannot connect", "not done in time", "read timeout"):
        failures.tell(
            "shop/cls",
            [errors.SecretNotWritten("shop/a", "shop/cls", reason, errors.Unavailable(reason))],
        )
    assert len(told.records) == 1

    rule = errors.Rejected("no", status=422)
    failures.tell("shop/cls", [errors.SecretNotWritten("shop/a", "shop/cls", "no", rule)])

    assert len(told.records) == 2


def test_missing_right_is_logged_once_for_all(told: pytest.LogCaptureFixture) -> None:
    failures = sync_report.FailureLog()
    failures.tell("shop/cls", [denied("a"), denied("b")])
    failures.tell("shop/two", [denied("c")])
    assert len(told.records) == 1


def test_namespace_that_is_not_allowed_fails_every_name() -> None:
    chosen = provider_class.ProviderClass.from_dict(
        {
            "metadata": {"namespace": "shop", "name": "cls"},
            "spec": {"secretObjects": [{"secretName": "b"}, {"secretName": " a "}, {}]},
        }
    )
    failed = [outcome.failure for outcome in sync_report.not_allowed(chosen)]
    assert [failure.secret for failure in failed if failure] == ["shop/a", "shop/b"]
    assert "not on the driver's list" in str(failed[0])


def test_refusal_keeps_its_cause() -> None:
    cause = errors.Unavailable("away")
    failure = sync_report.refused("shop/a", "shop/cls", secret_requests.Refused("get", cause))
    assert isinstance(failure.failure, errors.SecretNotWritten)
    assert failure.failure.cause is cause
    assert failure.failure.status_code is errors.Code.UNAVAILABLE


def test_a_quota_hides_no_right_that_is_missing(told: pytest.LogCaptureFixture) -> None:
    failures = sync_report.FailureLog()
    failures.tell("shop/cls", [refused("a", "exceeded quota")])

    failures.tell("shop/two", [denied("c")])

    assert len(told.records) == 2


def not_written(name: str, cause: errors.ApiError) -> errors.SecretNotWritten:
    return errors.SecretNotWritten(f"shop/{name}", "shop/cls", "why", cause)


def test_what_the_api_server_refused_may_be_mended_and_what_breaks_a_rule_not() -> None:
    away = not_written("away", errors.Unavailable("away"))

    assert sync_report.SyncReport(failed=(rejected("rule"), away)).mendable == (away,)
    assert sync_report.SyncReport(failed=(rejected("rule"),)).mendable == ()


@pytest.mark.parametrize(
    ("status", "lasting"),
    [(0, False), (401, False), (409, False), (500, False), (400, True), (403, True), (422, True)],
)
def test_what_somebody_has_to_do_something_about_lasts(status: int, lasting: bool) -> None:
    refusal = not_written("a", errors.ApiError("no", status=status))
    quota = not_written("q", errors.Forbidden("quota", status=403))

    assert sync_report.SyncReport(failed=(refusal,)).lasting is lasting
    # One that passes by itself is reason enough to try all again.
    assert sync_report.SyncReport(failed=(quota, refusal)).lasting is lasting
