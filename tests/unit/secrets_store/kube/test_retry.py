import pytest

from secrets_store.kube import retry

F, Out = retry.Fault, retry.Outcome


@pytest.mark.parametrize(
    ("outcome", "repeatable", "once"),
    [
        (Out(F.NOT_SENT), True, True),
        (Out(F.DROPPED_IDLE), True, True),
        (Out(F.UNKNOWN), True, False),
        (Out(F.FINAL), False, False),
        (Out(status=429), True, True),
        (Out(status=429, retry_after_s=1.0), True, True),
        (Out(status=503, retry_after_s=1.0), True, True),
        (Out(status=503), True, False),
        (Out(status=500), True, False),
        (Out(status=502), True, False),
        (Out(status=504, retry_after_s=1.0), True, False),
        (Out(status=501), False, False),
        (Out(status=400), False, False),
        (Out(status=404), False, False),
        (Out(status=409), False, False),
        (Out(status=302), False, False),
    ],
)
def test_what_may_be_sent_again(outcome: retry.Outcome, repeatable: bool, once: bool) -> None:
    assert retry.worthwhile(outcome, repeatable=True) is repeatable
    assert retry.worthwhile(outcome, repeatable=False) is once


def test_delay_grows_to_its_cap_and_adds_to_what_the_server_asks() -> None:
    longest = [retry.delay_s(Out(F.NOT_SENT), n, lambda low, high: high) for n in range(6)]
    assert longest == [0.1, 0.2, 0.4, 0.8, 1.6, 2.0]
    assert retry.delay_s(Out(F.NOT_SENT), 9, lambda low, high: low) == 0.0
    asked = retry.Outcome(status=429, retry_after_s=3.0)
    assert retry.delay_s(asked, 0, lambda low, high: high) == pytest.approx(3.1)
