"""One connection: requests in, answers out, one after the other.

Lives on the server's event loop. A request whose client closes the connection is cancelled.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable

from devkit.kms import messages, parsing, transmission

_log = logging.getLogger(__name__)

Answer = Callable[[messages.Request], Awaitable[messages.Response]]


class Opened:
    """The open connections of one server, and how many there have been.

    `accepted` may be read from any thread; everything else happens on the event loop.
    """

    def __init__(self) -> None:
        self.accepted = 0
        self._connections: set[Connection] = set()

    def __len__(self) -> int:
        return len(self._connections)

    def add(self, connection: "Connection") -> None:
        """Take in a new connection."""
        self.accepted += 1
        self._connections.add(connection)

    def remove(self, connection: "Connection") -> None:
        """Let go of a connection that is closed."""
        self._connections.discard(connection)

    async def close(self) -> None:
        """Close all connections and return once they are closed."""
        await asyncio.gather(*(each.close() for each in self._connections))


class Connection(asyncio.Protocol):
    """A kept HTTP/1.1 connection.

    Args:
        answer: makes the answers.
        opened: where this one adds and removes itself.
    """

    def __init__(self, answer: Answer, opened: Opened) -> None:
        self._answer = answer
        self._opened = opened
        self._parser = parsing.Parser()
        self._transport: asyncio.Transport | None = None
        self._address = ""
        self._task: asyncio.Task[None] | None = None
        self._lost: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    async def close(self) -> None:
        """Close the connection; a request in work is cancelled. Returns once that is so."""
        assert self._transport is not None
        self._transport.abort()
        await self._lost

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._address = transport.get_extra_info("peername")[0]
        self._opened.add(self)

    def connection_lost(self, exc: Exception | None) -> None:
        self._opened.remove(self)
        if self._task is not None:
            self._task.cancel()
        if not self._lost.done():
            self._lost.set_result(None)

    def data_received(self, data: bytes) -> None:
        self._parser.feed(data)
        if self._task is None:
            self._go_on()
        else:
            # A client that sends more before its answer came has to wait; it is not read on, so
            # what it can pile up here is one buffer of the kernel.
            self._reading(on=False)

    def _go_on(self) -> None:
        """Start on the next request if it is there."""
        transport = self._transport
        assert transport is not None
        try:
            parsed = self._parser.next()
        except parsing.Refused as e:
            refusal = messages.Response(status=e.status)
            self._task = asyncio.get_running_loop().create_task(
                transmission.send(transport, "GET", refusal, keep=False)
            )
            return
        if parsed is not None:
            self._task = asyncio.get_running_loop().create_task(self._work(transport, parsed))
        elif self._parser.waits_for_continue:
            transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")

    async def _work(self, transport: asyncio.Transport, parsed: parsing.Parsed) -> None:
        head = parsed.head
        response = await self._answer(
            messages.Request(
                method=head.method,
                target=head.target,
                headers=head.headers,
                address=self._address,
                body=parsed.body,
            )
        )
        try:
            await transmission.send(transport, head.method, response, keep=head.keep)
        except Exception:
            # For one, a fault's headers that cannot be encoded; the client sees the end.
            _log.exception("an answer could not be sent")
            transport.abort()
        self._task = None
        if not transport.is_closing():
            self._reading(on=True)
            self._go_on()

    def _reading(self, *, on: bool) -> None:
        assert self._transport is not None
        if on and not self._transport.is_reading():
            self._transport.resume_reading()
        elif not on and self._transport.is_reading():
            self._transport.pause_reading()
