import asyncio
import logging
import threading
import time

import pytest

from secrets_store import errors, tasks

# -- the clock ---------------------------------------------------------------------------------


async def test_the_system_clock_waits_for_the_event() -> None:
    clock, event = tasks.SystemClock(), asyncio.Event()
    waiting = asyncio.ensure_future(clock.wait(event, None))
    await asyncio.sleep(0)
    assert not waiting.done()

    event.set()

    assert await waiting is True


async def test_the_system_clock_waits_no_longer_than_told() -> None:
    clock = tasks.SystemClock()
    before = clock.mono_s()

    assert await clock.wait(asyncio.Event(), 0.02) is False

    assert clock.mono_s() - before >= 0.02


async def test_an_event_already_set_needs_no_time() -> None:
    event = asyncio.Event()
    event.set()

    assert await tasks.SystemClock().wait(event, 0.0) is True


def test_the_system_clock_tells_the_machine_s_time() -> None:
    assert abs(tasks.SystemClock().wall_s() - time.time()) < 1.0
    assert tasks.SystemClock().mono_s() <= tasks.SystemClock().mono_s()


# -- threads -----------------------------------------------------------------------------------


async def test_blocking_calls_run_in_named_threads_and_no_more_than_told() -> None:
    pool = tasks.Threads("disk", 2)
    lock, running, peak = threading.Lock(), 0, 0
    both = threading.Barrier(2, timeout=4)

    def call(factor: int, *, number: int) -> tuple[str, int]:
        nonlocal running, peak
        with lock:
            running += 1
            peak = max(peak, running)
        both.wait()
        with lock:
            running -= 1
        return threading.current_thread().name, factor * number

    found = await asyncio.gather(*(pool.run(call, 10, number=n) for n in range(6)))
    pool.stop()

    assert [number for _, number in found] == [0, 10, 20, 30, 40, 50]
    assert {name.rpartition("_")[0] for name, _ in found} == {"disk"}
    assert peak == 2


async def test_a_call_s_error_reaches_the_caller() -> None:
    pool = tasks.Threads("disk", 1)

    def call() -> None:
        raise OSError(28, "No space left on device")

    with pytest.raises(OSError, match="No space"):
        await pool.run(call)
    pool.stop()


async def test_a_cancelled_caller_does_not_stop_the_call() -> None:
    pool = tasks.Threads("disk", 1)
    started, go, ended = threading.Event(), threading.Event(), threading.Event()

    def call() -> None:
        started.set()
        go.wait(4)
        ended.set()

    caller = asyncio.ensure_future(pool.run(call))
    await asyncio.to_thread(started.wait, 4)
    caller.cancel()
    with pytest.raises(asyncio.CancelledError):
        await caller
    assert not ended.is_set()
    go.set()
    await asyncio.to_thread(pool.stop)

    assert ended.is_set()


async def test_stopping_leaves_no_thread() -> None:
    pool = tasks.Threads("leftover", 3)
    await asyncio.gather(*(pool.run(time.sleep, 0.001) for _ in range(6)))

    pool.stop()

    assert not [x for x in threading.enumerate() if x.name.startswith("leftover")]


# -- background tasks --------------------------------------------------------------------------


async def test_a_background_task_s_result_can_be_awaited() -> None:
    async def work() -> int:
        return 7

    assert await tasks.Background().spawn("work", work()) == 7


async def test_draining_waits_for_what_runs() -> None:
    background, event, done = tasks.Background(), asyncio.Event(), []

    async def work(number: int) -> None:
        await event.wait()
        done.append(number)

    for number in range(3):
        background.spawn(f"work {number}", work(number))
    asyncio.get_running_loop().call_soon(event.set)
    await background.drain(4.0)

    assert done == [0, 1, 2]


async def test_draining_waits_for_what_is_spawned_meanwhile() -> None:
    background, done = tasks.Background(), []

    async def later() -> None:
        await asyncio.sleep(0)
        done.append(True)

    async def work() -> None:
        await asyncio.sleep(0)
        background.spawn("later", later())

    background.spawn("work", work())
    await background.drain(4.0)

    assert done == [True]


async def test_draining_cancels_what_is_late() -> None:
    background, cleaned = tasks.Background(), []

    async def work() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            cleaned.append(True)

    task = background.spawn("work", work())
    await background.drain(0.01)

    assert task.cancelled()
    assert cleaned == [True]


