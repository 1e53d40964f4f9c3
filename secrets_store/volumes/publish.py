"""NodePublishVolume: from a checked request to a volume that is complete, or to nothing at all.

Every step runs under the volume's lock in a task of its own: kubelet's deadline ends the call, not
the work, and never leaves half a volume. Source: design §3.
"""

import asyncio
import dataclasses
from collections.abc import Callable

from secrets_store import errors, tasks
from secrets_store import log as logs
from secrets_store.host import mount
from secrets_store.kube import store
from secrets_store.model import payload, provider_class, record, secret_objects, volume
from secrets_store.providers import client
from secrets_store.volumes import classes, contents, fetch, journal, patience, questions, table
from secrets_store.volumes import refresh as refreshing

CLASS_RETRY_S = 1.0

_log = logs.get(__name__)


@dataclasses.dataclass(frozen=True, slots=True)
class _Fetched:
    """What a first publish has got so far."""

    chosen: provider_class.ProviderClass
    answer: client.Answer
    checked: payload.Payload


class Publisher:
    """Publishes volumes; one per process, on the event loop."""

    def __init__(
        self,
        *,
        volumes: table.Table,
        contents: contents.Contents,
        classes: classes.Classes,
        fetcher: fetch.Fetcher,
        refresher: refreshing.Refresher,
        journal: journal.Journal,
        pods: store.Pods,
        background: tasks.Background,
        clock: tasks.Clock,
        boot_id: str,
        allow_overrides: bool,
        require_sync: bool,
        worked: Callable[[], None],
    ) -> None:
        self._table, self._contents, self._classes = volumes, contents, classes
        self._fetcher, self._refresher, self._journal = fetcher, refresher, journal
        self._pods, self._boot_id = pods, boot_id
        self._background, self._clock = background, clock
        self._allow_overrides, self._require_sync = allow_overrides, require_sync
        self._worked = worked
        self._closed = False

    async def publish(self, request: volume.PublishRequest, remaining_s: float | None) -> str:
        """Make a volume complete, or find that it is.

        Args:
            remaining_s: Until the caller's deadline; None if it set none.
        Returns: The provider's name, for the metrics; empty where none was asked yet.
        Raises: errors.DriverError; then no mount, directory or record of a new volume is left.
        """
        if self._closed:
            raise errors.Stopping
        if not self._allow_overrides:
            request = request.without_overrides()
        found = self._table.get(request.target_path)
        if found is not None and self._table.running(request.target_path) is None:
            survey = await self._contents.survey(request.target_path)
            # The look took a moment in which the volume may have been unpublished.
            if self._table.get(request.target_path) is found and _complete(found, survey):
                return self._hand_over(found, request)
        work = self._publish(request, patience.budget_s(remaining_s))
        return await asyncio.shield(self._background.spawn("publish", work))

    def close(self) -> None:
        """Refuse new publishes and let those that wait for something end with ABORTED."""
        self._closed = True
        self._table.abandon_all("the driver is shutting down")

    async def _publish(self, request: volume.PublishRequest, wait_s: float) -> str:
        target = request.target_path
        async with self._table.flight(target, request.pod.uid) as flight:
            with self._pods.ending(request.pod.uid) as ending:
                ending.add_done_callback(flight.follow)
                return await self._under_lock(request, flight, wait_s)

    async def _under_lock(
        self, request: volume.PublishRequest, flight: table.InFlight, wait_s: float
    ) -> str:
        target = request.target_path
        wait = patience.Patience(
            flight,
            self._clock,
            wait_s=wait_s,
            notice=lambda what: self._journal.waits(request, what),
        )
        survey = await self._contents.survey(target)
        found = self._table.get(target)
        if found is not None and _complete(found, survey):
            return self._hand_over(found, request)
        if survey.state is mount.State.FOREIGN:
            raise errors.MountFailure(
                "mount tmpfs at", target, "another file system is mounted there"
            )
        if found is None and survey.whole:
            return await self._adopt(request)
        try:
            if request.mock:
                return await self._mock(request, survey)
            return await self._fill(request, survey, flight, wait)
        except BaseException:
            # Also when the process is told to stop: half a volume must not outlive it.
            await self._undo(target, survey)
            self._classes.read_in_vain(
                request.pod.namespace, request.class_name, in_use=self._table.class_keys()
            )
            raise

    async def _fill(
        self,
        request: volume.PublishRequest,
        survey: contents.Survey,
        flight: table.InFlight,
        wait: patience.Patience,
    ) -> str:
        """Fetch the contents and show them; the steps of a first publish in their order."""
        started = self._clock.mono_s()
        chosen = await self._class(request, wait)
        try:
            chosen.check()
            if survey.state is not mount.State.MOUNTED:
                await self._contents.mount(request.target_path)
            fetched = await self._fetch(request, chosen, flight, wait)
        except errors.DriverError as error:
            error.provider = chosen.provider
            raise
        known = self._record(request, fetched)
        found = self._table.enter(known)
        self._take(found, request)
        # Before the report, which wants an earlier check if the Secrets could not be written.
        self._refresher.schedule(found, chosen)
        if self._classes.outdated(chosen):
            self._refresher.adopted(found)
        await self._report(found, request, fetched)
        if request.override_keys and not self._allow_overrides:
            self._journal.attributes_ignored(request)
        self._journal.duplicates(request.pod, fetched.checked)
        self._journal.published(known, self._clock.mono_s() - started)
        self._worked()
        return chosen.provider

    async def _report(
        self, found: table.Volume, request: volume.PublishRequest, fetched: _Fetched
    ) -> None:
        """Record the volume and tell the cluster of it.

        The contents are complete, and neither can take them away; only where the Secrets are asked
        to be part of success do they come first and may fail the publish.

        Raises: errors.MountFailed: a Secret cannot be written.
        """
        told = self._refresher.first_report(found, fetched.chosen, fetched.checked)
        if not (self._require_sync and fetched.chosen.secret_objects):
            await asyncio.gather(self._table.save(found), told)
            return
        try:
            (await told).check()
        except errors.DriverError as error:
            failed = errors.MountFailed(request.pod.namespace, request.pod.name, error)
            failed.provider = fetched.chosen.provider
            raise failed from error
        await self._table.save(found)

    async def _class(
        self, request: volume.PublishRequest, wait: patience.Patience
    ) -> provider_class.ProviderClass:
        while True:
            read = self._background.spawn(
                "class", self._classes.get(request.pod.namespace, request.class_name)
            )
            try:
                if not await wait.watch(read, wait.left_s()):
                    raise errors.ClassUnreadable(
                        request.pod.namespace, request.class_name, "no answer in time"
                    )
                return read.result()
            except errors.ClassUnreadable as error:
                if not await wait.pause(CLASS_RETRY_S, str(error)):
                    raise

    async def _fetch(
        self,
        request: volume.PublishRequest,
        chosen: provider_class.ProviderClass,
        flight: table.InFlight,
        wait: patience.Patience,
    ) -> _Fetched:
        question = questions.build(
            chosen,
            target_path=request.target_path,
            attributes=request.attributes,
            handover=request.handover,
            objects={},
            allow_overrides=self._allow_overrides,
        )
        try:
            answer = await self._fetcher.patiently(question, wait)
            flight.check()
            _, checked = await self._contents.store(
                request.target_path,
                answer,
                group=request.group,
                default_mode=chosen.default_mode,
            )
        except errors.VolumeBusy:
            raise
        except errors.DriverError as error:
            raise errors.MountFailed(request.pod.namespace, request.pod.name, error) from error
        return _Fetched(chosen, answer, checked)

    async def _adopt(self, request: volume.PublishRequest) -> str:
        """Take over a volume that an upstream driver filled, or ours after its record was lost.

        Its contents are whole, for the exchange of ``..data`` is the writer's last step; when and
        from what they were fetched is unknown, so the refresh comes as soon as it may.
        """
        found = await self._table.put(self._record(request, None))
        self._take(found, request)
        self._refresher.adopted(found)
        self._journal.adopted(found.record)
        return ""

    async def _mock(self, request: volume.PublishRequest, survey: contents.Survey) -> str:
        if survey.state is not mount.State.MOUNTED:
            await self._contents.mount(request.target_path)
        await self._table.put(self._record(request, None))
        return volume.MOCK_PROVIDER

    async def _undo(self, target: str, survey: contents.Survey) -> None:
        """Leave nothing of a failed first publish; what was there before it is kept."""
        self._table.release_status_name(target)
        if survey.empty:
            try:
                await self._contents.unmount(target)
            except errors.DriverError as error:
                _log.error(
                    "failed to clean and unmount target path",
                    extra=logs.pairs(targetPath=target, reason=str(error)),
                )
        if self._table.get(target) is not None:
            await self._table.drop(target)

    def _hand_over(self, found: table.Volume, request: volume.PublishRequest) -> str:
        """Answer a repeated publish: keep what is new, let the refresh do the rest.

        Raises: errors.VolumeMismatch: the target holds another volume.
        """
        if not found.record.matches(request, self._boot_id):
            raise errors.VolumeMismatch(
                f"target path {request.target_path} holds another volume: volume id, pod or class "
                "differ from those it was published with"
            )
        renewed = not found.handover.says_the_same(request.handover)
        self._take(found, request)
        self._refresher.handed_over(found, request.group, renewed=renewed)
        return found.record.provider

    def _take(self, found: table.Volume, request: volume.PublishRequest) -> None:
        found.handover = request.handover
        found.handover_ends_s = questions.handover_ends_s(request.handover)
        found.seen_mono = self._clock.mono_s()
        needed = not request.handover.empty
        if needed != found.record.needs_handover:
            # The CSIDriver object has been edited. The next check writes it down.
            found.record = dataclasses.replace(found.record, needs_handover=needed)

    def _record(self, request: volume.PublishRequest, fetched: _Fetched | None) -> record.Record:
        now = self._clock.wall_s()
        chosen = fetched.chosen if fetched else None
        return record.Record(
            volume_id=request.volume_id,
            target_path=request.target_path,
            pod=request.pod,
            service_account=request.service_account,
            class_name=request.class_name,
            class_uid=chosen.uid if chosen else "",
            class_generation=chosen.generation if chosen else 0,
            provider=chosen.provider if chosen else "",
            objects=dict(fetched.answer.objects) if fetched else {},
            attributes=dict(request.attributes),
            last_check_s=now if fetched else 0.0,
            last_change_s=now if fetched else 0.0,
            status_name=""
            if request.mock
            else self._table.claim_status_name(
                request.pod, request.class_name, request.target_path
            ),
            secrets=tuple(sorted(secret_objects.names(chosen.secret_objects))) if chosen else (),
            group=request.group,
            boot_id=self._boot_id,
            self_written=bool(fetched and not fetched.checked.files),
            needs_handover=not request.handover.empty,
            mock=request.mock,
        )


def _complete(found: table.Volume, survey: contents.Survey) -> bool:
    """Tell whether a recorded volume is really there."""
    known = found.record
    return survey.state is mount.State.MOUNTED and (
        survey.whole or known.self_written or known.mock
    )
