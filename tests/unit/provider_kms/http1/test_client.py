import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from provider_kms.http1 import client, connection
from provider_kms.model import site

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
ASK = client.Request("GET", "/x", {"A": "b"})
Handler = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


class Server:
    """A server that answers each request with the next of its scripted texts.

    A text of None closes the connection instead.
    """

    def __init__(self, *answers: bytes | None) -> None:
        self.answers = list(answers)
        self.heads: list[bytes] = []
        self.bodies: list[bytes] = []
        self.connections = 0
        self.close_after = False
        self.hold = asyncio.Event()
        self.hold.set()
        self.arrived = asyncio.Semaphore(0)
        self.serving: list[tuple[asyncio.Task[Any], asyncio.StreamWriter]] = []

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        task = asyncio.current_task()
        assert task is not None
        self.serving.append((task, writer))
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                self.heads.append(head)
                self.arrived.release()
                for line in head.split(b"\r\n"):
                    if line.lower().startswith(b"content-length:"):
                        self.bodies.append(await reader.readexactly(int(line[15:])))
                await self.hold.wait()
                answer = self.answers.pop(0)
                if answer is None:
                    break
                writer.write(answer)
                await writer.drain()
                if self.close_after:
                    break
        writer.close()

    async def end(self) -> None:
        for _, writer in self.serving:
            writer.transport.abort()
        await asyncio.gather(*(task for task, _ in self.serving))


@contextlib.asynccontextmanager
async def running(*answers: bytes | None) -> AsyncIterator[tuple[Server, client.Client]]:
    script = Server(*answers)
    listener = await asyncio.start_server(script.serve, "127.0.0.1", 0)
    port = listener.sockets[0].getsockname()[1]
    where = site.Site("http", "127.0.0.1", port, "/api")
    asking = client.Client(where, None, user_agent="test/1")
    try:
        yield script, asking
    finally:
        asking.sweep(idle_s=0.0)
        listener.close()
        script.hold.set()
        await script.end()


async def ask(answer: bytes, *, close: bool = False) -> client.Response:
    async with running(answer) as (script, asking):
        script.close_after = close
        return await asking.exchange(ASK, 3.0)


async def test_a_request_as_it_is_sent() -> None:
    async with running(OK) as (script, asking):
        request = client.Request("POST", "/api/x?y=1", {"Accept": "a/b"}, b'{"a": 1}')

        found = await asking.exchange(request, 3.0)

    assert (found.status, found.body) == (200, b"ok")
    host = script.heads[0].split(b"Host: ")[1].split(b"\r\n")[0]
    assert script.heads[0] == (
        b"POST /api/x?y=1 HTTP/1.1\r\nHost: " + host + b"\r\nUser-Agent: test/1\r\n"
        b"Accept-Encoding: identity\r\nAccept: a/b\r\nContent-Length: 8\r\n\r\n"
    )
    assert script.bodies == [b'{"a": 1}']


