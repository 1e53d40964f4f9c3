import asyncio
import contextlib
from collections.abc import AsyncIterator

import pytest

from provider_kms import health


class Bench:
    """A health server and what it shall say."""

    def __init__(self) -> None:
        self.ready = False
        self.server = health.Health(lambda: self.ready, lambda: b"metric 1\n")
        self.port = 0

    async def say(self, text: bytes) -> bytes:
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        writer.write(text)
        answer = await reader.read()
        writer.close()
        await writer.wait_closed()
        return answer

    async def get(self, path: str, method: str = "GET") -> tuple[str, bytes]:
        head, _, body = (await self.say(f"{method} {path} HTTP/1.1\r\n\r\n".encode())).partition(
            b"\r\n\r\n"
        )
        return head.split(b"\r\n")[0].decode(), body


@pytest.fixture
async def bench() -> AsyncIterator[Bench]:
    made = Bench()
    made.port = await made.server.start("127.0.0.1", 0)
    yield made
    await made.server.stop()


async def test_ready_follows_the_socket(bench: Bench) -> None:
    assert (await bench.get("/health/ready"))[0] == "HTTP/1.1 503 Service Unavailable"
    bench.ready = True
    assert await bench.get("/health/ready") == ("HTTP/1.1 200 OK", b"ok\n")


@pytest.mark.parametrize(
    ("path", "line", "body"),
    [
        ("/health/live", "HTTP/1.1 200 OK", b"ok\n"),
        ("/health/live/", "HTTP/1.1 200 OK", b"ok\n"),
        ("/health/live?x=1", "HTTP/1.1 200 OK", b"ok\n"),
        ("/metrics", "HTTP/1.1 200 OK", b"metric 1\n"),
        ("/", "HTTP/1.1 404 Not Found", b"not found\n"),
        ("/health", "HTTP/1.1 404 Not Found", b"not found\n"),
    ],
)
async def test_paths(bench: Bench, path: str, line: str, body: bytes) -> None:
    assert await bench.get(path) == (line, body)


async def test_head_has_no_body(bench: Bench) -> None:
    assert await bench.get("/metrics", "HEAD") == ("HTTP/1.1 200 OK", b"")


@pytest.mark.parametrize(
    "text", [b"POST / HTTP/1.1\r\n\r\n", b"GET  HTTP/1.1\r\n\r\n", b"x\r\n\r\n"]
)
async def test_anything_else_is_not_allowed(bench: Bench, text: bytes) -> None:
    assert (await bench.say(text)).startswith(b"HTTP/1.1 405 ")


async def test_endless_headers_get_no_answer(bench: Bench) -> None:
    assert await bench.say(b"GET / HTTP/1.1\r\n" + b"x" * 20_000) == b""


async def test_a_silent_client_does_not_hold_up_the_end(bench: Bench) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", bench.port)
    assert await bench.get("/health/live") == ("HTTP/1.1 200 OK", b"ok\n")

    await bench.server.stop()

    with contextlib.suppress(ConnectionError):
        assert await reader.read() == b""
    writer.close()


async def test_silent_clients_do_not_keep_a_probe_out(bench: Bench) -> None:
    silent = [await asyncio.open_connection("127.0.0.1", bench.port) for _ in range(100)]

    assert await bench.get("/health/live") == ("HTTP/1.1 200 OK", b"ok\n")

    for _, writer in silent:
        writer.close()


async def test_stopping_what_was_never_started() -> None:
    await Bench().server.stop()
