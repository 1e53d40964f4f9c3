import pytest

from secrets_store.model import due


def mean(low: float, high: float) -> float:
    return (low + high) / 2


@pytest.mark.parametrize(
    ("last_check_s", "now_s", "wait_s"),
    [
        pytest.param(1000.0, 1000.0, 120.0, id="just checked"),
        pytest.param(1000.0, 1050.0, 70.0, id="under way"),
        pytest.param(1000.0, 1120.0, 0.0, id="due"),
        pytest.param(1000.0, 9999.0, 0.0, id="overdue"),
        pytest.param(0.0, 1.8e9, 0.0, id="never checked"),
        pytest.param(5000.0, 1000.0, 120.0, id="clock set back"),
    ],
)
def test_the_next_check_comes_one_interval_after_the_last(
    last_check_s: float, now_s: float, wait_s: float
) -> None:
    got = due.next_check_in_s(
        last_check_s=last_check_s, now_s=now_s, interval_s=120.0, uniform=mean
    )

    assert got == pytest.approx(wait_s)


def test_volumes_mounted_together_drift_apart_by_a_tenth() -> None:
    waits = [
        due.next_check_in_s(last_check_s=1000.0, now_s=1000.0, interval_s=100.0) for _ in range(200)
    ]

    assert all(90.0 <= wait <= 110.0 for wait in waits)
    assert max(waits) - min(waits) > 10.0
