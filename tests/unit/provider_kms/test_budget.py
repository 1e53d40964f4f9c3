from provider_kms import budget


class Clock:
    """A clock that moves when told."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def test_time_runs_out_and_not_below() -> None:
    clock = Clock()
    limits = budget.Budget(10.0, clock=clock)

    clock.now += 4
    assert limits.remaining_s() == 6.0
    clock.now += 40
    assert limits.remaining_s() == 0.0


def test_grows_to_the_larger() -> None:
    clock = Clock()
    limits = budget.Budget(10.0, retries=1, clock=clock)

    limits.grow(budget.Budget(20.0, retries=0, clock=clock))
    assert (limits.remaining_s(), limits.retries) == (20.0, 1)
    limits.grow(budget.Budget(5.0, retries=3, clock=clock))
    assert (limits.remaining_s(), limits.retries) == (20.0, 3)


def test_a_copy_grows_on_its_own() -> None:
    clock = Clock()
    limits = budget.Budget(10.0, clock=clock)
    copy = limits.copy(retries=0)

    copy.grow(budget.Budget(99.0, retries=2, clock=clock))

    assert limits.remaining_s() == 10.0
    assert (copy.retries, limits.retries) == (2, budget.RETRIES)
