import asyncio
import contextlib

from secrets_store.lifecycle import quiet


class Clock:
    """Time that passes when somebody waits."""

    def __init__(self) -> None:
        self.now_s = 100.0

    def wall_s(self) -> float:
        return self.now_s

    def mono_s(self) -> float:
        return self.now_s

    async def wait(self, event: asyncio.Event, timeout_s: float | None) -> bool:
        assert timeout_s is not None
        self.now_s += timeout_s
        await asyncio.sleep(0)
        return event.is_set()


async def trims_after(publishes: int) -> list[float]:
    clock, trims = Clock(), []
    waits = quiet.Quiet(clock, trim=lambda: trims.append(clock.now_s))
    running = asyncio.create_task(waits.run())
    for _ in range(publishes):
        waits.worked()
    for _ in range(5):
        await asyncio.sleep(0)
    running.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await running
    return trims


async def test_a_storm_is_cleaned_up_once_it_is_over() -> None:
    assert await trims_after(quiet.STORM) == [100.0 + quiet.QUIET_S]


async def test_a_few_publishes_are_not_worth_it() -> None:
    assert await trims_after(quiet.STORM - 1) == []
