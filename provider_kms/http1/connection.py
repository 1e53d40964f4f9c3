"""Opening one connection: address, proxy tunnel, TLS. Everything runs on the loop."""

import asyncio
import base64
import dataclasses
import ipaddress
import os
import re
import socket
import ssl
import urllib.parse
from collections.abc import Mapping, Sequence
from typing import Any

from provider_kms.model.site import Site

CONNECT_S = 5.0
_TUNNEL_REPLY = re.compile(rb"HTTP/1\.[01] ([0-9]{3})[^\r\n]*\r\n")
_PROXY = re.compile(
    r"(?:http://)?(?:([^@/]*)@)?(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]+)(?::(\d{1,5}))?/?"
)


class Unreachable(Exception):
    """No connection came about; the text says why.

    Attributes:
        final: another try is pointless: the name does not exist.
    """

    def __init__(self, problem: str, *, final: bool = False) -> None:
        super().__init__(problem)
        self.final = final


class CertificateRefused(Exception):
    """The server's certificate does not verify; the text says why."""


@dataclasses.dataclass(frozen=True, slots=True)
class Proxy:
    """An HTTP proxy to tunnel through.

    Attributes:
        authorization: of the Proxy-Authorization header; "" for none.
    """

    host: str
    port: int
    authorization: str = dataclasses.field(default="", repr=False)


class Connection:
    """An open connection with its two ends of a stream."""

    __slots__ = ("reader", "writer")

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer

    def alive(self) -> bool:
        """Tell whether the other side has not said anything unasked, such as goodbye."""
        # What lies there would be taken for the answer to the next request, which may be another
        # account's. asyncio has no public word for it.
        unasked = self.reader._buffer  # type: ignore[attr-defined]
        return not (unasked or self.reader.at_eof() or self.writer.is_closing())

    def abort(self) -> None:
        """Close at once; nothing is left to be said."""
        self.writer.transport.abort()


async def open_to(site: Site, tls: ssl.SSLContext | None, proxy: Proxy | None) -> Connection:
    """Connect, through the proxy if there is one, and shake hands.

    Raises: Unreachable, CertificateRefused.
    """
    # asyncio loses the socket if it is interrupted between connecting and shaking hands. So it
    # goes on, for `CONNECT_S` at most, even when the caller has gone, and the result is closed.
    opening = asyncio.create_task(_open(site, tls, proxy), name="connect")
    try:
        return await asyncio.shield(opening)
    except asyncio.CancelledError:
        opening.add_done_callback(_discard)
        raise


def _discard(opening: "asyncio.Task[Connection]") -> None:
    if not opening.cancelled() and opening.exception() is None:
        opening.result().abort()


async def _open(site: Site, tls: ssl.SSLContext | None, proxy: Proxy | None) -> Connection:
    name = site.host if tls is not None else None
    try:
        async with asyncio.timeout(CONNECT_S):
            if proxy is None:
                streams = await asyncio.open_connection(
                    site.host,
                    site.port,
                    ssl=tls,
                    server_hostname=name,
                    # With IPv4 and IPv6 addresses, a dead one must not eat all the time.
                    happy_eyeballs_delay=0.25,
                )
            else:
                tunnel = await _tunnel(site, proxy)
                streams = await asyncio.open_connection(sock=tunnel, ssl=tls, server_hostname=name)
    except TimeoutError:
        raise Unreachable(f"no connection within {CONNECT_S:.0f} s") from None
    except ssl.SSLCertVerificationError as error:
        raise CertificateRefused(error.verify_message) from None
    except ssl.SSLError as error:
        raise Unreachable(f"TLS failed: {error.reason or type(error).__name__}") from None
    except socket.gaierror as error:
        absent = error.errno in (socket.EAI_NONAME, getattr(socket, "EAI_NODATA", None))
        raise Unreachable(f"its name is not found: {error.strerror}", final=absent) from None
    except OSError as error:
        problem = error.strerror or str(error) or type(error).__name__
        raise Unreachable(f"no connection: {problem[:120]}") from None
    return Connection(*streams)


