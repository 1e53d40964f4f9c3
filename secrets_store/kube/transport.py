"""Connections to one API server: a bounded pool for requests, single ones for watches."""

import http.client
import io
import math
import socket
import ssl
import time
from typing import Any
from urllib.parse import unquote

import urllib3
import urllib3.connection
import urllib3.exceptions
import urllib3.util

from secrets_store import errors, log
from secrets_store.kube import access, tls

_log = log.get(__name__)

CONNECT_TIMEOUT_S = 5.0

_KEEPALIVE = [
    (socket.IPPROTO_TCP, socket.TCP_NODELAY, 1),
    (socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1),
]
# A watch may be silent for minutes; the kernel finds out in one that the other side is gone.
for _name, _value in (("TCP_KEEPIDLE", 30), ("TCP_KEEPINTVL", 10), ("TCP_KEEPCNT", 3)):
    if hasattr(socket, _name):
        _KEEPALIVE.append((socket.IPPROTO_TCP, getattr(socket, _name), _value))

UNACKNOWLEDGED_MS = 4000
_REQUEST = list(_KEEPALIVE)
# Of a request's time there must be some left for another connection when the other side of a kept
# one is gone without a word. A server that is only slow acknowledges what it gets.
if hasattr(socket, "TCP_USER_TIMEOUT"):
    _REQUEST.append((socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, UNACKNOWLEDGED_MS))


class DroppedIdle(ConnectionResetError):
    """A kept connection turned out closed before it gave a byte of the next answer."""


class _Bounded(io.RawIOBase):
    """Reads of a socket that all together have until ``ends_mono``.

    A socket's own timeout begins anew with each byte: an answer that drips would never end.
    """

    def __init__(self, raw: io.RawIOBase, sock: socket.socket) -> None:
        self._raw, self._socket = raw, sock
        self.ends_mono = time.monotonic() + (sock.gettimeout() or math.inf)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int | None:
        if self.ends_mono < math.inf:
            left_s = self.ends_mono - time.monotonic()
            if left_s <= 0:
                raise TimeoutError
            self._socket.settimeout(left_s)
        return self._raw.readinto(buffer)

    def fileno(self) -> int:
        return self._raw.fileno()

    def close(self) -> None:
        self._raw.close()
        super().close()


class _Answer(http.client.HTTPResponse):
    """An answer that as a whole has the time of the socket's timeout."""

    def __init__(self, sock: socket.socket, *args: Any, **kwargs: Any) -> None:
        super().__init__(sock, *args, **kwargs)
        self.bounded = _Bounded(self.fp.detach(), sock)
        self.fp = io.BufferedReader(self.bounded)


class _Stream(_Answer):
    """The same for the head alone; what follows may take as long as there are events."""

    def begin(self) -> None:
        super().begin()
        self.bounded.ends_mono = math.inf


_CLOSED_UNDER_US = (ConnectionResetError, BrokenPipeError, ssl.SSLEOFError)


class _Reused:
    """Tells a fault on a kept connection from one on a fresh one; urllib3 does not.

    A server may close an idle connection at the very moment it is taken from the pool. That is no
    failure of the server, and a request that ends so may be sent again at once.
    """

    answered = False
    response_class: type[http.client.HTTPResponse] = _Answer

    def connect(self) -> None:
        self.answered = False
        super().connect()  # type: ignore[misc]

    def request(self, *args: Any, **kwargs: Any) -> None:
        try:
            super().request(*args, **kwargs)  # type: ignore[misc]
        except _CLOSED_UNDER_US as error:
            if self.answered:
                raise DroppedIdle(type(error).__name__) from None
            raise

    def getresponse(self) -> Any:
        try:
            response = super().getresponse()  # type: ignore[misc]
        except _CLOSED_UNDER_US as error:
            if self.answered:
                raise DroppedIdle(type(error).__name__) from None
            raise
        self.answered = True
        return response


class _Plain(_Reused, urllib3.connection.HTTPConnection):
    pass


