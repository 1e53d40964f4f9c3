"""The HTTP endpoints beside gRPC: metrics for the scraper, stacks for whoever debugs.

Each is served by a thread of its own, so that it answers even when the loop does not.
"""

import asyncio
import contextlib
import errno
import io
import socket
import socketserver
import sys
import threading
import time
import traceback
import wsgiref.simple_server
import wsgiref.types
from collections.abc import Iterable
from typing import Any

import prometheus_client

from secrets_store import errors
from secrets_store import log as logs

SILENCE_S = 10.0
CONNECTIONS = 32
"""More at a time are closed at once: each has a thread."""
NO_DESCRIPTOR_PAUSE_S = 0.1

_TEXT = "text/plain; charset=utf-8"
_log = logs.get(__name__)


class _Server(socketserver.ThreadingMixIn, wsgiref.simple_server.WSGIServer):
    daemon_threads = True
    block_on_close = False
    request_queue_size = 128

    def __init__(self, *args: Any) -> None:
        self._free = threading.Semaphore(CONNECTIONS)
        super().__init__(*args)

    def get_request(self) -> tuple[socket.socket, Any]:
        try:
            return super().get_request()
        except OSError as error:
            if error.errno in (errno.EMFILE, errno.ENFILE):
                # The connection stays in the queue, so that the next look would come at once.
                time.sleep(NO_DESCRIPTOR_PAUSE_S)
            raise

    def process_request(self, request: Any, client_address: Any) -> None:
        if not self._free.acquire(blocking=False):
            self.shutdown_request(request)
            return
        try:
            super().process_request(request, client_address)
        except BaseException:
            # No thread could be started.
            self._free.release()
            raise

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._free.release()

    def handle_error(self, request: Any, client_address: Any) -> None:
        # A client that goes away or falls silent is none of our faults.
        if not isinstance(sys.exc_info()[1], OSError):
            _log.exception("HTTP connection broke")

    def server_bind(self) -> None:
        # As Go does: an address without a host takes IPv4 and IPv6 alike.
        if self.address_family is socket.AF_INET6:
            with contextlib.suppress(OSError):
                self.socket.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        socketserver.TCPServer.server_bind(self)
        self.server_name, self.server_port = "localhost", self.server_address[1]
        self.setup_environ()


class _Server6(_Server):
    address_family = socket.AF_INET6


class _Quiet(wsgiref.simple_server.WSGIRequestHandler):
    def log_message(self, format: str, *args: object) -> None:
        pass

    def get_stderr(self) -> io.StringIO:
        # The library would print tracebacks there; what an application raises is logged by us.
        return io.StringIO()


class Endpoint:
    """One HTTP server in a thread.

    Args:
        address: ``host:port``, ``[v6]:port`` or ``:port``; port 0 lets the kernel choose.
        application: WSGI.
        silence_s: So long a client may neither send nor take a byte.
    Raises: errors.ConfigurationError: the address is none, or is taken.
    """

    def __init__(
        self,
        address: str,
        application: wsgiref.types.WSGIApplication,
        *,
        silence_s: float = SILENCE_S,
    ) -> None:
        host, port = _split(address)
        six = ":" in host or (not host and socket.has_dualstack_ipv6())
        handler = type("_Handler", (_Quiet,), {"timeout": silence_s})
        try:
            self._server = (_Server6 if six else _Server)((host, port), handler)
        except OSError as error:
            raise errors.ConfigurationError(f"cannot listen on {address}: {error}") from error
        self._server.set_app(_guarded(application))
        self.port = self._server.server_port
        self._stopping = False
        self._thread = threading.Thread(target=self._serve, daemon=True, name=f"http-{self.port}")
        self._thread.start()

    def stop(self) -> None:
        """Close the listening socket; a request in progress is not waited for."""
        self._stopping = True
        # Ends the wait for a connection at once. The library's own way looks up from time to time.
        self._server.socket.shutdown(socket.SHUT_RDWR)
        self._thread.join()
        self._server.server_close()

    def _serve(self) -> None:
        while not self._stopping:
            self._server.handle_request()


def _guarded(inner: wsgiref.types.WSGIApplication) -> wsgiref.types.WSGIApplication:
    """Answer with 500 where an application raises, and log it without its text."""

    def application(
        environ: wsgiref.types.WSGIEnvironment, start: wsgiref.types.StartResponse
    ) -> Iterable[bytes]:
        try:
            return inner(environ, start)
        except Exception:
            _log.exception("HTTP request failed")
            start("500 Internal Server Error", [("Content-Type", _TEXT)], sys.exc_info())
            return [b"internal error\n"]

    return application


def metrics_application(
    registry: prometheus_client.CollectorRegistry,
) -> wsgiref.types.WSGIApplication:
    """Serve a registry at ``/metrics`` and nothing anywhere else."""
    inner = prometheus_client.make_wsgi_app(registry)

    def application(
        environ: wsgiref.types.WSGIEnvironment, start: wsgiref.types.StartResponse
    ) -> Iterable[bytes]:
        if environ.get("PATH_INFO") != "/metrics":
            start("404 Not Found", [("Content-Type", _TEXT)])
            return [b"404 page not found\n"]
        body: Iterable[bytes] = inner(environ, start)
        return body

    return application


def stacks_application(loop: asyncio.AbstractEventLoop) -> wsgiref.types.WSGIApplication:
    """Show where every task and thread stands: places only, no values."""

    def application(
        environ: wsgiref.types.WSGIEnvironment, start: wsgiref.types.StartResponse
    ) -> Iterable[bytes]:
        start("200 OK", [("Content-Type", _TEXT)])
        return ["\n".join(_stacks(loop)).encode()]

    return application


def _stacks(loop: asyncio.AbstractEventLoop) -> Iterable[str]:
    names = {thread.ident: thread.name for thread in threading.enumerate()}
    for ident, frame in sys._current_frames().items():
        yield f"thread {names.get(ident, ident)}"
        yield from (f"  {x.filename}:{x.lineno} {x.name}" for x in traceback.extract_stack(frame))
    for task in asyncio.all_tasks(loop):
        yield f"task {task.get_name()}"
        for frame in task.get_stack():
            yield f"  {frame.f_code.co_filename}:{frame.f_lineno} {frame.f_code.co_name}"


def _split(address: str) -> tuple[str, int]:
    host, separator, port = address.rpartition(":")
    if not separator or not port.isdecimal() or int(port) > 65535:
        raise errors.ConfigurationError(f"{address!r} is no address of the form host:port")
    return host.strip("[]"), int(port)
