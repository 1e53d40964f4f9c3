import asyncio
import contextlib
import socket
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
            ({"HTTPS_PROXY": "http://proxy:1", "NO_PROXY": "*"}, None),
            ({"HTTPS_PROXY": "http://proxy:1", "NO_PROXY": "kms.example.com"}, None),
            ({"HTTPS_PROXY": "http://proxy:1", "NO_PROXY": "x, .example.com"}, None),
            ({"HTTPS_PROXY": "http://proxy:1", "no_proxy": "example.com:443"}, None),
            ({"HTTPS_PROXY": "http://proxy:1", "NO_PROXY": "ample.com,kms"}, ("proxy", 1)),
            ({"HTTPS_PROXY": "http://proxy:1", "NO_PROXY": "10.0.0.0/8"}, ("proxy", 1)),
        ],
    )
    def test_from_the_environment(
        self, environment: dict[str, str], found: tuple[str, int] | None
    ) -> None:
        proxy = None if found is None else connection.Proxy(*found)

        assert connection.proxy_for(self.SITE, environment) == proxy

    @pytest.mark.parametrize("text", ["socks5://u:hidden@proxy:1", "https://proxy", "http://a b"])
    def test_one_that_cannot_be_used_is_refused(self, text: str) -> None:
        with pytest.raises(ValueError, match="HTTPS_PROXY must be") as caught:
            connection.check_proxy({"https_proxy": text})
        assert "hidden" not in str(caught.value)

    @pytest.mark.parametrize("text", ["", "proxy:3128", "http://u:p@proxy"])
    def test_one_that_can_be_used_is_not(self, text: str) -> None:
        connection.check_proxy({"HTTPS_PROXY": text})

    @pytest.mark.parametrize(
        ("host", "without", "direct"),
        [
            ("10.1.2.3", "10.0.0.0/8", True),
            ("10.1.2.3", "x,10.1.2.3/32", True),
            ("11.1.2.3", "10.0.0.0/8", False),
            ("10.1.2.3", "10.1.2.3", True),
            ("fd00::1", "fd00::/8", True),
            ("fd00::1", "[fd00::1]:443", True),
            ("fd00::1", "10.0.0.0/8, fe80::/10, 10.0.0.1/40, /", False),
        ],
    )
    def test_addresses_that_do_without(self, host: str, without: str, direct: bool) -> None:
        where = site.Site("https", host, 443, "/api")
        environment = {"HTTPS_PROXY": "http://proxy:1", "NO_PROXY": without}

        assert (connection.proxy_for(where, environment) is None) is direct

    @pytest.mark.parametrize(
        ("user", "sent"),
        [("me:pass", "bWU6cGFzcw=="), ("me:p%40s%3a", "bWU6cEBzOg=="), ("me", "bWU6")],
    )
    def test_with_credentials(self, user: str, sent: str) -> None:
        proxy = connection.proxy_for(self.SITE, {"HTTPS_PROXY": f"http://{user}@proxy:3128"})

        assert proxy is not None
        assert (proxy.host, proxy.port, proxy.authorization) == ("proxy", 3128, f"Basic {sent}")
        assert sent not in repr(proxy)

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
            through = connection.Proxy("127.0.0.1", proxy_port, "Basic eA==")
            made = await connection.open_to(where, context, through)
            assert await made.reader.readexactly(5) == b"hello"
            made.abort()
            await asyncio.sleep(0.05)

        assert asked == [
            b"CONNECT kms.test:8443 HTTP/1.1\r\nHost: kms.test:8443\r\n"
            b"Proxy-Authorization: Basic eA==\r\n\r\n"
        ]

    @pytest.mark.parametrize("reply", [b"HTTP/1.1 407 No\r\n\r\n", b"nonsense\r\n\r\n", b""])
    async def test_a_proxy_that_refuses(self, reply: bytes) -> None:
        async def proxy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await reader.readuntil(b"\r\n\r\n")
            writer.write(reply)
            writer.close()

        async with listening(proxy) as port:
            through = connection.Proxy("127.0.0.1", port)
            with pytest.raises(connection.Unreachable, match="proxy does not connect"):
                await connection.open_to(self.SITE, trust.context("", ""), through)

    async def test_that_does_not_exist(self) -> None:
        through = connection.Proxy("proxy.invalid", 3128)

        with pytest.raises(connection.Unreachable, match="the proxy's name") as caught:
            await connection.open_to(self.SITE, trust.context("", ""), through)
        assert not caught.value.final

    async def test_where_nobody_listens(self) -> None:
        async with listening(hello) as port:
            pass

        with pytest.raises(connection.Unreachable, match="the proxy is out of reach"):
            await connection.open_to(
                self.SITE, trust.context("", ""), connection.Proxy("127.0.0.1", port)
            )

    async def test_of_several_addresses_the_first_that_answers(self) -> None:
        loop = asyncio.get_running_loop()
        async with listening(hello) as closed:
            pass
        async with listening(hello) as port:
            found = [
                address
                for number in (closed, port)
                for address in await loop.getaddrinfo("127.0.0.1", number, type=socket.SOCK_STREAM)
            ]

            with await connection.first_of(found) as link:
                assert link.getpeername() == ("127.0.0.1", port)
            with pytest.raises(ConnectionRefusedError):
                await connection.first_of(found[:1])


def test_contexts_verify() -> None:
    context = trust.context("", "")

    assert context.verify_mode is ssl.CERT_REQUIRED
    assert context.check_hostname