@pytest.mark.parametrize(
    ("answer", "body"),
    [
        (b"HTTP/1.1 200\r\ncontent-length:0\r\n\r\n", b""),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 3 \r\nX:\t y\t\r\n\r\nabc", b"abc"),
        (
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
            b"3\r\nabc\r\n0A;ext=1\r\n0123456789\r\n0\r\nTrailer: x\r\n\r\n",
            b"abc0123456789",
        ),
        (b"HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\n\r\n", b""),
        (b"HTTP/1.1 204 No Content\r\n\r\n", b""),
        (b"HTTP/1.1 100 Continue\r\n\r\n" + OK, b"ok"),
        (b"HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n" + OK, b"ok"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 2\r\n\r\nok", b"ok"),
        (b"HTTP/1.1 200 OK\r\nContent-Encoding: identity\r\nContent-Length: 2\r\n\r\nok", b"ok"),
    ],
)
async def test_answers(answer: bytes, body: bytes) -> None:
    assert (await ask(answer)).body == body


async def test_an_answer_that_ends_with_the_connection() -> None:
    found = await ask(b"HTTP/1.1 200 OK\r\n\r\nall of it", close=True)

    assert found.body == b"all of it"


async def test_headers_are_found_in_lower_case() -> None:
    found = await ask(
        b'HTTP/1.1 200 OK\r\nETag: "x"\r\nRETRY-AFTER: 5\r\nContent-Length: 0\r\n\r\n'
    )

    assert found.headers["etag"] == '"x"'
    assert found.headers["retry-after"] == "5"


@pytest.mark.parametrize(
    "answer",
    [
        b"nonsense\r\n\r\n",
        b"HTTP/2 200 OK\r\n\r\n",
        b"HTTP/1.1 999 No\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nno colon\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nA: b\r\n folded\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nBad Name: b\r\n\r\n",
        b"HTTP/1.1 200 OK\r\n: b\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nA: b\0c\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nA: b\rc\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nA: b\nc\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\nok",
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nz\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nabc\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n" + b"a: b\r\n" * 70,
        b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 2\r\n\r\nok",
        b"HTTP/1.1 100 Continue\r\n\r\n" * 6,
        b"HTTP/1.1 200 OK\r\nA: " + b"b" * 70_000 + b"\r\n\r\n",
    ],
    ids=range(21),
)
async def test_answers_that_are_none(answer: bytes) -> None:
    with pytest.raises(client.Broken):
        await ask(answer)


@pytest.mark.parametrize("end", [b"\0", b"x"])
async def test_a_header_of_blanks_costs_no_time(end: bytes) -> None:
    head = b"HTTP/1.1 200 OK\r\nA: x" + b" " * 30_000 + end + b"\r\nContent-Length: 0\r\n\r\n"
    began = time.process_time()

    with contextlib.suppress(client.Broken):
        await ask(head)

    assert time.process_time() - began < 5


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"HTTP/1.1 200 OK\r\nContent-",
        b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nshort",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nab",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n",
    ],
    ids=range(5),
)
async def test_answers_that_are_cut_off(answer: bytes) -> None:
    with pytest.raises(client.Broken, match="cut off"):
        await ask(answer, close=True)


@pytest.mark.parametrize(
    "head",
    [
        b"Content-Length: %d\r\n\r\n" % (client.LARGEST_BODY_BYTES + 1),
        b"Transfer-Encoding: chunked\r\n\r\n%x\r\n" % (client.LARGEST_BODY_BYTES + 1),
    ],
)
async def test_answers_that_are_too_large(head: bytes) -> None:
    with pytest.raises(client.TooLarge):
        await ask(b"HTTP/1.1 200 OK\r\n" + head)


async def test_an_endless_answer_is_too_large() -> None:
    with pytest.raises(client.TooLarge):
        await ask(b"HTTP/1.1 200 OK\r\n\r\n" + b"x" * (client.LARGEST_BODY_BYTES + 1), close=True)


@settings(max_examples=40, deadline=None)
@given(st.binary(max_size=60), st.booleans())
async def test_any_bytes_end_in_an_answer_or_a_fault(tail: bytes, headed: bool) -> None:
    answer = (b"HTTP/1.1 200 OK\r\n" if headed else b"") + tail
    with contextlib.suppress(client.Broken, client.TooLarge):
        await ask(answer, close=True)


