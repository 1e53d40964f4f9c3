"""When a class is asked for again after its provider has failed."""

import asyncio
import dataclasses
from typing import Any

import pytest

from secrets_store import errors
from secrets_store.model import provider_class
from secrets_store.volumes import gates

Code = errors.Code
CLASS = provider_class.ProviderClass(
    namespace="shop",
    name="cls",
    uid="u",
    generation=1,
    provider="vault",
    parameters={},
    secret_objects=(),
    annotations={},
)
AWAY = errors.ProviderFailed("away", code=Code.UNAVAILABLE, retry_after_s=60.0)
LONGEST_S = gates.CAP_S


class Clock:
    """Time that a test sets."""

    def __init__(self) -> None:
        self.now_s = 100.0

    def wall_s(self) -> float:
        raise AssertionError("a clock that can be set does not count")

    def mono_s(self) -> float:
        return self.now_s

    async def wait(self, event: asyncio.Event, timeout_s: float | None) -> bool:
        raise AssertionError("a gate does not wait itself")


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def closed(clock: Clock) -> gates.Gates:
    """Gates of which that of CLASS is closed for a minute."""
    made = gates.Gates(clock)
    made.failed(CLASS, AWAY)
    assert made.wait_s(CLASS) >= 60.0
    return made


TRANSIENT = [
    errors.ProviderMissing("vault"),
    *(
        errors.ProviderFailed("x", code=code)
        for code in (
            Code.UNAVAILABLE,
            Code.RESOURCE_EXHAUSTED,
            Code.DEADLINE_EXCEEDED,
            Code.ABORTED,
        )
    ),
]
FINAL = [
    *(
        errors.ProviderFailed("x", code=code)
        for code in (Code.PERMISSION_DENIED, Code.NOT_FOUND, Code.INVALID_ARGUMENT, Code.UNKNOWN)
    ),
    errors.ProviderFailed("x", code=Code.INTERNAL, retry_after_s=60.0),
    errors.ClassInvalid("x"),
]


@pytest.mark.parametrize("error", TRANSIENT, ids=repr)
def test_failure_that_passes_closes_the_gate(clock: Clock, error: errors.DriverError) -> None:
    made = gates.Gates(clock)
    assert (made.wait_s(CLASS), made.reason(CLASS)) == (0.0, None)

    made.failed(CLASS, error)

    assert gates.MIN_S <= made.wait_s(CLASS) <= 2 * gates.BASE_S
    assert repr(made.reason(CLASS)) == repr(error)


def test_a_gate_keeps_nothing_of_what_was_asked(clock: Clock) -> None:
    """The frames of a traceback hold the question, and with it tokens, for as long as the gate."""
    made = gates.Gates(clock)
    try:
        raise errors.ProviderFailed("x", code=Code.UNAVAILABLE, retry_after_s=7.0) from OSError()
    except errors.ProviderFailed as error:
        made.failed(CLASS, error)

    kept = made.reason(CLASS)

    assert isinstance(kept, errors.ProviderFailed)
    assert (str(kept), kept.status_code, kept.retry_after_s) == ("x", Code.UNAVAILABLE, 7.0)
    assert kept.__traceback__ is kept.__context__ is kept.__cause__ is None


def test_gates_that_nobody_asks_for_are_let_go(clock: Clock) -> None:
    made = gates.Gates(clock)
    for number in range(1000):
        made.failed(dataclasses.replace(CLASS, name=f"cls{number}"), AWAY)
        clock.now_s += 300.0

    assert len(made) <= gates.KEPT_S / 300.0 + 2


@pytest.mark.parametrize("error", FINAL, ids=repr)
def test_final_failure_leaves_it_open(clock: Clock, error: errors.DriverError) -> None:
    made = gates.Gates(clock)

    made.failed(CLASS, error)

    assert (made.wait_s(CLASS), made.reason(CLASS)) == (0.0, None)


def test_what_the_provider_asks_for_is_the_least(clock: Clock) -> None:
    made = gates.Gates(clock)

    made.failed(CLASS, errors.ProviderFailed("x", code=Code.UNAVAILABLE, retry_after_s=900.0))

    assert made.wait_s(CLASS) == 900.0


def test_many_failures_in_a_row_do_not_close_it_for_longer_than_the_cap(clock: Clock) -> None:
    made = gates.Gates(clock)

    for _ in range(1000):
        made.failed(CLASS, errors.ProviderMissing("vault"))
        assert gates.MIN_S <= made.wait_s(CLASS) <= LONGEST_S


def test_time_opens_it_and_the_reason_stays(clock: Clock, closed: gates.Gates) -> None:
    clock.now_s += 10.0
    assert closed.wait_s(CLASS) >= 50.0

    clock.now_s += 50.0

    assert closed.wait_s(CLASS) == 0.0
    assert repr(closed.reason(CLASS)) == repr(AWAY)


@pytest.mark.parametrize("change", [{"generation": 2}, {"uid": "made anew"}], ids=str)
def test_an_edit_of_the_class_opens_it(closed: gates.Gates, change: dict[str, Any]) -> None:
    edited = dataclasses.replace(CLASS, **change)

    assert (closed.wait_s(edited), closed.reason(edited)) == (0.0, None)


def test_an_answer_opens_it(closed: gates.Gates) -> None:
    assert closed.passed(CLASS)
    assert not closed.passed(CLASS)

    assert (closed.wait_s(CLASS), closed.reason(CLASS)) == (0.0, None)


@pytest.mark.parametrize(("provider", "opened"), [("vault", True), ("aws", False)])
def test_the_return_of_its_provider_opens_it(
    closed: gates.Gates, provider: str, opened: bool
) -> None:
    closed.open_provider(provider)

    assert (closed.wait_s(CLASS) == 0.0) is opened


def test_a_class_that_its_provider_dies_of_stays_closed_at_its_return(clock: Clock) -> None:
    made = gates.Gates(clock)
    for _ in range(gates.CUT):
        made.open_provider("vault")
        assert made.wait_s(CLASS) == 0.0
        made.failed(CLASS, errors.ProviderFailed("cut off", code=Code.UNAVAILABLE))
        # That it is away meanwhile is the same death.
        made.failed(CLASS, errors.ProviderMissing("vault"))

    made.open_provider("vault")
    assert made.wait_s(CLASS) > 0.0

    made.passed(CLASS)
    made.failed(CLASS, errors.ProviderMissing("vault"))
    made.open_provider("vault")
    assert made.wait_s(CLASS) == 0.0


@pytest.mark.parametrize(
    "other", [{"name": "two"}, {"namespace": "bank"}, {"provider": "aws"}], ids=str
)
def test_other_classes_are_not_held(closed: gates.Gates, other: dict[str, str]) -> None:
    assert closed.wait_s(dataclasses.replace(CLASS, **other)) == 0.0  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("error", "absent"),
    [
        (errors.ProviderMissing("vault"), True),
        (errors.ProviderFailed("x", code=Code.UNAVAILABLE), True),
        (errors.ProviderFailed("x", code=Code.UNAVAILABLE, error_code="Throttled"), False),
        (errors.ProviderFailed("x", code=Code.DEADLINE_EXCEEDED), False),
        (errors.ClassInvalid("x"), False),
    ],
    ids=repr,
)
def test_absence_is_when_nobody_answered(error: errors.DriverError, absent: bool) -> None:
    assert gates.is_absence(error) is absent
