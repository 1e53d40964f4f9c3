"""How often volumes are refreshed, and how soon what has failed is tried again."""

import dataclasses

from secrets_store.model import backoff, provider_class

RETRY_BASE_S = 2.0
RETRY_CAP_S = 300.0
MIN_RETRY_S = 0.5
LASTING_RETRY_S = 3600.0
"""Where Secrets may not be written, or break a rule of the API server, a check for their sake alone
bothers the provider in vain."""


@dataclasses.dataclass(frozen=True, slots=True)
class Policy:
    """How volumes are refreshed.

    Attributes:
        interval_s: Of classes that set none; None: not at all.
        concurrency: Checks at the same time per provider.
        allow_overrides: Volume attributes of the pod win over the class.
    """

    interval_s: float | None
    concurrency: int
    allow_overrides: bool

    def interval_of(self, chosen: provider_class.ProviderClass) -> float | None:
        """Return the interval of a class, None: not at all. Raises: errors.ClassInvalid."""
        return provider_class.interval_s(chosen.annotations, self.interval_s)


def backoff_s(attempt: int) -> float:
    """Return a random wait that grows with the number of failures in a row."""
    wait_s = backoff.full_jitter(attempt, base_s=RETRY_BASE_S, cap_s=RETRY_CAP_S)
    return max(MIN_RETRY_S, wait_s)
