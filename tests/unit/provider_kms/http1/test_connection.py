import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator

import pytest

from devkit.kms import tls
from provider_kms.http1 import connection, trust
from provider_kms.model import site


@contextlib.asynccontextmanager
async def listening(handler: object, **more: object) -> AsyncIterator[int]:
    server = await asyncio.start_server(handler, "127.0.0.1", 0, **more)  # type: ignore[arg-type]
    yield server.sockets[0].getsockname()[1]
    server.close()


async def hello(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(b"hello")
    with contextlib.suppress(ConnectionError):
        await reader.read()
    writer.close()


@pytest.fixture(scope="module")
def authority() -> tls.Authority:
    return tls.Authority()


async def test_tls_with_a_private_authority(authority: tls.Authority) -> None:
    server = authority.issue().server_context()
    async with listening(hello, ssl=server) as port:
        where = site.Site("https", "localhost", port, "/api")

        made = await connection.open_to(where, trust.context("", authority.certificate_pem), None)

        assert await made.reader.readexactly(5) == b"hello"
        assert made.alive()
        made.abort()
        await asyncio.sleep(0)
        assert not made.alive()


@pytest.mark.parametrize(
    ("hosts", "addresses", "believed"),
    [(("localhost",), ("127.0.0.1",), False), (("other",), ("127.0.0.9",), True)],
    ids=["authority", "name"],
)
async def test_a_certificate_that_does_not_verify(
    authority: tls.Authority, hosts: tuple[str, ...], addresses: tuple[str, ...], believed: bool
) -> None:
    server = authority.issue(hosts, addresses).server_context()
    context = trust.context("", authority.certificate_pem if believed else "")
    async with listening(hello, ssl=server) as port:
        where = site.Site("https", "localhost", port, "/api")

        with pytest.raises(connection.CertificateRefused):
            await connection.open_to(where, context, None)


async def test_no_tls_at_the_other_end() -> None:
    async with listening(hello) as port:
        where = site.Site("https", "127.0.0.1", port, "/api")

        with pytest.raises(connection.Unreachable, match="TLS failed"):
            await connection.open_to(where, trust.context("", ""), None)


async def test_a_name_that_does_not_exist() -> None:
    with pytest.raises(connection.Unreachable, match="name is not found") as caught:
        await connection.open_to(site.Site("http", "kms.invalid", 80, "/api"), None, None)
    assert caught.value.final


async def test_a_caller_who_leaves_leaves_no_connection(authority: tls.Authority) -> None:
    closed = asyncio.Event()

    async def wait(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError):
            await reader.read()
        closed.set()
        writer.close()

    server = authority.issue().server_context()
    context = trust.context("", authority.certificate_pem)
    async with listening(wait, ssl=server) as port:
        where = site.Site("https", "localhost", port, "/api")
        leaving = asyncio.ensure_future(connection.open_to(where, context, None))
        await asyncio.sleep(0)
        leaving.cancel()
        with pytest.raises(asyncio.CancelledError):
            await leaving

        await closed.wait()


class TestProxy:
    SITE = site.Site("https", "kms.example.com", 443, "/api")

    @pytest.mark.parametrize(
        ("environment", "found"),
        [
            ({}, None),
            ({"HTTPS_PROXY": "http://proxy:3128"}, ("proxy", 3128)),
            ({"https_proxy": "proxy:3128/"}, ("proxy", 3128)),
            ({"HTTPS_PROXY": "http://[::1]:3128"}, ("::1", 3128)),
            ({"HTTPS_PROXY": "http://proxy"}, ("proxy", 80)),
            ({"HTTPS_PROXY": "socks5://proxy:1"}, None),
            ({"HTTPS_PROXY": "http://proxy:1", "NO_PROXY": "*"}, None),
            ({"HTTPS_PROXY": "http://proxy:1", "NO_PROXY": "kms.example.com"}, None),
            ({"HTTPS_PROXY": "http://proxy:1", "NO_PROXY": "x, .example.com"}, None),
            ({"HTTPS_PROXY": "http://proxy:1", "no_proxy": "example.com:443"}, None),
            ({"HTTPS_PROXY": "http://proxy:1", "NO_PROXY": "ample.com,kms"}, ("proxy", 1)),
        ],
    )
    def test_from_the_environment(
        self, environment: dict[str, str], found: tuple[str, int] | None
    ) -> None:
        assert connection.proxy_for(self.SITE, environment) == found

    @pytest.mark.parametrize(
        "where",
        [
            site.Site("http", "kms.example.com", 80, "/api"),
            site.Site("https", "localhost", 443, "/api"),
            site.Site("https", "127.0.0.1", 443, "/api"),
        ],
    )
    def test_not_for_plain_http_nor_for_this_machine(self, where: site.Site) -> None:
        assert connection.proxy_for(where, {"HTTPS_PROXY": "http://proxy:1"}) is None

    async def test_tls_goes_through_a_tunnel(self, authority: tls.Authority) -> None:
        asked: list[bytes] = []

        async def proxy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            asked.append(await reader.readuntil(b"\r\n\r\n"))
            inner, outer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(b"HTTP/1.1 200 Connection established\r\n\r\n")

            async def pump(source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
                with contextlib.suppress(ConnectionError):
                    while data := await source.read(4096):
                        sink.write(data)
                sink.close()

            await asyncio.gather(pump(reader, outer), pump(inner, writer))

        context = trust.context("", authority.certificate_pem)
        server = authority.issue(("kms.test",)).server_context()
        async with listening(hello, ssl=server) as port, listening(proxy) as proxy_port:
            where = site.Site("https", "kms.test", 8443, "/api")
            made = await connection.open_to(where, context, ("127.0.0.1", proxy_port))
            assert await made.reader.readexactly(5) == b"hello"
            made.abort()
            await asyncio.sleep(0.05)

        assert asked == [b"CONNECT kms.test:8443 HTTP/1.1\r\nHost: kms.test:8443\r\n\r\n"]

    @pytest.mark.parametrize("reply", [b"HTTP/1.1 407 No\r\n\r\n", b"nonsense\r\n\r\n", b""])
    async def test_a_proxy_that_refuses(self, reply: bytes) -> None:
        async def proxy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await reader.readuntil(b"\r\n\r\n")
            writer.write(reply)
            writer.close()

        async with listening(proxy) as port:
            with pytest.raises(connection.Unreachable, match="proxy does not connect"):
                await connection.open_to(self.SITE, trust.context("", ""), ("127.0.0.1", port))


def test_contexts_verify() -> None:
    context = trust.context("", "")

    assert context.verify_mode is ssl.CERT_REQUIRED
    assert context.check_hostname
