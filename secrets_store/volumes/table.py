"""The volumes of this node, in memory and on disk; owned by the event loop."""

import asyncio
import contextlib
import dataclasses
from collections.abc import AsyncIterator, Iterator
from typing import Any, Protocol

from secrets_store import errors, tasks
from secrets_store import log as logs
from secrets_store.model import pod_status, record, volume

_log = logs.get(__name__)


class Store(Protocol):
    """Where records outlive the process."""

    def save(self, known: record.Record) -> None:
        """Write one record. Raises: OSError."""

    def drop(self, target_path: str) -> None:
        """Remove a volume's record. Raises: OSError."""


@dataclasses.dataclass(slots=True)
class Volume:
    """One complete volume.

    Attributes:
        record: What is known for good.
        handover: What kubelet last gave; EMPTY_HANDOVER after a restart.
        handover_ends_s: Unix time from which the handover is of no use any more.
        failures: Checks in a row that failed, or whose Secrets could not be written.
        check_due_mono: When the contents are to be checked; None: not by time.
        chores_due_mono: When what a publish or refresh left undone is tried again.
        chores: Attempts at the chores so far; 0 if nothing is undone.
        requested: A check was asked for by name, also where rotation is off.
        asked: The request for a refresh on the class when it was last read; None before.
        unplanned: The time of the next check has yet to be found out from the class.
        awaits_handover: A check waits for what kubelet hands over with its next publish.
        working, again: A background task has the volume; it is wanted once more.
        status: The status object as last written, None if it is not known.
        condition: How the last check ended, and since when that is so.
        retry_secrets: Secrets could not be written; the next check is made for them.
        seen_mono: When the pod last gave a sign of life.
    """

    record: record.Record
    handover: volume.Handover = volume.EMPTY_HANDOVER
    handover_ends_s: float = float("inf")
    failures: int = 0
    check_due_mono: float | None = None
    chores_due_mono: float | None = None
    chores: int = 0
    requested: bool = False
    asked: str | None = None
    unplanned: bool = False
    awaits_handover: bool = False
    working: bool = False
    again: bool = False
    status: dict[str, Any] | None = None
    condition: pod_status.Condition | None = None
    retry_secrets: bool = False
    seen_mono: float = 0.0

    @property
    def stale(self) -> bool:
        """True if the last check has failed; Secrets that cannot be written make nothing old."""
        return self.failures > 0 and not (self.condition is not None and self.condition.fresh)


class InFlight:
    """A publish or unpublish that runs; an unpublish may tell a publish to give up."""

    def __init__(self, target_path: str, pod_uid: str) -> None:
        self.target_path, self.pod_uid = target_path, pod_uid
        self.abandoned: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self.ended = asyncio.Event()

    def abandon(self, reason: str) -> None:
        """Let the publish end with ABORTED at its next wait."""
        if not self.abandoned.done():
            self.abandoned.set_result(reason)

    def follow(self, ending: "asyncio.Future[str]") -> None:
        """Give up because the pod is ending; a done callback of the pod watch's future."""
        if not ending.cancelled():
            self.abandon(ending.result())

    def check(self) -> None:
        """Raise errors.VolumeBusy if the publish was told to give up."""
        if self.abandoned.done():
            raise errors.VolumeBusy(self.target_path, self.abandoned.result())