async def _tunnel(site: Site, proxy: Proxy) -> socket.socket:
    """Let a proxy connect us through; returns the socket, ready for TLS.

    Source: RFC 9110 section 9.3.6.
    """
    loop = asyncio.get_running_loop()
    try:
        found = await loop.getaddrinfo(proxy.host, proxy.port, type=socket.SOCK_STREAM)
    except socket.gaierror as error:
        raise OSError(f"the proxy's name is not found: {error.strerror}") from None
    try:
        link = await first_of(found)
    except OSError as error:
        problem = error.strerror or type(error).__name__
        raise OSError(f"the proxy is out of reach: {problem}") from None
    try:
        host = f"[{site.host}]" if ":" in site.host else site.host
        where = f"{host}:{site.port}"
        head = f"CONNECT {where} HTTP/1.1\r\nHost: {where}\r\n"
        if proxy.authorization:
            head += f"Proxy-Authorization: {proxy.authorization}\r\n"
        await loop.sock_sendall(link, f"{head}\r\n".encode())
        reply = b""
        # Byte by byte: what follows the empty line belongs to the handshake.
        while not reply.endswith(b"\r\n\r\n") and len(reply) < 16384:
            byte = await loop.sock_recv(link, 1)
            if not byte:
                break
            reply += byte
        match = _TUNNEL_REPLY.match(reply)
        if match is None or match[1] != b"200":
            status = match[1].decode() if match else "no status"
            raise OSError(f"the proxy does not connect: {status}")
    except BaseException:
        link.close()
        raise
    return link


async def first_of(addresses: Sequence[tuple[Any, ...]]) -> socket.socket:
    """Connect to the first address that answers, of those that getaddrinfo found.

    Raises: OSError: none does; that of the last one.
    """
    *others, last = addresses
    for address in others:
        try:
            # An address without a way to it must leave time for the others.
            async with asyncio.timeout(CONNECT_S / len(addresses)):
                return await _connected(address)
        except OSError:
            continue
    return await _connected(last)


async def _connected(address: tuple[Any, ...]) -> socket.socket:
    family, kind, protocol, _, place = address
    link = socket.socket(family, kind, protocol)
    link.setblocking(False)
    try:
        await asyncio.get_running_loop().sock_connect(link, place)
    except BaseException:
        link.close()
        raise
    return link


def check_proxy(environment: Mapping[str, str] = os.environ) -> None:
    """Raise ValueError if the environment names a proxy that cannot be used.

    Without it requests would go out directly, past whoever wanted them to pass there.
    """
    text = _named_proxy(environment)
    if text and _PROXY.fullmatch(text) is None:
        raise ValueError(
            "HTTPS_PROXY must be http://[user:password@]host[:port]; other schemes are not spoken"
        )


def _named_proxy(environment: Mapping[str, str]) -> str:
    return environment.get("HTTPS_PROXY") or environment.get("https_proxy") or ""


def proxy_for(site: Site, environment: Mapping[str, str] = os.environ) -> Proxy | None:
    """Return the proxy that the environment names for a site, or None.

    Reads HTTPS_PROXY and NO_PROXY in either case, as the Go program does; only https goes
    through a proxy, and only through one that is itself spoken to in plain http.
    """
    match = _PROXY.fullmatch(_named_proxy(environment))
    if site.scheme != "https" or match is None or not _goes_out(site, environment):
        return None
    user, host, port = match.groups()
    authorization = ""
    if user:
        name, _, password = (urllib.parse.unquote(part) for part in user.partition(":"))
        token = base64.b64encode(f"{name}:{password}".encode()).decode()
        authorization = f"Basic {token}"
    return Proxy(host.strip("[]"), int(port or 80), authorization)


def _goes_out(site: Site, environment: Mapping[str, str]) -> bool:
    if site.host == "localhost" or site.host.startswith("127.") or site.host == "::1":
        return False
    without = environment.get("NO_PROXY") or environment.get("no_proxy") or ""
    return not any(_covers(word, site) for word in without.lower().replace(",", " ").split())


def _covers(word: str, site: Site) -> bool:
    """Tell whether one word of NO_PROXY means a site: a name, its domain, a network, or ``*``."""
    if "/" in word:
        try:
            return ipaddress.ip_address(site.host) in ipaddress.ip_network(word, strict=False)
        except ValueError:
            return False
    name = word.removesuffix(f":{site.port}").lstrip("*").strip("[]").lstrip(".")
    return word == "*" or site.host == name or site.host.endswith(f".{name}")