class _Tls(_Reused, urllib3.connection.HTTPSConnection):
    pass


class _PlainPool(urllib3.HTTPConnectionPool):
    ConnectionCls = _Plain


class _TlsPool(urllib3.HTTPSConnectionPool):
    ConnectionCls = _Tls


class Transport:
    """Opens connections; makes none before it is asked for one. Safe in any thread."""

    def __init__(self, config: access.Config, *, pool_size: int) -> None:
        url, host = _url(config.server, "API server")
        self._tls = url.scheme == "https"
        self._address = (host, url.port or (443 if self._tls else 80))
        self.host = url.netloc or host
        self._options: dict[str, Any] = {"socket_options": _KEEPALIVE}
        if self._tls:
            self._options["ssl_context"] = tls.context(config)
            if config.tls_server_name:
                self._options["server_hostname"] = config.tls_server_name
            if config.insecure:
                self._options["assert_hostname"] = False
                # Said once by us instead of at every connection by the library.
                urllib3.disable_warnings(urllib3.exceptions.InsecureRequestWarning)
                _log.warning("any certificate of the API server is accepted")
        self._proxy = _url(config.proxy, "proxy")[0] if config.proxy and self._tls else None
        self._proxy_headers = _proxy_headers(self._proxy)
        self.pool = self._pool(pool_size)

    def _pool(self, size: int) -> urllib3.HTTPConnectionPool:
        host, port = self._address
        options: dict[str, Any] = {"maxsize": size, "block": True, "retries": False}
        options |= self._options | {"socket_options": _REQUEST}
        if not self._tls:
            return _PlainPool(host, port, **options)
        if self._proxy is None:
            return _TlsPool(host, port, **options)
        manager = urllib3.ProxyManager(
            self._proxy.url, proxy_headers=self._proxy_headers, **options
        )
        manager.pool_classes_by_scheme = {"http": _PlainPool, "https": _TlsPool}
        return manager.connection_from_host(host, port, "https")

    def connection(self) -> urllib3.connection.HTTPConnection:
        """Return a connection for a watch, not yet open, outside of the pool."""
        made = self._connection()
        made.response_class = _Stream
        return made

    def _connection(self) -> urllib3.connection.HTTPConnection:
        host, port = self._address
        if not self._tls:
            return _Plain(host, port, timeout=CONNECT_TIMEOUT_S, **self._options)
        if self._proxy is None:
            return _Tls(host, port, timeout=CONNECT_TIMEOUT_S, **self._options)
        connection = _Tls(
            self._proxy.host or "",
            self._proxy.port or 80,
            timeout=CONNECT_TIMEOUT_S,
            **self._options,
        )
        connection.set_tunnel(host, port, dict(self._proxy_headers), scheme="http")
        return connection

    def close(self) -> None:
        """Close what is idle; a connection in use is closed when it is given back."""
        self.pool.close()


def _url(text: str, what: str) -> tuple[urllib3.util.Url, str]:
    """Return a URL and its host."""
    try:
        url = urllib3.util.parse_url(text)
    except urllib3.exceptions.LocationParseError:
        # Its words hold the whole text, which may hold a password.
        url = urllib3.util.Url()
    if url.scheme not in ("http", "https") or not url.host:
        raise errors.ConfigurationError(f"the URL of the {what} is none")
    return url, url.host


def _proxy_headers(proxy: urllib3.util.Url | None) -> dict[str, str]:
    if proxy is None or not proxy.auth:
        return {}
    return urllib3.util.make_headers(proxy_basic_auth=unquote(proxy.auth))


def shut(sock: socket.socket | None) -> None:
    """End every read on a socket that another thread is blocked in.

    The plain socket's method is called even for TLS: SSLSocket's own would take the TLS state
    away from under the reader, which then might read cipher text.
    """
    if sock is not None:
        try:
            socket.socket.shutdown(sock, socket.SHUT_RDWR)
        except OSError:
            # Not connected any more: then nobody is blocked in it.
            return