class Table:
    """Volumes by target path, the lock of each, and who works on which.

    Args:
        store: Where records are kept; a failing one is told and survived.
        host: Threads for it.
    """

    def __init__(self, store: Store, host: tasks.Threads) -> None:
        self._store, self._host = store, host
        self._volumes: dict[str, Volume] = {}
        self._running: dict[str, InFlight] = {}
        self._status_names: dict[str, str] = {}
        self._unsaved: set[str] = set()
        self.locks = tasks.KeyedLocks()

    def __iter__(self) -> Iterator[Volume]:
        return iter(list(self._volumes.values()))

    def __len__(self) -> int:
        return len(self._volumes)

    def class_keys(self) -> set[tuple[str, str]]:
        """Return namespace and name of all classes of volumes."""
        return {found.record.class_key for found in self._volumes.values()}

    def get(self, target_path: str) -> Volume | None:
        """Return the complete volume at a target path."""
        return self._volumes.get(target_path)

    def running(self, target_path: str) -> InFlight | None:
        """Return the publish or unpublish that works on a target path."""
        return self._running.get(target_path)

    def abandon_all(self, reason: str) -> None:
        """Let all publishes give up."""
        for flight in self._running.values():
            flight.abandon(reason)

    @contextlib.asynccontextmanager
    async def flight(self, target_path: str, pod_uid: str) -> AsyncIterator[InFlight]:
        """Mark a target path as worked on and hold its lock.

        Raises: errors.VolumeBusy: somebody else works on it.
        """
        if target_path in self._running:
            raise errors.VolumeBusy(target_path)
        flight = self._running[target_path] = InFlight(target_path, pod_uid)
        try:
            async with self.locks.hold(target_path):
                yield flight
        finally:
            del self._running[target_path]
            flight.ended.set()

    def adopt(self, known: record.Record) -> Volume:
        """Take in a record that is on disk already."""
        found = self._volumes[known.target_path] = Volume(known)
        self._status_names[f"{known.pod.namespace}/{known.status_name}"] = known.target_path
        return found

    def enter(self, known: record.Record) -> Volume:
        """Take in what is new about a volume; `save` is to follow."""
        found = self._volumes.get(known.target_path)
        if found is None:
            found = self._volumes[known.target_path] = Volume(known)
        else:
            found.record = known
        return found

    async def save(self, found: Volume) -> None:
        """Let a volume's record outlive the process, if the disk allows."""
        target = found.record.target_path
        try:
            await self._host.run(self._store.save, found.record)
        except OSError as error:
            # Each check tries again, on a disk that may stay full for days.
            _log.log(
                logs.DEBUG if target in self._unsaved else logs.ERROR,
                "record kept in memory only",
                extra=logs.pairs(targetPath=target, reason=error.strerror),
            )
            self._unsaved.add(target)
        else:
            self._unsaved.discard(target)

    async def put(self, known: record.Record) -> Volume:
        """Record that a volume is complete, or what is new about it."""
        found = self.enter(known)
        await self.save(found)
        return found

    async def drop(self, target_path: str) -> None:
        """Forget a volume, and at once what only kubelet could give for it."""
        gone = self._volumes.pop(target_path, None)
        if gone is not None:
            gone.handover = volume.EMPTY_HANDOVER
        self._unsaved.discard(target_path)
        self.release_status_name(target_path)
        try:
            await self._host.run(self._store.drop, target_path)
        except OSError as error:
            _log.error(
                "record not removed",
                extra=logs.pairs(targetPath=target_path, reason=error.strerror),
            )

    def claim_status_name(self, pod: volume.Pod, class_name: str, target_path: str) -> str:
        """Return a name for the status object of a volume that no other volume here has.

        Two volumes of a pod may use one class; the first to come gets upstream's name. Pods of one
        name follow each other while kubelet has yet to unmount the old ones; then their uids,
        which the target paths hold, tell their volumes apart.
        """
        mount_name = volume.pod_volume_name(target_path) or target_path
        for told_apart_by in ("", mount_name, target_path):
            name = pod_status.name(pod, class_name, told_apart_by, shared=bool(told_apart_by))
            owner = self._status_names.setdefault(f"{pod.namespace}/{name}", target_path)
            if owner == target_path:
                break
        return name

    def release_status_name(self, target_path: str) -> None:
        """Give up the names that a volume has claimed."""
        for name in [x for x, owner in self._status_names.items() if owner == target_path]:
            del self._status_names[name]
