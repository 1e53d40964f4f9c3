import asyncio
import threading

import pytest

from provider_kms import compute


async def test_few_threads_do_much_work() -> None:
    barrier = threading.Barrier(compute.THREADS)

    def work(number: int) -> tuple[int, int]:
        # Nobody goes on before all threads are at work.
        barrier.wait(3)
        return number, threading.get_ident()

    found = await asyncio.gather(*(compute.aside(work, number) for number in range(10)))

    assert [number for number, _ in found] == list(range(10))
    assert len({thread for _, thread in found}) == compute.THREADS
    assert threading.get_ident() not in {thread for _, thread in found}


async def test_failures_come_back() -> None:
    with pytest.raises(ValueError, match="invalid literal"):
        await compute.aside(int, "x")
