"""The stand-in KMS as a real HTTP server on loopback.

`KMS` owns a thread with an event loop and in it an HTTP/1.1 server with kept connections. It may
be started and stopped from any thread; the world, the tokens (under `world.lock`), the log and
the faults may be touched from any thread while it runs.
"""

import asyncio
import socket
import ssl
import threading
from collections.abc import Callable

from devkit.kms import (
    application,
    connection,
    faults,
    listening,
    log,
    model,
    review,
    routes,
    tokens,
)

# A storm of pods connects within a few milliseconds; none shall wait for a SYN to be sent again.
_BACKLOG = 1024


class KMS:
    """A stand-in KMS.

    Args:
        world: what it knows; tests keep it and change it as they go.
        reviewer: reviews pod tokens; None takes `pod_tokens`, which reviews what it issued.
        pod_tokens: issues service-account tokens for tests; made up when None.
        delay_s: added to every answer, in seconds, besides `world.settings.delay_s`.
        listener: called with the record of every request that is complete.
        host: loopback address to listen on.
        port: 0 picks a free one.
        ssl_context: serve HTTPS with it; None serves HTTP.
    """

    def __init__(
        self,
        world: model.World,
        *,
        reviewer: review.Reviewer | None = None,
        pod_tokens: review.PodTokens | None = None,
        delay_s: float = 0.0,
        listener: Callable[[log.Record], None] | None = None,
        host: str = "127.0.0.1",
        port: int = 0,
        ssl_context: ssl.SSLContext | None = None,
    ) -> None:
        self.world = world
        self.tokens = tokens.Tokens(world)
        self.pod_tokens = pod_tokens or review.PodTokens(clock=world.clock)
        self.requests = log.RequestLog(listener)
        self.faults = faults.Faults()
        self.host, self.port, self._ssl_context = host, port, ssl_context
        context = routes.Context(world, self.tokens, reviewer or self.pod_tokens.review)
        self._application = application.Application(context, self.requests, self.faults, delay_s)
        self._opened = connection.Opened()
        self._started = threading.Event()
        self._failure: BaseException | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stop: asyncio.Event | None = None
        self._thread: threading.Thread | None = None

    @property
    def url(self) -> str:
        """The site URL, without `/api`; known from the first start on, stopped or not."""
        assert self.port != 0, "never started"
        scheme = "http" if self._ssl_context is None else "https"
        return f"{scheme}://{self.host}:{self.port}"

    @property
    def connections_accepted(self) -> int:
        """How many connections were accepted since the last start."""
        return self._opened.accepted

    @property
    def connections_open(self) -> int:
        """How many connections are open now."""
        return len(self._opened)

    def close_connections(self) -> None:
        """Close all connections, as a restarted load balancer does; the listener stays."""
        if self._thread is not None and self._loop is not None:
            asyncio.run_coroutine_threadsafe(self._opened.close(), self._loop).result()

    def issue_token(
        self,
        namespace: str,
        name: str,
        audience: str | None = None,
        ttl_s: int = 3600,
        pod_uid: str | None = None,
    ) -> str:
        """Issue a service-account token, as `review.PodTokens.issue_token`."""
        return self.pod_tokens.issue_token(namespace, name, audience, ttl_s, pod_uid)

    def start(self) -> "KMS":
        """Listen, and return once connections are accepted.

        Raises: OSError: the address is taken.
        """
        assert self._thread is None, "started already"
        self._started.clear()
        self._thread = threading.Thread(target=self._run, name="kms", daemon=True)
        self._thread.start()
        self._started.wait()
        if self._failure is not None:
            self._join()
        return self

    def stop(self) -> None:
        """Close the listener and every connection; the port is kept for the next start.

        Raises: whatever ended the server before.
        """
        if self._thread is None:
            return
        if self._failure is None:
            assert self._loop is not None
            assert self._stop is not None
            self._loop.call_soon_threadsafe(self._stop.set)
        self._join()

    def _join(self) -> None:
        """Wait for the server's thread and raise what it ended with."""
        assert self._thread is not None
        self._thread.join()
        failure, self._failure, self._thread = self._failure, None, None
        if failure is not None:
            raise failure

    def __enter__(self) -> "KMS":
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.stop()

    def _run(self) -> None:
        try:
            asyncio.run(self._serve())
        except BaseException as e:
            self._failure = e
            self._started.set()

    async def _serve(self) -> None:
        listener = socket.create_server((self.host, self.port), backlog=_BACKLOG)
        listener.setblocking(False)
        self.port = listener.getsockname()[1]
        self._loop, self._stop = asyncio.get_running_loop(), asyncio.Event()
        self._opened = connection.Opened()
        self._started.set()
        await listening.serve(
            listener, self._application.answer, self._opened, self._ssl_context, self._stop
        )
