"""Providers that were found away: looked for at a steady pace until they are back."""

import asyncio
from collections.abc import Callable

from secrets_store import tasks
from secrets_store.volumes import fetch, table

LOOK_S = 0.5


class Absences:
    """Who is away, and a task for each that waits for its return; on the event loop.

    Args:
        back: Told the name of a provider that answers again.
    """

    def __init__(
        self,
        volumes: table.Table,
        fetcher: fetch.Fetcher,
        background: tasks.Background,
        clock: tasks.Clock,
        back: Callable[[str], None],
    ) -> None:
        self._table, self._fetcher = volumes, fetcher
        self._background, self._clock, self._back = background, clock, back
        self._away: set[str] = set()

    def noticed(self, provider: str) -> None:
        """Look out for a provider that was not there, as long as a volume needs it."""
        if provider not in self._away:
            self._away.add(provider)
            self._background.spawn("provider return", self._await_return(provider))

    async def _await_return(self, provider: str) -> None:
        never = asyncio.Event()
        try:
            while not self._fetcher.answers(provider):
                await self._clock.wait(never, LOOK_S)
                if not any(found.record.provider == provider for found in self._table):
                    return
        finally:
            self._away.discard(provider)
        self._back(provider)
