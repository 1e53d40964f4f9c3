"""What is worth another try against the API server, and when. Pure."""

import dataclasses
import enum
from collections.abc import Callable

from secrets_store.model import backoff

BASE_S = 0.1
CAP_S = 2.0

TRANSIENT = frozenset({500, 502, 503, 504})


class Fault(enum.Enum):
    """How far a request came whose answer did not arrive."""

    NOT_SENT = "not sent"
    """No connection: the server has seen nothing."""
    DROPPED_IDLE = "dropped idle"
    """A kept connection was closed under the request, before a byte of the answer."""
    UNKNOWN = "unknown"
    """Sent, and the server may have acted on it."""
    FINAL = "final"
    """The other side is not to be trusted; trying again cannot help."""


@dataclasses.dataclass(frozen=True, slots=True)
class Outcome:
    """One attempt that did not succeed: a fault, or a status that says no."""

    fault: Fault | None = None
    status: int = 0
    retry_after_s: float | None = None


def worthwhile(outcome: Outcome, *, repeatable: bool) -> bool:
    """Tell whether the same request may be sent once more.

    Args:
        outcome: How the attempt ended.
        repeatable: Sending it twice has the effect of sending it once.
    """
    if outcome.fault is not None:
        if outcome.fault is Fault.UNKNOWN:
            return repeatable
        return outcome.fault is not Fault.FINAL
    if outcome.status == 429:
        return True
    if outcome.status == 503 and outcome.retry_after_s is not None:
        # Said by the server's front, before anything was done.
        return True
    return repeatable and outcome.status in TRANSIENT


def delay_s(outcome: Outcome, failures: int, uniform: Callable[[float, float], float]) -> float:
    """Return the pause before the next try: full jitter, on top of what the server asks for.

    Args:
        outcome: How the last attempt ended.
        failures: Failed attempts before that one.
        uniform: Random number between two.
    """
    jitter_s = backoff.full_jitter(failures, base_s=BASE_S, cap_s=CAP_S, uniform=uniform)
    return (outcome.retry_after_s or 0.0) + jitter_s
