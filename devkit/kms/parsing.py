"""Reading HTTP/1.1 requests out of a stream of bytes.

`Parser` is fed what arrives and gives back whole requests, one at a time; it knows no sockets.
What it refuses ends the connection, for nobody can tell where the next request would begin.

Source: RFC 9112 §3 (request line), §5 (fields), §6 (body length), §7.1 (chunks); RFC 9110 §10.1.1
(Expect).
"""

import re
from dataclasses import dataclass, field

HEAD_LIMIT_BYTES = 1 << 16
BODY_LIMIT_BYTES = 1 << 20

_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_TARGET = re.compile(r"/[!-~]*")


class Refused(Exception):
    """The bytes are no request this server takes; `status` answers them, then it closes."""

    def __init__(self, status: int) -> None:
        super().__init__(status)
        self.status = status


@dataclass(frozen=True, slots=True)
class Head:
    """Request line and headers; names in lower case, repeated ones joined by commas."""

    method: str
    target: str
    headers: dict[str, str] = field(repr=False)
    keep: bool

    @property
    def expects_continue(self) -> bool:
        return self.headers.get("expect", "").lower() == "100-continue"


@dataclass(frozen=True, slots=True)
class Parsed:
    """A whole request; the body is None where it was longer than the server takes."""

    head: Head
    body: bytes | None = field(repr=False)


class Parser:
    """The bytes of one connection that have not become a request yet."""

    def __init__(self) -> None:
        self._buffer = bytearray()
        self._head: Head | None = None

    @property
    def waits_for_continue(self) -> bool:
        """Whether the client holds its body back until it is told to go on."""
        return self._head is not None and self._head.expects_continue and not self._buffer

    def feed(self, data: bytes) -> None:
        """Take bytes that arrived."""
        self._buffer += data

    def next(self) -> Parsed | None:
        """Return the next whole request, or None if bytes are missing.

        Raises: Refused: 400, 431, 501 or 505; this parser is of no use any more.
        """
        if self._head is None:
            end = self._buffer.find(b"\r\n\r\n")
            if end > HEAD_LIMIT_BYTES or (end < 0 and len(self._buffer) > HEAD_LIMIT_BYTES):
                raise Refused(431)
            if end < 0:
                return None
            self._head = _parse_head(bytes(self._buffer[:end]))
            del self._buffer[: end + 4]
        head = self._head
        body = (self._chunked if "transfer-encoding" in head.headers else self._sized)(head)
        if body is None:
            return None
        self._head = None
        if len(body) > BODY_LIMIT_BYTES:
            # What is left of the body is not read, so there can be no next request.
            keepless = Head(head.method, head.target, head.headers, keep=False)
            return Parsed(keepless, None)
        return Parsed(head, body)

    def _sized(self, head: Head) -> bytes | None:
        text = head.headers.get("content-length", "0")
        if not text.isascii() or not text.isdigit():
            raise Refused(400)
        length = int(text)
        if length > BODY_LIMIT_BYTES and len(self._buffer) > BODY_LIMIT_BYTES:
            length = BODY_LIMIT_BYTES + 1
        if len(self._buffer) < length:
            return None
        body = bytes(self._buffer[:length])
        del self._buffer[:length]
        return body

    def _chunked(self, head: Head) -> bytes | None:
        if head.headers["transfer-encoding"].lower() != "chunked":
            raise Refused(501)
        if "content-length" in head.headers:
            raise Refused(400)
        body, at = bytearray(), 0
        while True:
            line_end = self._buffer.find(b"\r\n", at)
            if line_end < 0:
                return None
            size = self._buffer[at:line_end].partition(b";")[0].strip()
            if not re.fullmatch(rb"[0-9A-Fa-f]{1,8}", size):
                raise Refused(400)
            length = int(size, 16)
            if length == 0:
                return self._trailed(body, at)
            start = line_end + 2
            body += self._buffer[start : start + length]
            if len(body) > BODY_LIMIT_BYTES:
                return bytes(body)
            if len(self._buffer) < start + length + 2:
                return None
            at = start + length + 2

    def _trailed(self, body: bytearray, last_chunk: int) -> bytes | None:
        """Drop the trailer fields that may follow the last chunk."""
        # Without trailers the empty line follows the last chunk's own line end at once.
        end = self._buffer.find(b"\r\n\r\n", last_chunk)
        if end < 0:
            return None
        del self._buffer[: end + 4]
        return bytes(body)


def _parse_head(raw: bytes) -> Head:
    first, *lines = raw.decode("latin-1").split("\r\n")
    parts = first.split(" ")
    if len(parts) != 3:
        raise Refused(400)
    method, target, version = parts
    if version not in ("HTTP/1.1", "HTTP/1.0"):
        raise Refused(505)
    if not _TOKEN.fullmatch(method) or not _TARGET.fullmatch(target):
        raise Refused(400)
    headers: dict[str, str] = {}
    for line in lines:
        name, colon, value = line.partition(":")
        if not colon or not _TOKEN.fullmatch(name):
            raise Refused(400)
        name, value = name.lower(), value.strip(" \t")
        headers[name] = f"{headers[name]}, {value}" if name in headers else value
    if version == "HTTP/1.1" and "host" not in headers:
        raise Refused(400)
    options = [each.strip() for each in headers.get("connection", "").lower().split(",")]
    keep = "close" not in options if version == "HTTP/1.1" else "keep-alive" in options
    return Head(method, target, headers, keep)
