"""Waiting in tests for what others bring about."""

import asyncio
import inspect
from collections.abc import Callable
from typing import Any


async def until(check: Callable[[], Any], timeout_s: float = 20.0) -> Any:
    """Wait for something, or what it awaits, to come true, and return it."""
    ends_s = asyncio.get_running_loop().time() + timeout_s
    while True:
        found = check()
        if inspect.isawaitable(found):
            found = await found
        if found:
            return found
        assert asyncio.get_running_loop().time() < ends_s, "did not come true in time"
        await asyncio.sleep(0.02)
