"""HTTP/1.1 on asyncio: one `Connection` per client, one `Exchange` per request.

Written by hand because it is on the path of every measured request: a kept connection costs one
buffer and no task, and a request whose answer is ready is served inside `data_received`.
Requests of one connection are answered in order; the next is looked at when the last one has been
answered.
"""

import asyncio
import urllib.parse
from collections.abc import Callable
from dataclasses import dataclass, field

BODY_LIMIT_BYTES = 3 * 1024 * 1024
_HEAD_LIMIT_BYTES = 64 * 1024
# A watcher that reads nothing is cut off, as the API server does, before it eats the memory.
_UNREAD_LIMIT_BYTES = 64 * 1024 * 1024

_REASONS = {
    200: "OK",
    201: "Created",
    202: "Accepted",
    400: "Bad Request",
    401: "Unauthorized",
    403: "Forbidden",
    404: "Not Found",
    405: "Method Not Allowed",
    406: "Not Acceptable",
    409: "Conflict",
    410: "Gone",
    413: "Request Entity Too Large",
    415: "Unsupported Media Type",
    422: "Unprocessable Entity",
    429: "Too Many Requests",
    500: "Internal Server Error",
    503: "Service Unavailable",
    504: "Gateway Timeout",
}


@dataclass(slots=True)
class Request:
    """One request; header names are lower case, repeated ones joined by a comma."""

    method: str
    path: str
    query: dict[str, str]
    headers: dict[str, str]
    body: bytes = b""


@dataclass(slots=True)
class Response:
    """A whole answer."""

    code: int
    body: bytes
    content_type: str = "application/json"
    headers: list[tuple[str, str]] = field(default_factory=list)


class Malformed(Exception):
    """The bytes are no HTTP request; the connection is answered 400 and closed."""


def parse_head(head: bytes) -> Request:
    """Read the request line and the headers (without the empty line). Raises: Malformed."""
    lines = head.decode("latin-1").split("\r\n")
    parts = lines[0].split(" ")
    if len(parts) != 3 or not parts[2].startswith("HTTP/1."):
        raise Malformed("malformed request line")
    path, _, query = parts[1].partition("?")
    headers: dict[str, str] = {}
    if parts[2] == "HTTP/1.0":
        headers["connection"] = "close"
    for line in lines[1:]:
        name, colon, value = line.partition(":")
        if not colon:
            raise Malformed("malformed header")
        name = name.lower()
        value = value.strip()
        headers[name] = f"{headers[name]}, {value}" if name in headers else value
    if "%" in path:
        path = urllib.parse.unquote(path)
    values = dict(urllib.parse.parse_qsl(query, keep_blank_values=True)) if query else {}
    return Request(parts[0], path, values, headers)


class Exchange:
    """One request and the way to answer it, at once or later, whole or as a stream.

    Everything here is called on the loop's thread. After the client has gone, sending does nothing.
    """

    def __init__(self, request: Request, connection: "Connection") -> None:
        self.request = request
        self._connection = connection
        self.answered = False
        # Called with the code before the first byte of the answer leaves, so that whoever has read
        # an answer finds the request in the log; with 0 if there will be no answer.
        self.on_code: Callable[[int], None] | None = None
        # Called when the client goes before the answer is complete.
        self.on_closed: Callable[[], None] | None = None

    @property
    def peer_gone(self) -> bool:
        return self._connection.closed

    def send(self, response: Response) -> None:
        """Send a whole answer."""
        head = [
            f"HTTP/1.1 {response.code} {_REASONS.get(response.code, 'Status')}",
            f"Content-Type: {response.content_type}",
            f"Content-Length: {len(response.body)}",
        ]
        head += [f"{name}: {value}" for name, value in response.headers]
        body = b"" if self.request.method == "HEAD" else response.body
        self._tell(response.code)
        self._connection.write("\r\n".join(head).encode() + b"\r\n\r\n" + body)
        self._end()

    def start_stream(self, content_type: str, headers: list[tuple[str, str]]) -> None:
        """Begin a chunked answer of unknown length."""
        head = [
            "HTTP/1.1 200 OK",
            f"Content-Type: {content_type}",
            "Transfer-Encoding: chunked",
        ]
        head += [f"{name}: {value}" for name, value in headers]
        self._tell(200)
        self._connection.write("\r\n".join(head).encode() + b"\r\n\r\n")

    def write(self, chunk: bytes) -> None:
        """Send one chunk of a stream."""
        self._connection.write(b"%x\r\n%b\r\n" % (len(chunk), chunk))

    def finish_stream(self) -> None:
        """End a stream in good order."""
        self._connection.write(b"0\r\n\r\n")
        self._end()

    def abort(self) -> None:
        """Drop the connection without an answer, or in the middle of one."""
        self._connection.abort()

    def _end(self) -> None:
        self.answered = True
        self._connection.next_request(self)

    def _tell(self, code: int) -> None:
        if self.on_code is not None:
            self.on_code(code)
            self.on_code = None

    def closed(self) -> None:
        """The connection calls this when the client goes before the answer is complete."""
        if not self.answered:
            self.answered = True
            if self.on_closed is not None:
                self.on_closed()
            self._tell(0)


