"""How long a piece of work may take, and how often it may try again."""

import time
from collections.abc import Callable

RETRIES = 3


class Budget:
    """Time until a deadline and a number of retries; lives on the loop.

    Work that several callers wait for has a budget of its own that grows with each of them, so
    that a caller in a hurry does not make it fail for the others.
    """

    def __init__(
        self,
        seconds: float,
        *,
        retries: int = RETRIES,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._clock = clock
        self._until_mono = clock() + seconds
        self.retries = retries

    def remaining_s(self) -> float:
        """Return seconds left, never negative."""
        return max(0.0, self._until_mono - self._clock())

    def copy(self, *, retries: int | None = None) -> "Budget":
        """Return one with the same deadline that grows on its own."""
        count = self.retries if retries is None else retries
        return Budget(self.remaining_s(), retries=count, clock=self._clock)

    def grow(self, other: "Budget") -> None:
        """Allow what the other allows too."""
        self._until_mono = max(self._until_mono, self._clock() + other.remaining_s())
        self.retries = max(self.retries, other.retries)
