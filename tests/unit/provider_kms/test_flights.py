import asyncio

import pytest

from provider_kms import budget, errors, flights
from tests.unit.provider_kms.test_budget import Clock


class Work:
    """Work that ends when told, and counts how often it began."""

    def __init__(self) -> None:
        self.begun = 0
        self.go = asyncio.Event()
        self.cancelled = False
        self.failure: errors.ProviderError | None = None
        self.limits: budget.Budget | None = None

    async def __call__(self, limits: budget.Budget) -> str:
        self.begun += 1
        self.limits = limits
        try:
            await self.go.wait()
        except asyncio.CancelledError:
            self.cancelled = True
            raise
        if self.failure is not None:
            raise self.failure
        return f"result {self.begun}"


async def settle() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


async def test_many_share_one() -> None:
    shared: flights.Flights[str] = flights.Flights("work")
    work = Work()
    waiting = [asyncio.ensure_future(shared.join("k", work, budget.Budget(9))) for _ in range(5)]
    await settle()

    work.go.set()

    assert await asyncio.gather(*waiting) == ["result 1"] * 5
    assert work.begun == 1
    assert len(shared) == 0


async def test_other_keys_do_not_share() -> None:
    shared: flights.Flights[str] = flights.Flights("work")
    work = Work()
    work.go.set()

    await asyncio.gather(*(shared.join(key, work, budget.Budget(9)) for key in "ab"))

    assert work.begun == 2


async def test_a_failure_is_everybodys_and_is_not_kept() -> None:
    shared: flights.Flights[str] = flights.Flights("work")
    work = Work()
    work.failure = errors.Unexpected()
    waiting = [asyncio.ensure_future(shared.join("k", work, budget.Budget(9))) for _ in range(2)]
    await settle()
    work.go.set()

    results = await asyncio.gather(*waiting, return_exceptions=True)

    assert [type(result) for result in results] == [errors.Unexpected] * 2
    work.failure = None
    assert await shared.join("k", work, budget.Budget(9)) == "result 2"


async def test_the_last_one_who_leaves_ends_it() -> None:
    shared: flights.Flights[str] = flights.Flights("work")
    work = Work()
    waiting = [asyncio.ensure_future(shared.join("k", work, budget.Budget(9))) for _ in range(2)]
    await settle()

    waiting[0].cancel()
    await settle()
    assert not work.cancelled
    waiting[1].cancel()
    await settle()

    assert work.cancelled
    assert len(shared) == 0


async def test_who_comes_after_the_last_has_left_starts_anew() -> None:
    shared: flights.Flights[str] = flights.Flights("work")
    first, second = Work(), Work()
    leaving = asyncio.ensure_future(shared.join("k", first, budget.Budget(9)))
    await settle()
    leaving.cancel()
    await asyncio.sleep(0)
    second.go.set()

    assert await shared.join("k", second, budget.Budget(9)) == "result 1"


async def test_time_runs_out_for_the_hasty_only() -> None:
    shared: flights.Flights[str] = flights.Flights("work")
    work = Work()
    patient = asyncio.ensure_future(shared.join("k", work, budget.Budget(9)))
    await settle()

    with pytest.raises(errors.KmsTooSlow, match="work"):
        await shared.join("k", work, budget.Budget(0.0))
    work.go.set()

    assert await patient == "result 1"


async def test_the_budget_grows_with_who_joins() -> None:
    shared: flights.Flights[str] = flights.Flights("work")
    work = Work()
    waiting = [asyncio.ensure_future(shared.join("k", work, budget.Budget(1, retries=0)))]
    await settle()
    waiting.append(asyncio.ensure_future(shared.join("k", work, budget.Budget(50, retries=2))))
    await settle()

    assert work.limits is not None
    assert work.limits.remaining_s() > 40
    assert work.limits.retries == 2
    work.go.set()
    await asyncio.gather(*waiting)


async def test_work_that_began_too_long_ago_is_not_shared() -> None:
    clock = Clock()
    shared: flights.Flights[str] = flights.Flights("work", clock)
    old, new = Work(), Work()
    early = asyncio.ensure_future(shared.join("k", old, budget.Budget(9)))
    await settle()
    clock.now += 3
    late = asyncio.ensure_future(shared.join("k", new, budget.Budget(9), oldest_s=2))
    await settle()
    old.go.set()
    new.go.set()

    await asyncio.gather(early, late)

    assert (old.begun, new.begun) == (1, 1)