Serve = Callable[[Exchange], None]


class Connections:
    """The open connections of a server.

    Attributes:
        refusing: Drop what was accepted before the server closed and is made only after that.
    """

    def __init__(self) -> None:
        self._open: set[Connection] = set()
        self.refusing = False
        self._none_left = asyncio.Event()
        self._none_left.set()

    def add(self, connection: "Connection") -> None:
        self._open.add(connection)
        self._none_left.clear()

    def discard(self, connection: "Connection") -> None:
        self._open.discard(connection)
        if not self._open:
            self._none_left.set()

    def abort(self) -> None:
        """Drop all connections."""
        for connection in tuple(self._open):
            connection.abort()

    async def closed(self) -> None:
        """Wait until no connection is left."""
        await self._none_left.wait()


class Connection(asyncio.Protocol):
    """The server's side of one TCP (or TLS) connection."""

    def __init__(self, serve: Serve, connections: Connections) -> None:
        self._serve = serve
        self._connections = connections
        self._transport: asyncio.Transport | None = None
        self._buffer = bytearray()
        self._exchange: Exchange | None = None
        self._close_after = False
        self._continued = False
        self._advancing = False
        self.closed = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._connections.add(self)
        if self._connections.refusing:
            transport.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        self.closed = True
        self._connections.discard(self)
        if self._exchange is not None:
            self._exchange.closed()
            self._exchange = None

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        if self._exchange is None:
            self._advance()

    def write(self, data: bytes) -> None:
        if self._transport is None or self.closed:
            return
        self._transport.write(data)
        if self._transport.get_write_buffer_size() > _UNREAD_LIMIT_BYTES:
            self.abort()

    def abort(self) -> None:
        if self._transport is not None:
            self._transport.abort()

    def close_when_idle(self) -> None:
        """Close now if no request is being served, else right after it."""
        self._close_after = True
        if self._exchange is None and self._transport is not None:
            self._transport.close()

    def next_request(self, ended: Exchange) -> None:
        """Go on after an answer."""
        if self._exchange is ended:
            self._exchange = None
        if self._close_after and self._transport is not None:
            self._transport.close()
        elif not self._advancing:
            self._advance()

    def _advance(self) -> None:
        # A loop, not a recursion: a client may send many requests ahead.
        self._advancing = True
        try:
            while self._exchange is None and not self.closed and not self._close_after:
                request = self._take_request()
                if request is None:
                    return
                self._close_after = request.headers.get("connection", "").lower() == "close"
                exchange = self._exchange = Exchange(request, self)
                self._serve(exchange)
                if exchange.answered and self._close_after and self._transport is not None:
                    self._transport.close()
        except Malformed as malformed:
            body = str(malformed).encode()
            self.write(
                b"HTTP/1.1 400 Bad Request\r\nContent-Type: text/plain\r\nConnection: close\r\n"
                b"Content-Length: %d\r\n\r\n%b" % (len(body), body)
            )
            if self._transport is not None:
                self._transport.close()
        finally:
            self._advancing = False

    def _take_request(self) -> Request | None:
        end = self._buffer.find(b"\r\n\r\n")
        if end < 0:
            if len(self._buffer) > _HEAD_LIMIT_BYTES:
                raise Malformed("request head too large")
            return None
        request = parse_head(bytes(self._buffer[:end]))
        start = end + 4
        if request.headers.get("transfer-encoding", "").lower() == "chunked":
            taken = self._chunked_body(start)
        else:
            taken = self._plain_body(start, request)
        if taken is None:
            self._continue(request)
            return None
        request.body, position = taken
        del self._buffer[:position]
        self._continued = False
        return request

    def _continue(self, request: Request) -> None:
        if request.headers.get("expect", "").lower() == "100-continue" and not self._continued:
            self._continued = True
            self.write(b"HTTP/1.1 100 Continue\r\n\r\n")

    def _plain_body(self, start: int, request: Request) -> tuple[bytes, int] | None:
        length_text = request.headers.get("content-length", "0")
        if not length_text.isdigit():
            raise Malformed("bad Content-Length")
        length = int(length_text)
        if len(self._buffer) < start + length:
            return None
        return bytes(self._buffer[start : start + length]), start + length

    def _chunked_body(self, position: int) -> tuple[bytes, int] | None:
        body = bytearray()
        while True:
            end = self._buffer.find(b"\r\n", position)
            if end < 0:
                return None
            try:
                size = int(self._buffer[position:end].split(b";")[0], 16)
            except ValueError:
                raise Malformed("bad chunk size") from None
            position = end + 2
            if len(self._buffer) < position + size + 2:
                return None
            body += self._buffer[position : position + size]
            position += size + 2
            if size == 0:
                return bytes(body), position
