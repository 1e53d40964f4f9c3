"""From a provider's answer to the files of a volume."""

import asyncio
import dataclasses
import errno
import os

from secrets_store import errors, tasks
from secrets_store import log as logs
from secrets_store.host import atomic_writer, mount
from secrets_store.model import payload, provider_class, secret_objects
from secrets_store.providers import client
from secrets_store.volumes import table

RETIRE_AFTER_S = 1.0
"""How long a replaced set of files stays for readers that are on their way through it."""

_log = logs.get(__name__)


@dataclasses.dataclass(frozen=True, slots=True)
class Survey:
    """What stands at a target path.

    Attributes:
        whole: ``..data`` names a set of ours.
        empty: Nothing is in the volume; True also if there is no volume.
    """

    state: mount.State
    whole: bool
    empty: bool


class Contents:
    """The files of all volumes; the only writer below a target path."""

    def __init__(
        self,
        mounter: mount.Mounter,
        host: tasks.Threads,
        volumes: table.Table,
        background: tasks.Background,
        clock: tasks.Clock,
    ) -> None:
        self._mounter, self._host, self._table = mounter, host, volumes
        self._background, self._clock = background, clock

    async def survey(self, target_path: str) -> Survey:
        """Look what stands at a target path. Raises: errors.PathRejected, errors.MountFailure."""
        return await self._host.run(self._survey, target_path)

    async def mount(self, target_path: str) -> None:
        """Mount an empty volume. Raises: errors.MountFailure, errors.PathRejected."""
        await self._host.run(self._mounter.mount, target_path)

    async def unmount(self, target_path: str) -> None:
        """Take a volume away. Raises: errors.MountFailure, errors.PathRejected."""
        await self._host.run(self._mounter.unmount, target_path)

    async def store(
        self,
        target_path: str,
        answer: client.Answer,
        *,
        group: int | None,
        default_mode: int | None,
    ) -> tuple[bool, payload.Payload]:
        """Check an answer's files and show exactly these; the volume's lock is held.

        An answer without files comes from a provider that has written them itself.

        Returns: Whether the files changed, and the checked files.
        Raises: errors.PayloadRejected, errors.FileFailure, errors.VolumeAbsent: nothing changed.
        """
        checked = payload.check(answer.files)
        if not checked.files:
            return False, checked
        files = payload.with_modes(checked.files, group=group, default_mode=default_mode)
        outcome = await self._host.run(self._write, target_path, files, group)
        if outcome.retired:
            self._background.spawn("retire files", self._retire(target_path))
        return outcome.changed, checked

    async def refresh(
        self, found: table.Volume, chosen: provider_class.ProviderClass, answer: client.Answer
    ) -> tuple[bool, payload.Payload] | None:
        """Show and record a later answer; None if the volume went while the provider was asked.

        Returns: Whether the contents changed, and the checked files.
        Raises: As `store`, whose lock is taken here.
        """
        target = found.record.target_path
        async with self._table.locks.hold(target):
            if self._table.get(target) is not found or self._table.running(target) is not None:
                return None
            changed, checked = await self.store(
                target, answer, group=found.record.group, default_mode=chosen.default_mode
            )
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
                    secrets=tuple(sorted(secret_objects.names(chosen.secret_objects))),
                    self_written=not checked.files,
                )
            )
        return changed, checked

    def _survey(self, target_path: str) -> Survey:
        with self._mounter.look(target_path) as (state, root):
            if state is not mount.State.MOUNTED:
                return Survey(state, whole=False, empty=True)
            whole = atomic_writer.current(root) is not None
            return Survey(state, whole=whole, empty=not whole and atomic_writer.is_empty(root))

    def _write(
        self, target_path: str, files: payload.Files, group: int | None
    ) -> atomic_writer.Outcome:
        with self._mounter.root(target_path) as root:
            try:
                return atomic_writer.write(root, files, group=group)
            except errors.FileFailure as failure:
                if failure.reason != os.strerror(errno.ENOSPC):
                    raise
                held = os.fstatvfs(root)
                raise errors.FileFailure(
                    failure.path,
                    f"{failure.reason}: the volume holds at most {held.f_blocks * held.f_frsize} "
                    f"bytes and {held.f_files} files (flags tmpfs-size and tmpfs-inodes)",
                ) from failure

    async def _retire(self, target_path: str) -> None:
        await self._clock.wait(asyncio.Event(), RETIRE_AFTER_S)
        async with self._table.locks.hold(target_path):
            await self._host.run(self._tidy, target_path)

    def _tidy(self, target_path: str) -> None:
        try:
            with self._mounter.root(target_path) as root:
                # One that was replaced just now has a call of its own to come.
                atomic_writer.tidy(root, grace_s=atomic_writer.GRACE_S)
        except errors.VolumeAbsent:
            # Unpublished meanwhile, and everything with it.
            return
        except OSError as error:
            _log.warning(
                "replaced files not removed, the next write does it",
                extra=logs.pairs(targetPath=target_path, reason=error.strerror),
            )
