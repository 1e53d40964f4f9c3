"""Waiting times after failures, from the number of the attempt."""

import random
from collections.abc import Callable


def full_jitter(
    attempt: int,
    *,
    base_s: float,
    cap_s: float,
    uniform: Callable[[float, float], float] = random.uniform,
) -> float:
    """Return a random wait between 0 and ``base_s`` · 2^``attempt``, at most ``cap_s``.

    Args:
        attempt: 0 for the wait after the first failure.
        uniform: Seam for tests.
    """
    return uniform(0.0, min(cap_s, base_s * 2.0 ** min(attempt, 32)))
