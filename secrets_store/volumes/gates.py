"""Not asking a provider in vain: one back-off for all volumes of a class, not one for each.

A provider that is overloaded or away would otherwise be asked by every pod of the node at its own
pace. The gate opens by time, when the class is edited, when a check succeeds, and when a provider
that was away is back.
"""

import copy
import dataclasses

from secrets_store import errors, tasks
from secrets_store.model import backoff, provider_class

BASE_S, CAP_S = 2.0, 300.0
MIN_S = 0.5
KEPT_S = 3 * 3600.0
"""So long after it has opened a gate that nobody asks for is kept: its class may be gone."""

CUT = 3
"""So many calls in a row that a provider did not survive are no chance: its return is no reason to
ask the same again."""

Key = tuple[str, str, str]
"""Provider, namespace and name of the class."""

_TRANSIENT = frozenset(
    {
        errors.Code.UNAVAILABLE,
        errors.Code.RESOURCE_EXHAUSTED,
        errors.Code.DEADLINE_EXCEEDED,
        errors.Code.ABORTED,
    }
)


@dataclasses.dataclass(slots=True)
class _Gate:
    version: tuple[str, int]
    error: errors.DriverError | None = None
    failures: int = 0
    cut: int = 0
    opens_mono: float = 0.0


class Gates:
    """The gates of one node; on the event loop."""

    def __init__(self, clock: tasks.Clock) -> None:
        self._clock = clock
        self._gates: dict[Key, _Gate] = {}

    def __len__(self) -> int:
        return len(self._gates)

    def wait_s(self, chosen: provider_class.ProviderClass) -> float:
        """Return how long no volume of a class should ask; 0 if it may now."""
        gate = self._gate(chosen)
        return max(0.0, gate.opens_mono - self._clock.mono_s()) if gate is not None else 0.0

    def reason(self, chosen: provider_class.ProviderClass) -> errors.DriverError | None:
        """Return what closed the gate of a class; None if nothing has since it was last open."""
        gate = self._gate(chosen)
        return gate.error if gate is not None else None

    def passed(self, chosen: provider_class.ProviderClass) -> bool:
        """Open the gate of a class: its provider has answered. Returns: Whether it was closed."""
        closed = self.wait_s(chosen) > 0.0
        self._gates.pop(_key(chosen), None)
        return closed

    def failed(self, chosen: provider_class.ProviderClass, error: errors.DriverError) -> None:
        """Close the gate for a while, if asking again could help and would be a burden."""
        if not is_transient(error):
            return
        gate = self._gate(chosen)
        if gate is None:
            self._let_go()
            gate = self._gates[_key(chosen)] = _Gate(_version(chosen))
        # A copy has no traceback, whose frames would keep what was asked, tokens and all.
        gate.error, gate.failures = copy.copy(error), gate.failures + 1
        gate.cut += isinstance(error, errors.ProviderFailed) and is_absence(error)
        told_s = error.retry_after_s if isinstance(error, errors.ProviderFailed) else None
        wait_s = backoff.full_jitter(gate.failures, base_s=BASE_S, cap_s=CAP_S)
        gate.opens_mono = self._clock.mono_s() + max(MIN_S, wait_s, told_s or 0.0)

    def open_provider(self, provider: str) -> None:
        """Open the gates of a provider that is back, but those of classes that it may die of."""
        for key, gate in self._gates.items():
            if key[0] == provider and gate.cut < CUT:
                gate.opens_mono, gate.failures = self._clock.mono_s(), 0

    def _let_go(self) -> None:
        oldest_mono = self._clock.mono_s() - KEPT_S
        self._gates = {key: x for key, x in self._gates.items() if x.opens_mono > oldest_mono}

    def _gate(self, chosen: provider_class.ProviderClass) -> _Gate | None:
        # An edited class may well be served: what was refused before does not count.
        gate = self._gates.get(_key(chosen))
        return gate if gate is not None and gate.version == _version(chosen) else None


def is_transient(error: errors.DriverError) -> bool:
    """Tell whether a provider may answer later without anybody doing anything about it."""
    return isinstance(error, errors.ProviderMissing) or (
        isinstance(error, errors.ProviderFailed) and error.status_code in _TRANSIENT
    )


def is_absence(error: errors.DriverError) -> bool:
    """Tell whether nobody was there to answer."""
    return isinstance(error, errors.ProviderMissing) or (
        isinstance(error, errors.ProviderFailed)
        and error.status_code is errors.Code.UNAVAILABLE
        and not error.error_code
    )


def _key(chosen: provider_class.ProviderClass) -> Key:
    return chosen.provider, chosen.namespace, chosen.name


def _version(chosen: provider_class.ProviderClass) -> tuple[str, int]:
    # A class that was deleted and made anew begins with generation 1 again.
    return chosen.uid, chosen.generation
