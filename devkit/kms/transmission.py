"""Sending an answer over a connection, whole or broken.

Source: RFC 9112 §4 (status line), §6.3 (a body shorter than its Content-Length is incomplete), §9.3
(persistence).
"""

import asyncio
import email.utils
import functools
import http.client
import socket
import struct
import time

from devkit.kms import messages

_BODILESS = (204, 304)


async def send(
    transport: asyncio.Transport, method: str, response: messages.Response, *, keep: bool
) -> None:
    """Send an answer the way its delivery says.

    Args:
        method: of the request; HEAD is answered without the body.
        keep: leave the connection open for another request; else it is closed after the answer.
    """
    delivery = response.delivery
    if delivery.reset:
        reset(transport)
        return
    head = _head(response, keep=keep)
    body = b"" if method == "HEAD" or response.status in _BODILESS else response.body
    if delivery.truncate_after_bytes is None and delivery.chunk_bytes is None:
        transport.write(head + body)
    else:
        transport.write(head)
        body = body[: delivery.truncate_after_bytes]
        step = delivery.chunk_bytes or max(1, len(body))
        for start in range(0, len(body), step):
            if delivery.chunk_interval_s > 0:
                await asyncio.sleep(delivery.chunk_interval_s)
            transport.write(body[start : start + step])
    if not keep or delivery.truncate_after_bytes is not None:
        transport.close()


def reset(transport: asyncio.Transport) -> None:
    """Close a connection with RST instead of FIN."""
    connection = transport.get_extra_info("socket")
    # Lingering for no time at all is what makes the kernel send RST.
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    transport.abort()


def _head(response: messages.Response, *, keep: bool) -> bytes:
    phrase = http.client.responses.get(response.status, "Unknown")
    lines = [
        f"HTTP/1.1 {response.status} {phrase}",
        f"date: {_date(int(time.time()))}",
        f"connection: {'keep-alive' if keep else 'close'}",
        *(f"{name}: {value}" for name, value in response.headers.items()),
    ]
    if response.status not in _BODILESS and "content-length" not in response.headers:
        lines.append(f"content-length: {len(response.body)}")
    return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1")


@functools.lru_cache(maxsize=1)
def _date(second: int) -> str:
    return email.utils.formatdate(second, usegmt=True)
