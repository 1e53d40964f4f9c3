"""The health port: `/health/ready`, `/health/live` and `/metrics` over HTTP.

Three fixed answers to GET do not need a framework. Ready means that the provider's socket is
served; whether the KMS can be reached is a matter of metrics, since a restart would not help.
"""

import asyncio
import contextlib
import re
from collections.abc import Callable

_REQUEST_S = 5.0
_MOST_CONNECTIONS = 64
_LINE = re.compile(rb"(GET|HEAD) (/[^ ?#]*)(?:\?[^ ]*)? HTTP/1\.[01]\r\n")


class Health:
    """The server of the health port.

    Args:
        ready: tells whether the provider's socket is served.
        metrics: returns the text of `/metrics`.
    """

    def __init__(self, ready: Callable[[], bool], metrics: Callable[[], bytes]) -> None:
        self._ready, self._metrics = ready, metrics
        self._server: asyncio.Server | None = None
        self._open: dict[asyncio.StreamWriter, None] = {}

    async def start(self, host: str | None, port: int) -> int:
        """Listen; returns the port that was really bound.

        Args:
            host: address, or None for all interfaces.
            port: 0 lets the kernel choose.

        Raises: OSError: the address is taken.
        """
        self._server = await asyncio.start_server(self._serve, host, port, limit=8192)
        bound: int = self._server.sockets[0].getsockname()[1]
        return bound

    async def stop(self) -> None:
        """Close the listener and every connection."""
        if self._server is not None:
            self._server.close()
            for writer in list(self._open):
                writer.transport.abort()
            await self._server.wait_closed()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._open[writer] = None
        if len(self._open) > _MOST_CONNECTIONS:
            # The oldest goes: whoever says nothing must not keep a probe out.
            oldest = next(iter(self._open))
            del self._open[oldest]
            oldest.transport.abort()
        try:
            async with asyncio.timeout(_REQUEST_S):
                head = await reader.readuntil(b"\r\n\r\n")
                writer.write(self._answer(head))
                await writer.drain()
        except (OSError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
            # Whoever does not speak HTTP in time gets no answer; probes count that as failure.
            pass
        finally:
            self._open.pop(writer, None)
            writer.close()
            with contextlib.suppress(OSError):
                await writer.wait_closed()

    def _answer(self, head: bytes) -> bytes:
        match = _LINE.match(head)
        if match is None:
            return _response("405 Method Not Allowed", b"only GET\n")
        body = match[1] == b"GET"
        path = match[2].rstrip(b"/")
        if path == b"/health/live":
            return _response("200 OK", b"ok\n", body=body)
        if path == b"/health/ready":
            if self._ready():
                return _response("200 OK", b"ok\n", body=body)
            return _response("503 Service Unavailable", b"socket is not served\n", body=body)
        if path == b"/metrics":
            kind = "text/plain; version=0.0.4; charset=utf-8"
            return _response("200 OK", self._metrics(), kind, body=body)
        return _response("404 Not Found", b"not found\n", body=body)


def _response(
    status: str, content: bytes, kind: str = "text/plain; charset=utf-8", *, body: bool = True
) -> bytes:
    head = (
        f"HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {len(content)}\r\n"
        "Connection: close\r\n\r\n"
    )
    return head.encode() + (content if body else b"")
