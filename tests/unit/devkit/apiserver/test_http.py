import asyncio
import contextlib
from collections.abc import AsyncIterator

import pytest

from devkit.apiserver import http


def echo(exchange: http.Exchange) -> None:
    request = exchange.request
    text = f"{request.method} {request.path} {request.query} ".encode() + request.body
    exchange.send(http.Response(200, text, "text/plain"))


class Server:
    """A server on loopback whose exchanges are answered by `serve`."""

    def __init__(self) -> None:
        self.serve: http.Serve = echo
        self.connections = http.Connections()
        self.port = 0

    async def send(self, data: bytes, *, until_closed: bool = False) -> bytes:
        """Send bytes on a new connection; return what comes back within a moment."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        try:
            writer.write(data)
            if until_closed:
                return await reader.read()
            received = await reader.readuntil(b"\r\n\r\n")
            length = int(received.lower().split(b"content-length: ")[1].split(b"\r\n")[0])
            return received + await reader.readexactly(length)
        finally:
            writer.close()
            with contextlib.suppress(ConnectionError):
                await writer.wait_closed()


@pytest.fixture
async def server() -> AsyncIterator[Server]:
    made = Server()
    loop = asyncio.get_running_loop()
    listening = await loop.create_server(
        lambda: http.Connection(lambda exchange: made.serve(exchange), made.connections),
        "127.0.0.1",
        0,
    )
    made.port = listening.sockets[0].getsockname()[1]
    yield made
    listening.close()
    made.connections.abort()
    await made.connections.closed()


async def test_a_request_and_its_answer(server: Server) -> None:
    answer = await server.send(b"GET /a%20b?x=1&y= HTTP/1.1\r\nHost: h\r\n\r\n")
    head, _, body = answer.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\n")
    assert body == b"GET /a b {'x': '1', 'y': ''} "


async def test_bodies_by_length_and_in_chunks(server: Server) -> None:
    answer = await server.send(b"POST / HTTP/1.1\r\nContent-Length: 5\r\n\r\nhello")
    assert answer.endswith(b" hello")
    answer = await server.send(
        b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n3;x=y\r\nhel\r\n2\r\nlo\r\n0\r\n\r\n"
    )
    assert answer.endswith(b" hello")


async def test_a_request_in_pieces(server: Server) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
    for piece in (b"POST / HT", b"TP/1.1\r\nContent-Le", b"ngth: 5\r\n\r", b"\nhel", b"lo"):
        writer.write(piece)
        await writer.drain()
        await asyncio.sleep(0)
    assert (await reader.readuntil(b"hello")).startswith(b"HTTP/1.1 200")
    writer.close()
    await writer.wait_closed()


async def test_requests_sent_ahead_are_answered_in_order(server: Server) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
    writer.write(b"".join(b"GET /%d HTTP/1.1\r\n\r\n" % number for number in range(300)))
    for number in range(300):
        await reader.readuntil(b"GET /%d {} " % number)
    writer.close()
    await writer.wait_closed()


@pytest.mark.parametrize(
    "head", [b"GET / HTTP/1.1\r\nConnection: close\r\n\r\n", b"GET / HTTP/1.0\r\n\r\n"]
)
async def test_a_connection_that_shall_close(server: Server, head: bytes) -> None:
    answer = await server.send(head, until_closed=True)
    assert answer.startswith(b"HTTP/1.1 200")


@pytest.mark.parametrize(
    "data",
    [
        b"nonsense\r\n\r\n",
        b"GET / HTTP/2.0\r\n\r\n",
        b"GET / HTTP/1.1\r\nno colon\r\n\r\n",
        b"POST / HTTP/1.1\r\nContent-Length: x\r\n\r\n",
        b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\n",
        b"GET /" + b"x" * 70_000,
    ],
)
async def test_bytes_that_are_no_request(server: Server, data: bytes) -> None:
    answer = await server.send(data, until_closed=True)
    assert answer.startswith(b"HTTP/1.1 400 Bad Request")


async def test_a_client_may_ask_before_it_sends(server: Server) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
    writer.write(b"POST / HTTP/1.1\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n")
    assert await reader.readuntil(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
    writer.write(b"hello")
    await reader.readuntil(b" hello")
    writer.close()
    await writer.wait_closed()


async def test_a_head_request_has_no_body(server: Server) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
    writer.write(b"HEAD /x HTTP/1.1\r\n\r\nGET /y HTTP/1.1\r\n\r\n")
    first = await reader.readuntil(b"\r\n\r\n")
    assert b"Content-Length: 11" in first
    assert (await reader.readuntil(b"GET /y {} ")).startswith(b"HTTP/1.1 200")
    writer.close()
    await writer.wait_closed()


async def test_a_stream(server: Server) -> None:
    codes: list[int] = []

    def serve(exchange: http.Exchange) -> None:
        exchange.on_code = codes.append
        exchange.start_stream("application/json", [("X-Y", "z")])
        exchange.write(b"one")
        loop = asyncio.get_running_loop()
        loop.call_soon(exchange.write, b"two")
        loop.call_soon(exchange.finish_stream)

    server.serve = serve
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
    writer.write(b"GET / HTTP/1.1\r\n\r\n")
    head = await reader.readuntil(b"\r\n\r\n")
    assert b"Transfer-Encoding: chunked\r\nX-Y: z" in head
    assert await reader.readuntil(b"0\r\n\r\n") == b"3\r\none\r\n3\r\ntwo\r\n0\r\n\r\n"
    assert codes == [200]
    server.serve = echo
    writer.write(b"GET /again HTTP/1.1\r\n\r\n")
    await reader.readuntil(b"GET /again {} ")
    writer.close()
    await writer.wait_closed()


async def test_a_client_that_leaves(server: Server) -> None:
    left = asyncio.Event()
    codes: list[int] = []

    def serve(exchange: http.Exchange) -> None:
        exchange.on_code = codes.append
        exchange.on_closed = left.set
        waiting.set_result(exchange)

    server.serve = serve
    waiting: asyncio.Future[http.Exchange] = asyncio.get_running_loop().create_future()
    _, writer = await asyncio.open_connection("127.0.0.1", server.port)
    writer.write(b"GET / HTTP/1.1\r\n\r\n")
    exchange = await waiting
    writer.close()
    await writer.wait_closed()
    await left.wait()
    assert exchange.peer_gone
    assert codes == [0]
    exchange.send(http.Response(200, b"too late"))
    assert codes == [0]


async def test_an_answer_that_is_never_given(server: Server) -> None:
    server.serve = lambda exchange: exchange.abort()
    with pytest.raises((ConnectionError, asyncio.IncompleteReadError)):
        await server.send(b"GET / HTTP/1.1\r\n\r\n")


def test_repeated_headers_are_joined() -> None:
    request = http.parse_head(b"GET / HTTP/1.1\r\nAccept: a\r\naccept:  b ")
    assert request.headers == {"accept": "a, b"}
