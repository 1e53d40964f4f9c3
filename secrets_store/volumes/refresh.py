"""Keeping volumes fresh: the driver's own work, at its own pace, behind every publish.

A republish only hands over what is new. Here a volume that is due is checked in the background:
the provider is asked without the volume's lock, which is taken to write and only if the volume is
still there. A failed check keeps the old files and tells. Source: design §3.
"""

import asyncio
import dataclasses

from secrets_store import errors, metrics, tasks
from secrets_store import log as logs
from secrets_store.model import backoff, due, provider_class
from secrets_store.providers import client
from secrets_store.volumes import (
    classes,
    contents,
    events,
    fetch,
    questions,
    schedule,
    status,
    table,
)

PROVIDER_TIMEOUT_S = 110.0
STATUS_DEADLINE_S = 2.0
RETRY_BASE_S = 2.0
RETRY_CAP_S = 300.0
MIN_RETRY_S = 0.5

_log = logs.get(__name__)


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


class Refresher:
    """Checks volumes in the background; one per process, on the event loop."""

    def __init__(
        self,
        policy: Policy,
        *,
        volumes: table.Table,
        contents: contents.Contents,
        classes: classes.Classes,
        fetcher: fetch.Fetcher,
        statuses: status.StatusWriter,
        events: events.Events,
        metrics: metrics.Metrics,
        background: tasks.Background,
        clock: tasks.Clock,
    ) -> None:
        self._policy, self._table, self._contents = policy, volumes, contents
        self._classes, self._fetcher, self._statuses = classes, fetcher, statuses
        self._events, self._metrics = events, metrics
        self._background, self._clock = background, clock
        self._schedule = schedule.Schedule(volumes, clock, self._start)
        self._slots: dict[str, asyncio.Semaphore] = {}

    async def run(self) -> None:
        """Start checks at their time until cancelled."""
        await self._schedule.run()

    def schedule(self, found: table.Volume, chosen: provider_class.ProviderClass) -> None:
        """Set the time of a volume's next check from its class and its last check."""
        found.unplanned = False
        interval_s = self._interval_s(chosen)
        if interval_s is None:
            found.check_due_mono = None
            return
        wait_s = due.next_check_in_s(
            last_check_s=found.record.last_check_s,
            now_s=self._clock.wall_s(),
            interval_s=interval_s,
        )
        self._check_in(found, wait_s)

    def adopted(self, found: table.Volume) -> None:
        """Plan the checks of a volume from its class, which is read for it first."""
        if not found.record.mock:
            found.unplanned = True
            self._chores_in(found, 0.0)

    def handed_over(self, found: table.Volume, group: int | None) -> None:
        """Go on with a check that waited for kubelet, or give the files their new group."""
        if group != found.record.group:
            found.record = dataclasses.replace(found.record, group=group)
            self.request(found)
        elif found.awaits_handover:
            self._check_in(found, 0.0)
        found.awaits_handover = False

    def request(self, found: table.Volume) -> None:
        """Check a volume now, whether or not rotation is on."""
        found.requested = True
        self._check_in(found, 0.0)

    def class_changed(self, namespace: str, name: str) -> None:
        """Plan anew all volumes of a class that was edited, or may have been."""
        for found in self._table:
            known = found.record
            if known.pod.namespace == namespace and known.class_name == name:
                self.adopted(found)

    def requested_at(self, pod_uid: str, requested_s: float) -> None:
        """Check the volumes of a pod whose user asked for it, unless that was done since."""
        for found in self._table:
            if found.record.pod.uid == pod_uid and requested_s > found.record.last_check_s:
                self.request(found)

    async def write_status(self, found: table.Volume, *, first: bool) -> None:
        """Let the cluster know; what cannot be written now is tried again in the background."""
        if found.record.mock:
            return
        try:
            await self._statuses.write(found, first=first, deadline_s=STATUS_DEADLINE_S)
        except errors.ApiError as error:
            found.chores += 1
            denied = isinstance(error, errors.Forbidden)
            wait_s = RETRY_CAP_S if denied else self._backoff_s(found.chores)
            self._chores_in(found, wait_s)
            if found.chores == 1:
                _log.warning(
                    "status object not written, will be tried again",
                    extra=logs.pairs(pod=found.record.pod, reason=str(error)),
                )
        else:
            found.chores = 0

    def _interval_s(self, chosen: provider_class.ProviderClass) -> float | None:
        return provider_class.interval_s(chosen.annotations, self._policy.interval_s)

    def _check_in(self, found: table.Volume, wait_s: float) -> None:
        found.check_due_mono = self._clock.mono_s() + wait_s
        self._schedule.at(found, found.check_due_mono)

    def _chores_in(self, found: table.Volume, wait_s: float) -> None:
        found.chores_due_mono = self._clock.mono_s() + wait_s
        self._schedule.at(found, found.chores_due_mono)

    def _backoff_s(self, attempt: int) -> float:
        wait_s = backoff.full_jitter(attempt, base_s=RETRY_BASE_S, cap_s=RETRY_CAP_S)
        return max(MIN_RETRY_S, wait_s)

    def _start(self, found: table.Volume) -> None:
        if found.working:
            found.again = True
        elif self._due(found.check_due_mono) or self._due(found.chores_due_mono):
            found.working = True
            self._background.spawn("refresh", self._work(found))

    def _due(self, at_mono: float | None) -> bool:
        return at_mono is not None and at_mono <= self._clock.mono_s()

    async def _work(self, found: table.Volume) -> None:
        """Do all that is due for one volume; nothing that happens here ends the process."""
        try:
            name = found.record.provider
            slot = self._slots.setdefault(name, asyncio.Semaphore(self._policy.concurrency))
            async with slot:
                if self._table.get(found.record.target_path) is not found:
                    return
                if self._due(found.chores_due_mono):
                    await self._chores(found)
                if self._due(found.check_due_mono):
                    await self._check(found)
        except errors.DriverError as error:
            self._failed(found, error)
        except Exception as error:
            _log.exception("refresh broke", extra=logs.pairs(pod=found.record.pod))
            self._failed(found, errors.DriverError(type(error).__name__))
        finally:
            found.working = False
            if found.again:
                found.again = False
                self._start(found)

    async def _chores(self, found: table.Volume) -> None:
        found.chores_due_mono = None
        if found.unplanned:
            await self._plan(found)
        if found.chores:
            await self.write_status(found, first=False)

    async def _plan(self, found: table.Volume) -> None:
        """Find out from the class whether the volume is due now, or when it will be."""
        chosen = await self._class(found)
        known = found.record
        requested_s = provider_class.refresh_requested_s(chosen.annotations)
        self.schedule(found, chosen)
        if requested_s is not None and requested_s > known.last_check_s:
            self.request(found)
        elif chosen.generation != known.class_generation and found.check_due_mono is not None:
            self._check_in(found, 0.0)

    async def _class(self, found: table.Volume) -> provider_class.ProviderClass:
        return await self._classes.get(found.record.pod.namespace, found.record.class_name)

    async def _check(self, found: table.Volume) -> None:
        """Ask the provider once and show what it answers."""
        started = self._clock.mono_s()
        found.check_due_mono = None
        chosen = await self._class(found)
        if self._interval_s(chosen) is None and not found.requested:
            return
        chosen.check()
        if found.record.needs_handover and not self._usable(found):
            found.awaits_handover = True
            return
        found.requested = False
        question = questions.build(
            chosen,
            target_path=found.record.target_path,
            attributes=found.record.attributes,
            handover=found.handover,
            objects=found.record.objects,
            allow_overrides=self._policy.allow_overrides,
        )
        answer = await self._fetcher.once(question, timeout_s=PROVIDER_TIMEOUT_S)
        changed = await self._apply(found, chosen, answer)
        if changed is None:
            return
        found.failures = 0
        self.schedule(found, chosen)
        await self.write_status(found, first=False)
        self._succeeded(found, changed=changed, seconds=self._clock.mono_s() - started)

    async def _apply(
        self, found: table.Volume, chosen: provider_class.ProviderClass, answer: client.Answer
    ) -> bool | None:
        """Write and record an answer; None if the volume has gone while the provider was asked."""
        target = found.record.target_path
        async with self._table.locks.hold(target):
            if self._table.get(target) is not found or self._table.running(target) is not None:
                return None
            changed, checked = await self._contents.store(target, answer, found.record.group)
            known, now = found.record, self._clock.wall_s()
            objects = dict(answer.objects)
            if not checked.files:
                # The provider has written the files itself; only versions tell of a change.
                changed = objects != known.objects
            await self._table.put(
                dataclasses.replace(
                    known,
                    class_uid=chosen.uid,
                    class_generation=chosen.generation,
                    provider=chosen.provider,
                    objects=objects,
                    last_check_s=now,
                    last_change_s=now if changed else known.last_change_s,
                    self_written=not checked.files,
                )
            )
        return changed

    def _usable(self, found: table.Volume) -> bool:
        return not found.handover.empty and found.handover_ends_s > self._clock.wall_s()

    def _succeeded(self, found: table.Volume, *, changed: bool, seconds: float) -> None:
        known = found.record
        self._metrics.refresh_ok(known.provider, changed=changed, duration_s=seconds)
        if not changed:
            return
        _log.info(
            "volume refreshed",
            extra=logs.pairs(
                pod=known.pod,
                serviceAccount=known.service_account,
                spc=known.class_name,
                provider=known.provider,
                objects=questions.audit(known.objects),
                seconds=round(seconds, 4),
            ),
        )
        self._events.normal(
            known.pod,
            "MountRotationComplete",
            f"successfully rotated mounted contents for spc {known.pod.namespace}/"
            f"{known.class_name}",
            source=events.ROTATION,
        )

    def _failed(self, found: table.Volume, error: errors.DriverError) -> None:
        known = found.record
        if self._table.get(known.target_path) is not found:
            return
        found.failures += 1
        wait_s = self._backoff_s(found.failures)
        if found.unplanned:
            self._chores_in(found, wait_s)
        else:
            self._check_in(found, min(wait_s, self._policy.interval_s or RETRY_CAP_S))
        self._metrics.refresh_failed(known.provider, error.metric_type)
        _log.log(
            logs.WARNING if found.failures == 1 else logs.DEBUG,
            "refresh failed, the volume keeps its files",
            extra=logs.pairs(
                pod=known.pod, spc=known.class_name, provider=known.provider, reason=str(error),
                retryInSeconds=round(wait_s, 1),
            ),
        )  # fmt: skip
        self._events.warning(
            known.pod,
            "MountRotationFailed",
            f"provider mount err: {error}",
            source=events.ROTATION,
        )
