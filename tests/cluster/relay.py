"""A relay before an API server that can take it away: refused, or silent like a lost network."""

import asyncio
import contextlib
from typing import Self

CHUNK_BYTES = 65536


class Relay:
    """Passes bytes on between a loopback port of its own and another; TLS goes through unseen.

    An asynchronous context manager; on the event loop.

    Attributes:
        port: Its own, the same for ever.
    """

    def __init__(self, port: int) -> None:
        self._behind = port
        self.port = 0
        self._listener: asyncio.Server | None = None
        self._flows: set[asyncio.Task[None]] = set()
        self._open = asyncio.Event()
        self._open.set()

    async def __aenter__(self) -> Self:
        await self.resume()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.refuse()

    async def refuse(self) -> None:
        """Drop all connections and take no new ones."""
        if self._listener is not None:
            self._listener.close()
            self._listener = None
        await self._cut()

    def silence(self) -> None:
        """Pass nothing on any more; connections stay and new ones are taken."""
        self._open.clear()

    async def resume(self) -> None:
        """Be as good as new; what was held up in silence is lost."""
        if not self._open.is_set():
            await self._cut()
            self._open.set()
        if self._listener is None:
            self._listener = await asyncio.start_server(self._accept, "127.0.0.1", self.port)
            self.port = self._listener.sockets[0].getsockname()[1]

    async def _cut(self) -> None:
        for flow in self._flows:
            flow.cancel()
        if self._flows:
            await asyncio.wait(self._flows)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        # A task of our own: streams log the cancellation of theirs as an error.
        flow = asyncio.get_running_loop().create_task(self._relay(reader, writer))
        self._flows.add(flow)
        flow.add_done_callback(self._flows.discard)

    async def _relay(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        ends, ways = [writer], []
        try:
            behind = await asyncio.open_connection("127.0.0.1", self._behind)
            ends.append(behind[1])
            ways = [
                asyncio.ensure_future(self._pass(reader, behind[1])),
                asyncio.ensure_future(self._pass(behind[0], writer)),
            ]
            await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for way in ways:
                way.cancel()
            for end in ends:
                end.transport.abort()
            await asyncio.gather(*ways, return_exceptions=True)

    async def _pass(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError):
            while chunk := await reader.read(CHUNK_BYTES):
                await self._open.wait()
                writer.write(chunk)
                await writer.drain()
