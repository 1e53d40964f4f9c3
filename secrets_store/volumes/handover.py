"""What only kubelet can hand over, and what to say when it never does.

Tokens and node-publish secrets come with a publish and are kept in memory only. kubelet repeats its
publishes where the CSIDriver object has ``requiresRepublish``, as that of upstream's v1.5 has not:
then volumes are refreshed for as long as their first handover is valid, and after that cannot be.
"""

import asyncio

from secrets_store import log as logs
from secrets_store import tasks
from secrets_store.volumes import events, presence, table

PATIENCE_S = 300.0
"""kubelet repeats a publish within 90 s, and within 122 s of one that has failed."""
REASON = "RepublishMissing"
MESSAGE = (
    "volumes are not refreshed: the tokens or node-publish secrets that their providers need are "
    "no longer valid, and kubelet does not repeat its publishes; set requiresRepublish: true in "
    "the CSIDriver object"
)

_log = logs.get(__name__)


class Handovers:
    """Who waits for kubelet; on the event loop."""

    def __init__(
        self,
        volumes: table.Table,
        pods: presence.Presence,
        told: events.Events,
        clock: tasks.Clock,
    ) -> None:
        self._table, self._presence, self._events, self._clock = volumes, pods, told, clock
        self._awaited = asyncio.Event()
        self._last_mono = float("-inf")
        self._told = False

    def usable(self, found: table.Volume) -> bool:
        """Tell whether a provider can be asked with what is in memory."""
        if not found.record.needs_handover:
            return True
        return not found.handover.empty and found.handover_ends_s > self._clock.wall_s()

    def awaited(self, found: table.Volume) -> None:
        """Note that a check cannot be made before kubelet repeats the publish."""
        found.awaits_handover = True
        self._awaited.set()

    def came(self, found: table.Volume) -> bool:
        """Take that kubelet has repeated a publish; tell whether a check was waiting for that."""
        self._last_mono = self._clock.mono_s()
        if self._told:
            self._told = False
            _log.info("kubelet repeats publishes again")
        awaited, found.awaits_handover = found.awaits_handover, False
        return awaited

    async def run(self) -> None:
        """Tell when kubelet keeps all volumes waiting, until cancelled."""
        never = asyncio.Event()
        while True:
            await self._awaited.wait()
            since_mono = self._clock.mono_s()
            await self._clock.wait(never, PATIENCE_S)
            waiting = self._waiting()
            if not waiting:
                self._awaited.clear()
            elif self._last_mono < since_mono and not self._told:
                self._told = True
                _log.warning(MESSAGE, extra=logs.pairs(volumes=waiting))
                self._events.node_warning(REASON, f"{waiting} {MESSAGE}")

    def _waiting(self) -> int:
        """Count the volumes that wait; those whose pod has gone wait for nothing."""
        return sum(
            found.awaits_handover and not self._presence.gone(found) for found in self._table
        )
