"""NodeUnpublishVolume: takes a volume away; needs neither API server nor provider."""

import asyncio
from collections.abc import Callable

from secrets_store import errors, tasks
from secrets_store import log as logs
from secrets_store.model import volume
from secrets_store.volumes import contents, table

_log = logs.get(__name__)


class Unpublisher:
    """Unpublishes volumes.

    Args:
        gone: Told the target path of each volume that is gone.
    """

    def __init__(
        self,
        volumes: table.Table,
        contents: contents.Contents,
        background: tasks.Background,
        gone: Callable[[table.Volume], None],
    ) -> None:
        self._table, self._contents = volumes, contents
        self._background, self._gone = background, gone

    async def unpublish(self, request: volume.UnpublishRequest) -> None:
        """End what works on the volume, unmount it and forget it; repeated calls succeed.

        Raises: errors.PathRejected, errors.MountFailure.
        """
        if request.mock:
            return
        await asyncio.shield(self._background.spawn("unpublish", self._unpublish(request)))

    async def _unpublish(self, request: volume.UnpublishRequest) -> None:
        target = request.target_path
        while (flight := self._table.running(target)) is not None:
            flight.abandon("the volume is being unpublished")
            await flight.ended.wait()
        async with self._table.flight(target, ""):
            found = self._table.get(target)
            if found is not None and found.record.volume_id != request.volume_id:
                raise errors.InvalidRequest(
                    f"target path {target} holds another volume than {request.volume_id!r}"
                )
            await self._contents.unmount(target)
            if found is not None:
                await self._table.drop(target)
                self._gone(found)
        _log.info("volume unpublished", extra=logs.pairs(targetPath=target))
