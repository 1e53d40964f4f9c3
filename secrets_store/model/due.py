"""When a volume is to be checked next."""

import random
from collections.abc import Callable

JITTER = 0.1


def next_check_in_s(
    *,
    last_check_s: float,
    now_s: float,
    interval_s: float,
    uniform: Callable[[float, float], float] = random.uniform,
) -> float:
    """Return the wait until the next check, 0 if it is overdue.

    Args:
        last_check_s: Unix time of the last successful check; 0 if there was none.
        now_s: Unix time. A clock that was set back must not stop the refreshing, so the wait is
            never longer than one interval.
        interval_s: Mean time between checks; each wait varies by ± 10 % so that volumes which
            were mounted together drift apart.
    """
    jittered = interval_s * uniform(1.0 - JITTER, 1.0 + JITTER)
    return min(max(last_check_s + jittered - now_s, 0.0), jittered)
