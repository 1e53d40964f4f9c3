"""What happened to a volume, told where people look: the audit log, the pod's events, the metrics.

One line per fetch that changed something: who asked, for what, which versions, how long. Ids and
versions of objects are told, contents never.
"""

from secrets_store import errors, metrics
from secrets_store import log as logs
from secrets_store.kube import store
from secrets_store.model import payload, record, volume
from secrets_store.volumes import events, questions

_log = logs.get(__name__)


class Journal:
    """Tells of volumes; on the event loop."""

    def __init__(self, told: events.Events, counted: metrics.Metrics, pods: store.Pods) -> None:
        self._events, self._metrics, self._pods = told, counted, pods

    def published(self, known: record.Record, seconds: float) -> None:
        """A first publish has fetched and shown its contents."""
        _log.info("volume published", extra=_audit(known, seconds))

    def adopted(self, known: record.Record) -> None:
        """A volume without a record was found whole and taken over."""
        _log.info("volume adopted", extra=_audit(known, None))

    def waits(self, request: volume.PublishRequest, what: str) -> None:
        """A first publish cannot go on yet."""
        _log.warning(
            "publish waits",
            extra=logs.pairs(pod=request.pod, spc=request.class_name, reason=what),
        )
        self._events.warning(request.pod, "SecretsNotAvailableYet", f"waiting: {what}")

    def attributes_ignored(self, request: volume.PublishRequest) -> None:
        """Attributes of the pod's volume were kept from the provider."""
        self._events.warning(
            request.pod,
            "VolumeAttributesIgnored",
            f"volume attributes do not override parameters of {request.class_name}, "
            f"left out: {', '.join(request.override_keys)} (flag allow-attribute-override)",
        )

    def duplicates(self, pod: volume.Pod, checked: payload.Payload) -> None:
        """The provider answered more than one file of the same path."""
        if checked.duplicates:
            self._events.warning(
                pod,
                "DuplicateFiles",
                f"the provider returned more than one file for {', '.join(checked.duplicates)}; "
                "the last one is shown",
            )

    def refreshed(
        self,
        known: record.Record,
        checked: payload.Payload,
        *,
        changed: bool,
        healed: bool,
        seconds: float,
    ) -> None:
        """A check has succeeded; one that changed nothing is only counted, unless others failed."""
        self.duplicates(known.pod, checked)
        self._metrics.refresh_ok(known.provider, changed=changed, duration_s=seconds)
        if healed:
            _log.info(
                "refresh works again",
                extra=logs.pairs(pod=known.pod, spc=known.class_name, provider=known.provider),
            )
        if not changed:
            return
        _log.info("volume refreshed", extra=_audit(known, seconds))
        self._events.normal(
            known.pod,
            "MountRotationComplete",
            f"successfully rotated mounted contents for spc {known.pod.namespace}/"
            f"{known.class_name}",
            source=events.ROTATION,
        )

    def refresh_failed(
        self, known: record.Record, error: errors.DriverError, *, failures: int, retry_in_s: float
    ) -> None:
        """A check has failed; only the first in a row is worth a line."""
        self._metrics.refresh_failed(known.provider, error.metric_type)
        _log.log(
            logs.WARNING if failures == 1 else logs.DEBUG,
            "refresh failed, the volume keeps its files",
            extra=logs.pairs(
                pod=known.pod,
                spc=known.class_name,
                provider=known.provider,
                reason=str(error),
                retryInSeconds=round(retry_in_s, 1),
            ),
        )
        self.refresh_held(known, error)

    def refresh_held(self, known: record.Record, error: errors.DriverError) -> None:
        """A check was not made, for another volume has just failed of something common.

        Nobody is told of a pod that is ending, whose class may well have gone with it.
        """
        pod = self._pods.get(known.pod.uid)
        if pod is not None and pod.terminating:
            return
        self._events.warning(
            known.pod,
            "MountRotationFailed",
            f"provider mount err: {error}",
            source=events.ROTATION,
        )


def _audit(known: record.Record, seconds: float | None) -> dict[str, dict[str, object]]:
    return logs.pairs(
        pod=known.pod,
        serviceAccount=known.service_account,
        spc=known.class_name,
        provider=known.provider,
        targetPath=known.target_path,
        objects=questions.audit(known.objects),
        seconds=None if seconds is None else round(seconds, 4),
    )
