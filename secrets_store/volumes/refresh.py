"""Keeping volumes fresh: the driver's own work, at its own pace, behind every publish.

A republish only hands over what is new. Here a volume that is due is checked in the background:
the provider is asked without the volume's lock, which is taken to write and only if the volume is
still there. A failed check keeps the old files and tells. Source: design §3.
"""

import asyncio
import dataclasses
import random
from collections.abc import Callable

from secrets_store import errors, tasks
from secrets_store import log as logs
from secrets_store.model import due, payload, pod_status, provider_class, record
from secrets_store.providers import client
from secrets_store.volumes import (
    absence,
    classes,
    cluster,
    contents,
    fetch,
    gates,
    handover,
    journal,
    policy,
    presence,
    questions,
    schedule,
    sync_report,
    table,
)

PROVIDER_TIMEOUT_S = 110.0
REST_S = 60.0
"""So often a volume is looked at whose pod has gone."""
UNPLANNED_ATTEMPT = 4
"""How patiently a class is asked for while nobody answers; the watch tells when it is back."""

_log = logs.get(__name__)


class Refresher:
    """Checks volumes in the background; one per process, on the event loop."""

    def __init__(
        self,
        chosen: policy.Policy,
        *,
        volumes: table.Table,
        contents: contents.Contents,
        classes: classes.Classes,
        fetcher: fetch.Fetcher,
        cluster: cluster.Cluster,
        journal: journal.Journal,
        handovers: handover.Handovers,
        presence: presence.Presence,
        background: tasks.Background,
        clock: tasks.Clock,
    ) -> None:
        self._policy, self._table, self._contents = chosen, volumes, contents
        self._classes, self._fetcher, self._cluster = classes, fetcher, cluster
        self._journal, self._handovers, self._presence = journal, handovers, presence
        self._background, self._clock = background, clock
        self._schedule = schedule.Schedule(volumes, clock, self._start)
        self._gates = gates.Gates(clock)
        self._slots: dict[str, asyncio.Semaphore] = {}
        self._absences = absence.Absences(volumes, fetcher, background, clock, self._returned)

    async def run(self) -> None:
        """Start checks at their time until cancelled."""
        await self._schedule.run()

    def schedule(self, found: table.Volume, chosen: provider_class.ProviderClass) -> None:
        """Set the time of a volume's next check from its class and its last check."""
        if found.asked is None:
            found.asked = provider_class.refresh_request(chosen.annotations)
        interval_s = self._policy.interval_of(chosen)
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

    def handed_over(self, found: table.Volume, group: int | None, *, renewed: bool) -> None:
        """Go on with a check that waited for kubelet, or give the files their new group.

        Args:
            renewed: Tokens or secrets are others than before, of which a failure may have come.
        """
        awaited = self._handovers.came(found)
        if group != found.record.group:
            found.record = dataclasses.replace(found.record, group=group)
            self.request(found)
        elif awaited or (renewed and found.failures):
            self._check_in(found, 0.0)

    def request(self, found: table.Volume) -> None:
        """Check a volume now, whether or not rotation is on."""
        found.requested = True
        self._check_in(found, 0.0)

    def class_changed(self, namespace: str, name: str) -> None:
        """Plan anew all volumes of a class that was edited, or may have been."""
        for found in self._table:
            if found.record.class_key == (namespace, name):
                self.adopted(found)

    def requested_at(self, pod_uid: str, requested_s: float, *, edited: bool) -> None:
        """Check the volumes of a pod whose user asked for it, unless that was done since.

        Args:
            edited: The request was seen to be made just now. That is believed, whatever time it
                names: clocks differ, and most write whole seconds.
        """
        for found in self._table:
            known = found.record
            if known.pod.uid == pod_uid and (edited or requested_s > known.last_check_s):
                self.request(found)

    async def first_report(
        self, found: table.Volume, chosen: provider_class.ProviderClass, checked: payload.Payload
    ) -> sync_report.SyncReport:
        """Tell the cluster of a volume that was just filled: status object, then Secrets."""
        found.condition = self._fresh(found)
        await self._write_status(found, first=True)
        report = await self._cluster.secrets(found, chosen, checked.files, first=True, verify=False)
        self._retry_secrets(found, report, news=True)
        return report

    async def _write_status(self, found: table.Volume, *, first: bool) -> None:
        told = await self._cluster.status(found, first=first)
        if told.again:
            found.chores += 1
            self._chores_in(
                found, policy.RETRY_CAP_S if told.denied else policy.backoff_s(found.chores)
            )
        else:
            found.chores = 0

    def _retry_secrets(
        self, found: table.Volume, report: sync_report.SyncReport, *, news: bool
    ) -> None:
        """Check a volume again soon if its Secrets could not be written.

        Their contents are not kept, so another try begins with the provider. That is left in peace
        if Secrets which were right could only not be looked at.

        Args:
            news: The Secrets, or their contents, are new.
        """
        regular_mono = found.check_due_mono
        wrong = bool(report.mendable) and (news or found.retry_secrets or regular_mono is None)
        found.failures = found.failures + 1 if wrong else 0
        found.retry_secrets = wrong
        if wrong:
            wait_s = policy.LASTING_RETRY_S if report.lasting else policy.backoff_s(found.failures)
            # Never later than by the interval: the files are not to wait for the Secrets.
            if regular_mono is None or self._clock.mono_s() + wait_s < regular_mono:
                self._check_in(found, wait_s)

    def _fresh(self, found: table.Volume) -> pod_status.Condition:
        now = self._clock.wall_s()
        told = pod_status.Condition(True, "Checked", "contents are as the provider has them", now)
        return told.follows(found.condition)

    def _check_in(self, found: table.Volume, wait_s: float) -> None:
        found.check_due_mono = self._clock.mono_s() + wait_s
        self._schedule.at(found, found.check_due_mono)

    def _chores_in(self, found: table.Volume, wait_s: float) -> None:
        found.chores_due_mono = self._clock.mono_s() + wait_s
        self._schedule.at(found, found.chores_due_mono)

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
                if self._presence.gone(found):
                    self._rest(found)
                    return
                if self._due(found.chores_due_mono):
                    await self._chores(found)
                if self._due(found.check_due_mono):
                    await self._check(found)
        except errors.DriverError as error:
            await self._failed(found, error)
        except Exception as error:
            _log.exception("refresh broke", extra=logs.pairs(pod=found.record.pod))
            await self._failed(found, errors.DriverError(type(error).__name__))
        finally:
            found.working = False
        # Not when it was cancelled: then the process ends.
        if found.again:
            found.again = False
            self._start(found)

    def _rest(self, found: table.Volume) -> None:
        """Leave a volume alone whose pod has gone: kubelet will take it away, or see the pod."""
        if self._due(found.chores_due_mono):
            self._chores_in(found, REST_S)
        if self._due(found.check_due_mono):
            self._check_in(found, REST_S)

    async def _chores(self, found: table.Volume) -> None:
        found.chores_due_mono = None
        # First, for a class that cannot be read is what it may have to tell of.
        if found.chores:
            await self._write_status(found, first=False)
        if found.unplanned:
            await self._plan(found)

    async def _plan(self, found: table.Volume) -> None:
        """Find out from the class whether the volume is due now, or when it will be."""
        # Before the class is read: an edit that comes meanwhile wants another look.
        found.unplanned = False
        try:
            chosen = await self._class(found)
        except errors.DriverError:
            found.unplanned = True
            raise
        if not found.record.provider:
            # Adopted; what it was fetched with is not known, but who is asked next.
            found.record = dataclasses.replace(found.record, provider=chosen.provider)
        asked = provider_class.refresh_asked(
            chosen.annotations, before=found.asked, since_s=found.record.last_check_s
        )
        found.asked = provider_class.refresh_request(chosen.annotations)
        self.schedule(found, chosen)
        if found.requested or asked:
            self.request(found)
        elif found.retry_secrets:
            self._check_in(found, 0.0)
        elif found.check_due_mono is None:
            self._calm(found)
        elif _edited(found, chosen):
            self._check_in(found, 0.0)

    def _calm(self, found: table.Volume) -> None:
        """Take back that something failed: no check is going to come that could do it."""
        if found.failures:
            found.failures = 0
            found.condition = self._fresh(found)
            found.chores = max(found.chores, 1)
            self._chores_in(found, 0.0)

    async def _class(self, found: table.Volume) -> provider_class.ProviderClass:
        return await self._classes.get(*found.record.class_key)

    async def _check(self, found: table.Volume) -> None:
        """Ask the provider once and show what it answers."""
        started = self._clock.mono_s()
        found.check_due_mono = None
        chosen = await self._class(found)
        wanted = found.requested or found.retry_secrets or found.failures
        if self._policy.interval_of(chosen) is None and not wanted:
            return
        chosen.check()
        if not self._handovers.usable(found):
            self._handovers.awaited(found)
            return
        closed_s = 0.0 if found.requested else self._gates.wait_s(chosen)
        if closed_s:
            closed_s *= random.uniform(1.0, 1.1)  # noqa: S311 - spreads load
            self._hold(found, closed_s, self._gates.reason(chosen))
            return
        found.requested = False
        found.asked = provider_class.refresh_request(chosen.annotations)
        try:
            answer = await self._fetcher.once(
                self._question(found, chosen), timeout_s=PROVIDER_TIMEOUT_S
            )
        except errors.DriverError as error:
            self._gates.failed(chosen, error)
            if gates.is_absence(error) and not self._fetcher.answers(chosen.provider):
                self._absences.noticed(chosen.provider)
            raise
        if self._gates.passed(chosen):
            # Those that were held with it need not wait for its time any more.
            mine, key = found.record, (chosen.namespace, chosen.name)
            self._resume(lambda known: known is not mine and known.class_key == key)
        edited = _edited(found, chosen)
        applied = await self._contents.refresh(found, chosen, answer)
        if applied is None:
            # If it is not gone, somebody publishes it again; it must not fall out of the schedule.
            self._check_in(found, policy.MIN_RETRY_S)
            return
        changed, checked = applied
        if found.check_due_mono is None:
            # Otherwise somebody has asked for another check during this one.
            self.schedule(found, chosen)
        healed, found.condition = found.stale, self._fresh(found)
        await self._write_status(found, first=False)
        news = changed or edited
        report = await self._cluster.secrets(
            found, chosen, checked.files, first=False, verify=not news
        )
        self._retry_secrets(found, report, news=news)
        seconds = self._clock.mono_s() - started
        self._journal.refreshed(
            found.record, checked, changed=changed, healed=healed, seconds=seconds
        )

    def _question(
        self, found: table.Volume, chosen: provider_class.ProviderClass
    ) -> client.Question:
        return questions.build(
            chosen,
            target_path=found.record.target_path,
            attributes=found.record.attributes,
            handover=found.handover,
            objects=found.record.objects,
            allow_overrides=self._policy.allow_overrides,
        )

    def _returned(self, provider: str) -> None:
        """Check the volumes of a provider that was away and is back."""
        self._gates.open_provider(provider)
        self._resume(lambda known: known.provider == provider)

    def _resume(self, meant: Callable[[record.Record], bool]) -> None:
        for found in self._table:
            if meant(found.record) and found.stale:
                self._check_in(found, 0.0)

    def _hold(self, found: table.Volume, wait_s: float, error: errors.DriverError | None) -> None:
        """Wait with the others of the class; its pod is told as theirs are."""
        self._check_in(found, wait_s)
        if error is not None:
            found.failures = max(found.failures, 1)
            self._show(found, error)
            self._journal.refresh_held(found.record, error)

    def _show(self, found: table.Volume, error: errors.DriverError) -> None:
        """Let the status object say that the contents could not be checked."""
        told = pod_status.Condition(False, error.metric_type, str(error), self._clock.wall_s())
        follows = told.follows(found.condition)
        if follows is not found.condition:
            found.condition = follows
            found.chores = max(found.chores, 1)
            self._chores_in(found, 0.0)

    async def _failed(self, found: table.Volume, error: errors.DriverError) -> None:
        if self._table.get(found.record.target_path) is not found:
            return
        if found.unplanned and isinstance(error, errors.ClassUnreadable):
            # The API server is away, which says nothing of the contents.
            self._chores_in(found, policy.backoff_s(UNPLANNED_ATTEMPT))
            return
        found.failures += 1
        wait_s = policy.backoff_s(found.failures)
        edited = found.unplanned and self._due(found.chores_due_mono)
        self._show(found, error)
        if found.unplanned:
            if not edited:
                self._chores_in(found, wait_s)
        elif found.check_due_mono is None:
            self._check_in(found, min(wait_s, self._policy.interval_s or policy.RETRY_CAP_S))
        else:
            # Somebody has asked for another check during this one.
            self._schedule.at(found, found.check_due_mono)
        self._journal.refresh_failed(
            found.record, error, failures=found.failures, retry_in_s=wait_s
        )
        if found.unplanned and found.chores:
            # The chores wait for another look at the class, which may take long to come.
            await self._write_status(found, first=False)


def _edited(found: table.Volume, chosen: provider_class.ProviderClass) -> bool:
    """Tell whether a class is not what the contents were fetched with; also if it was made anew."""
    known = found.record
    return (chosen.uid, chosen.generation) != (known.class_uid, known.class_generation)
