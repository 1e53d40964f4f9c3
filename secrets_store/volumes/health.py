"""NodeGetVolumeStats: what a volume holds and whether it is well."""

import dataclasses
import datetime

from secrets_store import errors, tasks
from secrets_store.host import mount
from secrets_store.model import volume
from secrets_store.volumes import table


@dataclasses.dataclass(frozen=True, slots=True)
class Report:
    """Usage and condition of one volume."""

    usage: mount.Usage
    abnormal: bool
    message: str


class Health:
    """Reports on volumes; a look that waits for nobody."""

    def __init__(self, volumes: table.Table, mounter: mount.Mounter, host: tasks.Threads) -> None:
        self._table, self._mounter, self._host = volumes, mounter, host

    async def report(self, volume_id: str, volume_path: str) -> Report:
        """Measure a volume and say how its refreshing goes.

        Raises: errors.InvalidRequest: id or path missing. errors.VolumeAbsent: not mounted there.
        """
        volume.check_volume_id(volume_id)
        if not volume_path:
            raise errors.InvalidRequest("Volume path missing in request")
        absent = errors.VolumeAbsent(f"volume {volume_id} is not mounted at {volume_path}")
        try:
            volume.check_target_path(volume_path)
        except errors.PathRejected:
            raise absent from None
        found = self._table.get(volume_path)
        if found is not None and found.record.volume_id != volume_id:
            raise absent
        usage = await self._host.run(self._mounter.usage, volume_path)
        if found is None:
            return Report(usage, abnormal=False, message="mounted by another driver, not adopted")
        return _judge(found, usage)


def _judge(found: table.Volume, usage: mount.Usage) -> Report:
    checked = found.record.last_check_s
    when = (
        datetime.datetime.fromtimestamp(checked, datetime.UTC).isoformat(timespec="seconds")
        if checked
        else "never"
    )
    if found.stale:
        message = f"{found.failures} refreshes failed in a row, contents are as of {when}"
        return Report(usage, abnormal=True, message=message)
    return Report(usage, abnormal=False, message=f"contents checked {when}")
