"""What became of the Secrets of one volume, and the log of what did not become."""

import dataclasses
from collections.abc import Collection, Iterable

from secrets_store import errors
from secrets_store import log as logs
from secrets_store.model import provider_class, secret_objects
from secrets_store.volumes import secret_requests

Result = secret_requests.Result
_LASTING = frozenset({400, 403, 413, 422})
"""HTTP statuses of refusals that stay; 401 passes by itself, when keys or servers change."""
_log = logs.get(__name__)


@dataclasses.dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one Secret; a failure carries its name itself."""

    name: str = ""
    result: Result | None = None
    repaired: bool = False
    failure: errors.SecretRejected | None = None


@dataclasses.dataclass(frozen=True, slots=True)
class SyncReport:
    """What became of the Secrets of one volume; names without the namespace, sorted.

    Attributes:
        written: Created, or their contents, labels or annotations patched.
        owned: Right but for their owners, which were patched.
        unchanged: Found to be right.
        repaired: Those of ``written`` that this process had seen right, with the same contents,
            before somebody deleted or edited them.
        deleted: Of the class no longer, with deletion policy Delete.
        failed: Each Secret that is not as wanted, with the reason. It has been logged; the pod has
            yet to be told.
        skipped: Why nothing was looked at; empty as a rule.
    """

    written: tuple[str, ...] = ()
    owned: tuple[str, ...] = ()
    unchanged: tuple[str, ...] = ()
    repaired: tuple[str, ...] = ()
    deleted: tuple[str, ...] = ()
    failed: tuple[errors.SecretRejected, ...] = ()
    skipped: str = ""

    @classmethod
    def of(cls, outcomes: Collection[Outcome]) -> "SyncReport":
        """Sum up."""
        return cls(
            written=_names(outcomes, Result.WRITTEN),
            owned=_names(outcomes, Result.OWNERS),
            unchanged=_names(outcomes, Result.SAME),
            repaired=tuple(sorted(x.name for x in outcomes if x.repaired)),
            deleted=_names(outcomes, Result.DELETED),
            failed=tuple(x.failure for x in outcomes if x.failure is not None),
        )

    @property
    def mendable(self) -> tuple[errors.SecretNotWritten, ...]:
        """Failures that another try can mend."""
        return tuple(x for x in self.failed if isinstance(x, errors.SecretNotWritten))

    @property
    def lasting(self) -> bool:
        """True if somebody has to do something about all of these, so that trying soon is vain."""
        return all(x.cause.status in _LASTING for x in self.mendable)

    def check(self) -> None:
        """Raise the first failure, for those who cannot go on without their Secrets."""
        if self.failed:
            raise self.failed[0]


class FailureLog:
    """Logs a failure when it is new, and a right that is missing once for all Secrets."""

    def __init__(self) -> None:
        self._sorts: dict[str, dict[str, str]] = {}
        self._denied = False

    def tell(self, class_name: str, failed: Iterable[errors.SecretRejected]) -> None:
        """Log what a look at the Secrets of a class has come to; what failed before is known."""
        before, now = self._sorts.pop(class_name, {}), {}
        for failure in failed:
            if _is_denial(failure):
                known, self._denied = self._denied, True
            else:
                known = before.get(failure.secret) == _sort_of(failure)
                now[failure.secret] = _sort_of(failure)
            _log.log(
                logs.DEBUG if known else logs.WARNING,
                "secret not synced",
                extra=logs.pairs(secret=failure.secret, spc=class_name, reason=failure.reason),
            )
        if now:
            self._sorts[class_name] = now

    def forget(self, class_name: str) -> None:
        """Let go of a class."""
        self._sorts.pop(class_name, None)


def not_allowed(chosen: provider_class.ProviderClass) -> list[Outcome]:
    """Return the failures of a class in a namespace that is not to have Secrets."""
    namespace = chosen.namespace
    reason = f"Secrets are not written in namespace {namespace}: it is not on the driver's list"
    return [
        Outcome(
            failure=errors.SecretRejected(
                f"{namespace}/{name}", f"{namespace}/{chosen.name}", reason
            )
        )
        for name in sorted(secret_objects.names(chosen.secret_objects))
    ]


def refused(told: str, class_name: str, refusal: secret_requests.Refused) -> Outcome:
    """Return the failure of a Secret that the API server did not let be written."""
    return Outcome(failure=errors.SecretNotWritten(told, class_name, refusal.reason, refusal.error))


def _is_denial(failure: errors.SecretRejected) -> bool:
    return isinstance(failure, errors.SecretNotWritten) and secret_requests.is_denial(failure.cause)


def _sort_of(failure: errors.SecretRejected) -> str:
    """Return what a failure has in common with those that need no line of their own."""
    if isinstance(failure, errors.SecretNotWritten) and isinstance(
        failure.cause, errors.Unavailable
    ):
        # One and the same outage ends in a timeout, a refused connection or a lack of time.
        return "away"
    return failure.reason


def _names(outcomes: Iterable[Outcome], result: Result) -> tuple[str, ...]:
    return tuple(sorted(x.name for x in outcomes if x.result is result))
