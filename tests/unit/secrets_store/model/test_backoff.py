import pytest

from secrets_store.model import backoff


def highest(low: float, high: float) -> float:
    assert low == 0.0
    return high


@pytest.mark.parametrize(
    ("attempt", "most_s"),
    [(0, 0.5), (1, 1.0), (2, 2.0), (5, 16.0), (6, 30.0), (7, 30.0), (32, 30.0), (10**6, 30.0)],
)
def test_the_longest_wait_doubles_up_to_the_cap(attempt: int, most_s: float) -> None:
    assert backoff.full_jitter(attempt, base_s=0.5, cap_s=30.0, uniform=highest) == most_s


def test_the_wait_is_random_between_nothing_and_the_longest() -> None:
    waits = [backoff.full_jitter(3, base_s=1.0, cap_s=60.0) for _ in range(200)]

    assert all(0.0 <= wait <= 8.0 for wait in waits)
    assert len(set(waits)) > 100
