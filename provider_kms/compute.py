"""Work that takes a while, beside the loop, in two threads: Python computes one at a time anyway.

Kept apart from the loop's own threads. Those wait, most of them for name servers, and are many; as
many that compute get in each other's way: a storm of 110 Mounts of patterns took 0.43 s in 64
threads, 0.30 s in six, 0.24 s in two.
"""

import asyncio
import concurrent.futures
import functools
from collections.abc import Callable
from typing import ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")

THREADS = 2

_threads = concurrent.futures.ThreadPoolExecutor(THREADS, thread_name_prefix="compute")


async def aside(work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Return what the work returns, or raise what it raises, while the loop goes on."""
    loop = asyncio.get_running_loop()
    return await loop.run_in_executor(_threads, functools.partial(work, *args, **kwargs))