class TestConnections:
    async def test_are_kept(self) -> None:
        async with running(OK, OK, OK) as (script, asking):
            for _ in range(3):
                await asking.exchange(ASK, 3.0)

            assert (script.connections, asking.idle) == (1, 1)

    @pytest.mark.parametrize(
        "answer",
        [
            b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 0\r\n\r\n",
            b"HTTP/1.0 200 OK\r\nContent-Length: 0\r\n\r\n",
        ],
    )
    async def test_are_closed_when_the_server_says_so(self, answer: bytes) -> None:
        async with running(answer, OK) as (script, asking):
            await asking.exchange(ASK, 3.0)
            assert asking.idle == 0
            await asking.exchange(ASK, 3.0)
            assert script.connections == 2

    async def test_that_were_closed_meanwhile_are_replaced(self) -> None:
        async with running(OK, None, OK) as (script, asking):
            await asking.exchange(ASK, 3.0)

            assert (await asking.exchange(ASK, 3.0)).body == b"ok"
            assert script.connections == 2

    @pytest.mark.parametrize(
        "unasked",
        [
            b"HTTP/1.1 408 Request Timeout\r\nConnection: close\r\nContent-Length: 0\r\n\r\n",
            b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nother",
        ],
        ids=["goodbye", "an answer to nobody"],
    )
    async def test_on_which_something_came_unasked_are_replaced(self, unasked: bytes) -> None:
        async with running(OK + unasked, OK) as (script, asking):
            await asking.exchange(ASK, 3.0)

            assert (await asking.exchange(ASK, 3.0)).body == b"ok"
            assert script.connections == 2

    async def test_that_were_idle_for_too_long_are_replaced(self) -> None:
        late = b"HTTP/1.1 408 Request Timeout\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"
        async with running(OK, late, OK) as (script, asking):
            await asking.exchange(ASK, 3.0)

            assert (await asking.exchange(ASK, 3.0)).body == b"ok"
            assert script.connections == 2

    async def test_are_all_given_up_when_one_breaks(self) -> None:
        async with running(OK, OK, b"HTTP/1.1 20") as (script, asking):
            script.hold.clear()
            both = [asyncio.ensure_future(asking.exchange(ASK, 3.0)) for _ in range(2)]
            for _ in both:
                await script.arrived.acquire()
            script.hold.set()
            await asyncio.gather(*both)
            assert asking.idle == 2
            script.close_after = True

            with pytest.raises(client.Broken):
                await asking.exchange(ASK, 3.0)
            assert asking.idle == 0

    async def test_new_ones_that_are_closed_are_a_fault(self) -> None:
        async with running(None, OK) as (_, asking):
            with pytest.raises(client.Broken, match="cut off"):
                await asking.exchange(ASK, 3.0)

    async def test_are_bounded(self) -> None:
        count = client.MOST_CONNECTIONS + 5
        async with running(*[OK] * count) as (script, asking):
            script.hold.clear()
            waiting = [asyncio.ensure_future(asking.exchange(ASK, 3.0)) for _ in range(count)]
            for _ in range(client.MOST_CONNECTIONS):
                await script.arrived.acquire()
            assert asking.busy == client.MOST_CONNECTIONS
            script.hold.set()
            await asyncio.gather(*waiting)

            assert script.connections == client.MOST_CONNECTIONS
            assert asking.busy == 0

    async def test_are_swept_when_idle(self) -> None:
        async with running(OK) as (_, asking):
            await asking.exchange(ASK, 3.0)
            asking.sweep()
            assert asking.idle == 1
            asking.sweep(idle_s=0.0)
            assert asking.idle == 0

    async def test_of_a_closed_client_are_not_kept(self) -> None:
        async with running(OK) as (script, asking):
            script.hold.clear()
            asked = asyncio.ensure_future(asking.exchange(ASK, 3.0))
            await script.arrived.acquire()
            asking.close()
            script.hold.set()

            assert (await asked).body == b"ok"
            assert asking.idle == 0

    async def test_of_a_caller_who_leaves_are_closed(self) -> None:
        async with running(OK) as (script, asking):
            script.hold.clear()
            leaving = asyncio.ensure_future(asking.exchange(ASK, 3.0))
            await script.arrived.acquire()
            leaving.cancel()
            with pytest.raises(asyncio.CancelledError):
                await leaving

            assert (asking.busy, asking.idle) == (0, 0)


async def test_the_time_is_kept() -> None:
    async with running(OK) as (script, asking):
        script.hold.clear()
        with pytest.raises(TimeoutError):
            await asking.exchange(ASK, 0.05)


async def test_nobody_listens() -> None:
    async with running() as (_, asking):
        pass
    with pytest.raises(connection.Unreachable, match="no connection"):
        await asking.exchange(ASK, 3.0)


async def test_secrets_are_not_seen() -> None:
    request: Any = client.Request("POST", "/x", {"Authorization": "hush"}, b"hush")

    assert "hush" not in repr(request)
    assert "hush" not in repr(client.Response(200, {}, b"hush"))
