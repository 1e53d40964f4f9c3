"""A relay in front of the stand-in provider, for what gRPC does not show or do.

A gRPC server hides the HTTP/2 `:authority` of its callers, and it cannot drop a
connection in mid-call the way a dying process does. The relay owns the visible
socket, passes bytes on to the real server behind it, tells that server the
authority in a metadata entry, and can cut all connections at once. It knows no
more of HTTP/2 (RFC 9113) and HPACK (RFC 7541) than this takes.

Everything runs on the loop that called `start`.
"""

import asyncio
import contextlib
import os
import socket

from csi_spec import rpc

AUTHORITY_KEY = "devkit-authority"
"""Metadata key under which the server behind finds the caller's authority."""

HUFFMAN_CODED = "(Huffman coded)"

_PREFACE_BYTES = 24
_FRAME_HEAD_BYTES = 9
_HEADERS = 0x1
_END_HEADERS = 0x4
_PADDED = 0x8
_PRIORITY = 0x20
_AUTHORITY_INDEX = 1
"""Place of `:authority` in HPACK's static table."""


class Front:
    """Listens on `path` and relays to the gRPC server at `inner_path`."""

    def __init__(self, path: str, inner_path: str) -> None:
        self._path = path
        self._inner_path = inner_path
        self._server: asyncio.Server | None = None
        self._relays: set[asyncio.Task[None]] = set()

    async def start(self) -> None:
        """Listen; a socket that lies there already is replaced atomically."""
        hidden = rpc.hidden_name(self._path)
        listener = socket.socket(socket.AF_UNIX)
        listener.bind(hidden)
        self._server = await asyncio.start_unix_server(self._accept, sock=listener)
        os.rename(hidden, self._path)

    async def stop(self, *, leave_socket: bool) -> None:
        """Stop listening and cut all connections.

        Args:
            leave_socket: leave the dead socket in place, as a killed process does.
        """
        if self._server is None:
            return
        self._server.close()
        self._server = None
        if not leave_socket:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(self._path)
        self.cut()
        while self._relays:
            await asyncio.wait(self._relays)

    def cut(self) -> None:
        """Drop every open connection without a word, but go on listening."""
        for relay in self._relays:
            relay.cancel()

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        # A task of our own: streams log the cancellation of theirs as an error.
        relay = asyncio.get_running_loop().create_task(self._relay(reader, writer))
        self._relays.add(relay)
        relay.add_done_callback(self._relays.discard)

    async def _relay(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        ways: set[asyncio.Task[None]] = set()
        writers = [writer]
        try:
            inner_reader, inner_writer = await asyncio.open_unix_connection(self._inner_path)
            writers.append(inner_writer)
            for way in relay_requests(reader, inner_writer), relay_bytes(inner_reader, writer):
                ways.add(asyncio.get_running_loop().create_task(way))
            await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in ways:
                task.cancel()
            for end in writers:
                end.transport.abort()
            await asyncio.gather(*ways, return_exceptions=True)


async def relay_bytes(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Pass everything on until the end of the stream."""
    with contextlib.suppress(ConnectionError):
        while chunk := await reader.read(65536):
            writer.write(chunk)
            await writer.drain()


async def relay_requests(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Pass a client's frames on, adding its authority to each request's headers."""
    authority = ""
    with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
        writer.write(await reader.readexactly(_PREFACE_BYTES))
        while True:
            head = await reader.readexactly(_FRAME_HEAD_BYTES)
            kind, flags, stream = head[3], head[4], head[5:]
            payload = await reader.readexactly(int.from_bytes(head[:3]))
            if kind == _HEADERS and flags & _END_HEADERS and not flags & _PADDED:
                block = payload[5:] if flags & _PRIORITY else payload
                # Later requests of a connection refer to the first one's entry.
                authority = find_authority(block) or authority
                payload += literal(AUTHORITY_KEY, authority)
            writer.write(len(payload).to_bytes(3) + bytes((kind, flags)) + stream + payload)
            await writer.drain()


def find_authority(block: bytes) -> str:
    """Find the literal `:authority` in a header block.

    Args:
        block: an HPACK block as gRPC's C core writes it, without Huffman coding.

    Returns:
        The authority; empty when the block only refers to an earlier one. A
        Huffman-coded one comes out as `HUFFMAN_CODED`: nobody's real authority.
    """
    at = 0
    while at < len(block):
        first = block[at]
        if first & 0x80:  # An entry of a table, name and value.
            _, at = _integer(block, at, 7)
            continue
        if first & 0xE0 == 0x20:  # A new size for the table.
            _, at = _integer(block, at, 5)
            continue
        index, at = _integer(block, at, 6 if first & 0x40 else 4)
        is_authority = index == _AUTHORITY_INDEX
        if index == 0:
            size, at = _integer(block, at, 7)
            is_authority = block[at : at + size] == b":authority"
            at += size
        huffman = block[at] & 0x80
        size, at = _integer(block, at, 7)
        if is_authority:
            return HUFFMAN_CODED if huffman else block[at : at + size].decode()
        at += size
    return ""


def literal(name: str, value: str) -> bytes:
    """Write a header that no table remembers, so that both ends stay in step."""
    return b"\x00" + _string(name.encode()) + _string(value.encode())


def _string(data: bytes) -> bytes:
    size = len(data)
    if size < 0x7F:
        return bytes((size,)) + data
    rest, head = size - 0x7F, bytearray((0x7F,))
    while rest >= 0x80:
        head.append(rest & 0x7F | 0x80)
        rest >>= 7
    return bytes((*head, rest)) + data


def _integer(block: bytes, at: int, prefix_bits: int) -> tuple[int, int]:
    """Read an integer of RFC 7541 section 5.1; return it and the place behind it."""
    mask = (1 << prefix_bits) - 1
    value = block[at] & mask
    at += 1
    if value < mask:
        return value, at
    shift = 0
    while True:
        octet = block[at]
        at += 1
        value += (octet & 0x7F) << shift
        shift += 7
        if not octet & 0x80:
            return value, at
