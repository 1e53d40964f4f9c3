"""The stand-in KMS as a real HTTP server on loopback.

`KMS` owns a thread with an event loop and in it an HTTP/1.1 server with kept connections. It may
be started and stopped from any thread; the world, the tokens (under `world.lock`), the log and
the faults may be touched from any thread while it runs.
"""

import asyncio
import ssl
import threading

from aiohttp import web

from devkit.kms import application, http, log, model, review, routes, tokens

_BODY_LIMIT_BYTES = 1 << 20


class KMS:
    """A stand-in KMS.

    Args:
        world: what it knows; tests keep it and change it as they go.
        reviewer: reviews pod tokens; None takes `pod_tokens`, which reviews what it issued.
        pod_tokens: issues service-account tokens for tests; made up when None.
        delay_s: added to every answer, in seconds.
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
        host: str = "127.0.0.1",
        port: int = 0,
        ssl_context: ssl.SSLContext | None = None,
    ) -> None:
        self.world = world
        self.tokens = tokens.Tokens(world)
        self.pod_tokens = pod_tokens or review.PodTokens(clock=world.clock)
        self.requests = log.RequestLog()
        self.delay_s = delay_s
        self._host, self._port, self._ssl_context = host, port, ssl_context
        context = routes.Context(world, self.tokens, reviewer or self.pod_tokens.review)
        self._application = application.Application(context, self.requests)
        self._started = threading.Event()
        self._failure: BaseException | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stop: asyncio.Event | None = None
        self._thread: threading.Thread | None = None

    @property
    def url(self) -> str:
        """The site URL, without `/api`; only while started."""
        assert self._thread is not None, "not started"
        scheme = "http" if self._ssl_context is None else "https"
        return f"{scheme}://{self._host}:{self._port}"

    def start(self) -> "KMS":
        """Listen, and return once connections are accepted.

        Raises: OSError: the address is taken.
        """
        self._started.clear()
        self._thread = threading.Thread(target=self._run, name="kms", daemon=True)
        self._thread.start()
        self._started.wait()
        if self._failure is not None:
            self._thread.join()
            failure, self._failure, self._thread = self._failure, None, None
            raise failure
        return self

    def stop(self) -> None:
        """Close the listener and every connection; the port is kept for the next start."""
        if self._thread is None:
            return
        assert self._loop is not None
        assert self._stop is not None
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join()
        self._thread = None

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
        self._loop, self._stop = asyncio.get_running_loop(), asyncio.Event()
        runner = web.ServerRunner(
            web.Server(self._handle, access_log=None, client_max_size=_BODY_LIMIT_BYTES),
            shutdown_timeout=0.0,
        )
        await runner.setup()
        try:
            site = web.TCPSite(
                runner, self._host, self._port, ssl_context=self._ssl_context, backlog=1024
            )
            await site.start()
            self._port = runner.addresses[0][1]
            self._started.set()
            await self._stop.wait()
        finally:
            await runner.cleanup()

    async def _handle(self, request: web.BaseRequest) -> web.StreamResponse:
        body = await request.read()
        if self.delay_s:
            await asyncio.sleep(self.delay_s)
        response = await self._application.answer(
            http.Request(
                method=request.method,
                target=request.raw_path,
                headers={name.lower(): value for name, value in request.headers.items()},
                address=request.remote or "",
                body=body,
            )
        )
        return web.Response(status=response.status, headers=response.headers, body=response.body)
