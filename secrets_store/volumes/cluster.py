"""What the cluster is told of a volume: its status object and the Secrets of its class.

Neither takes a volume away when it fails: the pod has its files. What could not be written is told
on the pod and tried again.
"""

import dataclasses

from secrets_store import errors
from secrets_store import log as logs
from secrets_store.model import payload, provider_class
from secrets_store.volumes import events, status, sync, sync_report, table

STATUS_DEADLINE_S = 2.0

_log = logs.get(__name__)


@dataclasses.dataclass(frozen=True, slots=True)
class Told:
    """What became of a report to the cluster.

    Attributes:
        again: Something is left undone that another try can mend.
        denied: A right is missing, so that trying soon is useless.
    """

    again: bool = False
    denied: bool = False


class Cluster:
    """Reports volumes to the cluster; on the event loop."""

    def __init__(
        self, statuses: status.StatusWriter, secrets: sync.SecretSync, told: events.Events
    ) -> None:
        self._statuses, self._secrets, self._events = statuses, secrets, told

    async def status(self, found: table.Volume, *, first: bool) -> Told:
        """Let the status object say what the record says; a failure is logged once."""
        if found.record.mock:
            return Told()
        try:
            await self._statuses.write(found, first=first, deadline_s=STATUS_DEADLINE_S)
        except errors.ApiError as error:
            level = logs.DEBUG if found.chores else logs.WARNING
            _log.log(
                level,
                "status object not written, will be tried again",
                extra=logs.pairs(pod=found.record.pod, reason=str(error)),
            )
            return Told(again=True, denied=isinstance(error, errors.Forbidden))
        return Told()

    async def secrets(
        self,
        found: table.Volume,
        chosen: provider_class.ProviderClass,
        files: payload.Files,
        *,
        first: bool,
        verify: bool,
    ) -> sync_report.SyncReport:
        """Let the Secrets of the class say what the files say, and tell the pod of failures.

        Args:
            first: The volume was just published; its Secrets are news to nobody.
            verify: Nothing has changed; only what others have done to the Secrets is repaired.
        """
        if chosen.secret_objects and not files:
            report = _no_files(chosen)
        elif verify:
            report = await self._secrets.verify(found, chosen, files)
        else:
            report = await self._secrets.write(found, chosen, files)
        self._tell(found, report, first=first)
        return report

    def forget(self, namespace: str, class_name: str) -> None:
        """Let go of a class that no volume uses any more."""
        self._secrets.forget(namespace, class_name)

    async def class_deleted(self, namespace: str, class_name: str) -> None:
        """Delete the Secrets of a class that is gone, where their policy says so."""
        await self._secrets.withdraw(namespace, class_name)

    def _tell(self, found: table.Volume, report: sync_report.SyncReport, *, first: bool) -> None:
        pod = found.record.pod
        for failure in report.failed:
            reason = "FailedToCreateSecret" if first else "SecretRotationFailed"
            if isinstance(failure, errors.SecretForeign):
                reason = "SecretConflict"
            source = events.CONTROLLER if first else events.ROTATION
            self._events.warning(pod, reason, str(failure), source=source)
        if report.written and not first:
            self._events.normal(
                pod,
                "SecretRotationComplete",
                f"successfully rotated K8s secret {', '.join(report.written)}",
                source=events.ROTATION,
            )


def _no_files(chosen: provider_class.ProviderClass) -> sync_report.SyncReport:
    name = f"{chosen.namespace}/{chosen.name}"
    return sync_report.SyncReport(
        failed=(
            errors.SecretRejected(
                name,
                name,
                f"provider {chosen.provider!r} writes its files itself, so that their contents "
                "never reach the driver; let it return them (for the AWS provider: "
                "--driver-writes-secrets=true)",
            ),
        )
    )
