"""The thread, its loop and the sockets on which the server is reached."""

import asyncio
import concurrent.futures
import contextlib
import socket
import ssl
import threading
from collections.abc import Callable
from typing import TypeVar

from devkit.apiserver import certificates, http

_BACKLOG = 1024
T = TypeVar("T")


class _Door:
    """One listening socket.

    asyncio's own Server, once closed, fails to make a connection of what it had accepted just
    before, and leaves the socket open.
    """

    def __init__(
        self, listening: socket.socket, make: Callable[[], asyncio.Protocol],
        context: ssl.SSLContext | None,
    ) -> None:  # fmt: skip
        self._listening, self._make, self._context = listening, make, context
        self._arriving: dict[asyncio.Task[None], socket.socket] = {}
        self._loop = asyncio.get_running_loop()
        listening.setblocking(False)
        self._loop.add_reader(listening, self._accept)

    def close(self) -> None:
        """Accept no more, and break off what has not become a connection yet."""
        self._loop.remove_reader(self._listening)
        self._listening.close()
        for each in self._arriving.values():
            # The end of the stream is what a handshake cannot outlive.
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)

    async def closed(self) -> None:
        """Wait until nothing is on its way to be a connection."""
        await asyncio.gather(*self._arriving)

    def _accept(self) -> None:
        with contextlib.suppress(BlockingIOError, ConnectionAbortedError):
            while True:
                accepted, _ = self._listening.accept()
                accepted.setblocking(False)
                task = self._loop.create_task(self._attach(accepted))
                self._arriving[task] = accepted
                task.add_done_callback(self._arriving.pop)

    async def _attach(self, accepted: socket.socket) -> None:
        # A failed handshake is the client's affair, and has closed the socket by then.
        with contextlib.suppress(OSError):
            await self._loop.connect_accepted_socket(self._make, accepted, ssl=self._context)


class Listener:
    """Serves HTTP, and HTTPS if wanted, on loopback from a thread of its own.

    Everything the server knows is touched on this thread only, so nothing in it takes locks.

    Args:
        serve: answers exchanges.
        port: for HTTP; 0 lets the system choose.
        tls_port: for HTTPS, likewise; None for none.
    """

    def __init__(self, serve: http.Serve, port: int, tls_port: int | None) -> None:
        self._serve = serve
        self._ports = {"http": port} if tls_port is None else {"http": port, "https": tls_port}
        # Kept over a pause: clients go on trusting the same authority.
        self.certificate = certificates.make() if tls_port is not None else None
        self._connections = http.Connections()
        self._doors: list[_Door] = []
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None
        self._stopped = asyncio.Event()

    def url(self, scheme: str) -> str:
        """Return where `http` or `https` is served; the port is known once it listens."""
        return f"{scheme}://127.0.0.1:{self._ports[scheme]}"

    def start(self) -> None:
        """Listen and serve. Raises: OSError: a port is taken."""
        ready: concurrent.futures.Future[None] = concurrent.futures.Future()
        self._thread = threading.Thread(
            target=asyncio.run, args=(self._run(ready),), name="devkit-apiserver", daemon=True
        )
        self._thread.start()
        try:
            ready.result()
        except OSError:
            self._thread.join()
            self._thread = None
            raise

    async def _run(self, ready: concurrent.futures.Future[None]) -> None:
        self._loop = asyncio.get_running_loop()
        try:
            await self._listen()
        except OSError as error:
            self._refuse()
            ready.set_exception(error)
            return
        ready.set_result(None)
        await self._stopped.wait()
        doors = tuple(self._doors)
        self._refuse()
        for door in doors:
            await door.closed()
        await self._connections.closed()

    async def _listen(self) -> None:
        assert self._loop is not None
        self._connections.refusing = False
        for scheme, port in self._ports.items():
            listening = socket.create_server(("127.0.0.1", port), backlog=_BACKLOG)
            self._ports[scheme] = listening.getsockname()[1]
            context: ssl.SSLContext | None = None
            if scheme == "https" and self.certificate is not None:
                context = self.certificate.context()
            self._doors.append(
                _Door(listening, lambda: http.Connection(self._serve, self._connections), context)
            )

    def _refuse(self) -> None:
        self._connections.refusing = True
        for door in self._doors:
            door.close()
        self._doors.clear()
        self._connections.abort()

    def stop(self) -> None:
        """Drop all connections and end the thread; a stopped listener stays stopped."""
        if self._thread is None:
            return
        assert self._loop is not None
        self._loop.call_soon_threadsafe(self._stopped.set)
        self._thread.join()
        self._thread = None

    def pause(self) -> None:
        """Drop all connections and refuse new ones until `resume`."""
        self.do(self._refuse)

    def resume(self) -> None:
        """Listen again on the same ports."""
        assert self._loop is not None
        asyncio.run_coroutine_threadsafe(self._listen(), self._loop).result()

    def do(self, function: Callable[[], T]) -> T:
        """Call a function on the thread, or here while there is none, and return its result."""
        if self._thread is None:
            return function()
        assert self._loop is not None
        done: concurrent.futures.Future[T] = concurrent.futures.Future()

        def run() -> None:
            try:
                done.set_result(function())
            except BaseException as error:
                done.set_exception(error)

        self._loop.call_soon_threadsafe(run)
        return done.result()