async def test_nothing_to_drain() -> None:
    await tasks.Background().drain(0.0)


@pytest.mark.parametrize(
    ("error", "level"),
    [
        pytest.param(ValueError("odd"), logging.ERROR, id="a fault in this program"),
        pytest.param(errors.VolumeAbsent("gone"), logging.DEBUG, id="one that is answered"),
    ],
)
async def test_a_failed_background_task_is_logged(
    caplog: pytest.LogCaptureFixture, error: Exception, level: int
) -> None:
    background = tasks.Background()

    async def work() -> None:
        raise error

    with caplog.at_level(logging.DEBUG, "secrets_store.tasks"):
        background.spawn("some work", work())
        await background.drain(4.0)

    (record,) = caplog.records
    assert (record.levelno, record.message) == (level, "task ended with an error")
    assert record.__dict__["pairs"] == {"task": "some work"}


# -- guarded tasks -----------------------------------------------------------------------------


async def test_a_guarded_task_must_not_end(caplog: pytest.LogCaptureFixture) -> None:
    async def work() -> None:
        pass

    with pytest.raises(tasks.TaskEnded, match="task pods ended"):
        await tasks.guard("pods", work())

    assert [(r.levelname, r.message) for r in caplog.records] == [("CRITICAL", "task ended")]


async def test_a_guarded_task_s_failure_is_logged_and_told_without_its_text(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def work() -> None:
        raise ValueError("canary")

    with pytest.raises(tasks.TaskEnded) as caught:
        await tasks.guard("pods", work())

    assert str(caught.value) == "task pods failed: ValueError"
    assert [(r.levelname, r.message) for r in caplog.records] == [("CRITICAL", "task failed")]


async def test_a_guarded_task_may_be_cancelled(caplog: pytest.LogCaptureFixture) -> None:
    task = asyncio.ensure_future(tasks.guard("pods", asyncio.Event().wait()))  # type: ignore[arg-type]
    await asyncio.sleep(0)

    task.cancel()

    with pytest.raises(asyncio.CancelledError):
        await task
    assert not caplog.records


async def test_one_failing_task_stops_its_group() -> None:
    ended = []

    async def fail() -> None:
        raise ValueError("odd")

    async def serve() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            ended.append(True)

    async def both() -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(tasks.guard("serve", serve()))
            group.create_task(tasks.guard("fail", fail()))

    with pytest.raises(ExceptionGroup) as caught:
        await both()
    assert [str(x) for x in caught.value.exceptions] == ["task fail failed: ValueError"]
    assert ended == [True]


# -- locks by key ------------------------------------------------------------------------------


async def test_one_key_one_holder_and_other_keys_free() -> None:
    locks, order, go, held = tasks.KeyedLocks(), [], asyncio.Event(), asyncio.Event()

    async def hold(key: str, name: str) -> None:
        async with locks.hold(key):
            order.append(name)
            if name == "other":
                held.set()
            await go.wait()
            order.append(f"{name} ends")

    async with asyncio.TaskGroup() as group:
        for key, name in (("a", "first"), ("a", "second"), ("b", "other")):
            group.create_task(hold(key, name))
        await held.wait()
        assert order == ["first", "other"]
        go.set()

    assert order.index("second") > order.index("first ends")


def kept(locks: tasks.KeyedLocks) -> int:
    return len(locks._locks) + len(locks._users)


async def test_a_lock_is_forgotten_with_its_last_user() -> None:
    locks = tasks.KeyedLocks()

    async with locks.hold("a"):
        assert kept(locks) == 2

    assert kept(locks) == 0


async def test_a_cancelled_wait_leaves_no_lock_behind() -> None:
    locks = tasks.KeyedLocks()

    async def wait() -> None:
        async with locks.hold("a"):
            raise AssertionError("never held")

    async with locks.hold("a"):
        waiting = asyncio.ensure_future(wait())
        await asyncio.sleep(0)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        assert kept(locks) == 2

    assert kept(locks) == 0


async def test_a_failing_holder_gives_the_lock_back() -> None:
    locks = tasks.KeyedLocks()

    with pytest.raises(ValueError, match="odd"):
        async with locks.hold("a"):
            raise ValueError("odd")

    async with locks.hold("a"):
        assert kept(locks) == 2
