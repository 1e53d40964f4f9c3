"""Sending an answer, whole or broken.

Source: RFC 9112 §6.3 (a body shorter than its Content-Length is incomplete).
"""

import asyncio
import socket
import struct

from aiohttp import web

from devkit.kms import http


async def send(request: web.BaseRequest, response: http.Response) -> web.StreamResponse:
    """Send an answer the way its delivery says; returns what the web server wants to have back."""
    delivery = response.delivery
    if delivery.reset:
        return await _reset(request)
    if delivery.truncate_after_bytes is None and delivery.chunk_bytes is None:
        return web.Response(status=response.status, headers=response.headers, body=response.body)
    stream = web.StreamResponse(status=response.status, headers=response.headers)
    stream.content_length = len(response.body)
    await stream.prepare(request)
    body = response.body[: delivery.truncate_after_bytes]
    step = delivery.chunk_bytes or max(1, len(body))
    for start in range(0, len(body), step):
        await asyncio.sleep(delivery.chunk_interval_s)
        await stream.write(body[start : start + step])
    if delivery.truncate_after_bytes is not None:
        _transport(request).close()
    return stream


async def _reset(request: web.BaseRequest) -> web.StreamResponse:
    transport = _transport(request)
    connection = transport.get_extra_info("socket")
    # Lingering for no time at all makes close() send RST instead of FIN.
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    transport.abort()
    return web.Response()


def _transport(request: web.BaseRequest) -> asyncio.WriteTransport:
    if request.transport is None:
        raise asyncio.CancelledError
    assert isinstance(request.transport, asyncio.WriteTransport)
    return request.transport
