"""At start: what the records say against what is really mounted."""

from secrets_store import errors, tasks
from secrets_store import log as logs
from secrets_store.host import mount, records
from secrets_store.volumes import table

_log = logs.get(__name__)


async def restore(
    store: records.Records,
    mounter: mount.Mounter,
    volumes: table.Table,
    host: tasks.Threads,
    boot_id: str,
) -> list[table.Volume]:
    """Take in the records of volumes that are still mounted, and drop the others.

    A tmpfs outlives the driver's process but not the node's boot; a record without its mount is
    of a volume that went away while nobody looked. Mounts without a record are left to the next
    publish of their pod.

    Returns: The volumes taken in.
    """
    found = []
    for known in await host.run(store.load):
        if known.boot_id == boot_id and await _mounted(known.target_path, mounter, host):
            found.append(volumes.adopt(known))
        else:
            await volumes.drop(known.target_path)
            _log.info("record of a volume that is gone dropped",
                      extra=logs.pairs(targetPath=known.target_path))  # fmt: skip
    return found


async def _mounted(target_path: str, mounter: mount.Mounter, host: tasks.Threads) -> bool:
    try:
        return await host.run(mounter.state, target_path) is mount.State.MOUNTED
    except errors.DriverError:
        # A path that cannot even be looked at holds nothing that could be served.
        return False
