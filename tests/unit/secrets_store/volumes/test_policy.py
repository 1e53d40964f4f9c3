"""How often volumes are refreshed, and how soon a failure is tried again."""

import pytest

from secrets_store import errors
from secrets_store.model import provider_class
from secrets_store.volumes import policy


def a_class(interval: str | None) -> provider_class.ProviderClass:
    annotations = {} if interval is None else {provider_class.ROTATION_INTERVAL: interval}
    metadata = {"namespace": "shop", "name": "cls", "annotations": annotations}
    return provider_class.ProviderClass.from_dict({"metadata": metadata})


@pytest.mark.parametrize(
    ("flag_s", "annotation", "interval_s"),
    [
        (120.0, None, 120.0),
        (120.0, "1h", 3600.0),
        (120.0, "never", None),
        (None, None, None),
        (None, "1h", 3600.0),
    ],
)
def test_the_class_decides_before_the_flag(
    flag_s: float | None, annotation: str | None, interval_s: float | None
) -> None:
    chosen = policy.Policy(flag_s, concurrency=1, allow_overrides=False)

    assert chosen.interval_of(a_class(annotation)) == interval_s


def test_an_interval_that_is_none_is_the_class_s_fault() -> None:
    with pytest.raises(errors.ClassInvalid):
        policy.Policy(120.0, concurrency=1, allow_overrides=False).interval_of(a_class("often"))


@pytest.mark.parametrize(("failures", "most_s"), [(1, 4.0), (2, 8.0), (100, policy.RETRY_CAP_S)])
def test_a_back_off_grows_within_bounds(failures: int, most_s: float) -> None:
    waits_s = [policy.backoff_s(failures) for _ in range(500)]

    assert all(policy.MIN_RETRY_S <= wait_s <= most_s for wait_s in waits_s)
    assert max(waits_s) > most_s / 2
