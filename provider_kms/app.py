"""The composition root: builds all objects, starts them in order, stops them in reverse."""

import asyncio
import concurrent.futures
import functools
import random
import signal
from collections.abc import Callable

from csi_spec import provider_pb2_grpc, rpc
from provider_kms import (
    auth,
    cluster,
    fetch,
    health,
    log,
    metrics,
    offline,
    reads,
    reload,
    service,
    settings,
)
from provider_kms.http1 import connection, trust
from provider_kms.kms import api, caller, pools

GRACE_S = 10.0
"""How long Mounts in progress may take after the signal to stop."""
SWEEP_S = 10.0
THREADS = 64
"""Most of them wait for name servers: asyncio looks names up in threads, and cannot take back one
whose server is silent. With its own number, six on two cores, a class that names such a host would
hold up every other Mount; idle ones are not started."""
_USER_AGENT = f"hanzo-kms-csi-provider/{settings.VERSION}"

_log = log.get(__name__)


class App:
    """One provider process.

    Args:
        flags: from the command line.
        api_server: in place of the one that the pod's environment names.
        chance: a number in [0, 1) for the jitter of retries.
        sweep_s: how often what is over is let go.
    """

    def __init__(
        self,
        flags: settings.Settings,
        *,
        api_server: cluster.Cluster | None = None,
        chance: Callable[[], float] = random.random,
        sweep_s: float = SWEEP_S,
    ) -> None:
        self._flags, self._sweep_s = flags, sweep_s
        self.settings = _configured(flags)
        self._trusted = _certificates(flags)
        self.metrics = metrics.Metrics()
        self._pools = pools.Pools(_USER_AGENT, lambda: self._trusted)
        self._caller = caller.Caller(self._pools, self.metrics, chance=chance)
        store = api.Api(self._caller)
        self._logins = auth.Logins(store, lambda: self.settings.login_max_age_s, self.metrics)
        self._reads = reads.Reads(store, self.metrics)
        self._cluster = api_server or cluster.Cluster(flags.kubernetes_url, _USER_AGENT)
        self._fetcher = fetch.Fetcher(
            lambda: self.settings,
            self._logins,
            self._reads,
            self._cluster,
            offline.Answers(),
            self.metrics,
        )
        self._provider = service.Provider(lambda: self.settings, self._fetcher, self.metrics)
        self._health = health.Health(lambda: bool(self._servers), self._render)
        self._watches = [
            reload.Watch([flags.config] if flags.config else [], self._reconfigure),
            reload.Watch(flags.ca_files, self._retrust),
        ]
        self._servers: list[rpc.Server] = []
        self._sweeper: asyncio.Task[None] | None = None
        self.health_port = 0

    async def start(self) -> None:
        """Serve: first the health port, then the sockets, then say ready.

        Raises: OSError, ValueError: an address is taken or malformed.
        """
        threads = concurrent.futures.ThreadPoolExecutor(THREADS, thread_name_prefix="blocking")
        asyncio.get_running_loop().set_default_executor(threads)
        if self._flags.config:
            log.set_verbosity(self.settings.verbosity)
        host, port = self._flags.health_address()
        self.health_port = await self._health.start(host, port)
        for watch in self._watches:
            watch.start()
        register = functools.partial(
            provider_pb2_grpc.add_CSIDriverProviderServicer_to_server, self._provider
        )
        endpoints = [settings.socket_url("-endpoint", self._flags.endpoint)]
        if self._flags.alias_endpoint:
            endpoints.append(settings.socket_url("-alias-endpoint", self._flags.alias_endpoint))
            _log.warning(
                "classes that name another provider are served too; name this one in them",
                extra=log.pairs(endpoint=self._flags.alias_endpoint),
            )
        # Ready only once all are served, so kept aside until then.
        servers: list[rpc.Server] = []
        try:
            for endpoint in endpoints:
                servers.append(await rpc.serve(endpoint, [register]))
        except BaseException:
            for server in servers:
                await server.stop(0)
            raise
        self._servers = servers
        self.metrics.ready.set(1)
        self._sweeper = asyncio.create_task(self._sweep(), name="sweep")
        _log.info(
            "serving",
            extra=log.pairs(
                version=settings.VERSION, endpoint=endpoints[0], healthPort=self.health_port
            ),
        )

    async def failed(self) -> None:
        """Return when a part that should run for ever has ended by itself.

        Raises: what the part failed with.
        """
        assert self._sweeper is not None
        # Never cancelled, for that would break the server's own stop, which ends them too.
        waits = [asyncio.create_task(server.wait_stopped()) for server in self._servers]
        await asyncio.wait([self._sweeper, *waits], return_when=asyncio.FIRST_COMPLETED)
        if self._sweeper.done():
            self._sweeper.result()

    async def stop(self, grace_s: float = GRACE_S) -> None:
        """Refuse new calls, finish those in progress, remove the sockets."""
        servers, self._servers = self._servers, []
        self.metrics.ready.set(0)
        await asyncio.gather(*(server.stop(grace_s) for server in servers))
        if self._sweeper is not None:
            self._sweeper.cancel()
            # Its failure, if it has one, has been told by `failed`.
            await asyncio.gather(self._sweeper, return_exceptions=True)
        for watch in self._watches:
            watch.stop()
        self._pools.close()
        self._cluster.close()
        await self._health.stop()
        _log.info("stopped")

    def _render(self) -> bytes:
        self._logins.sweep()
        return self.metrics.render()

    async def _sweep(self) -> None:
        """Let go of what is no longer needed, for ever."""
        while True:
            await asyncio.sleep(self._sweep_s)
            live = self.settings
            self._logins.sweep()
            self._reads.sweep(max(live.cache_bound_s, live.refresh_bound_s))
            self._fetcher.sweep()
            self._caller.sweep()
            self._pools.sweep()
            self._cluster.sweep()
            for watch in self._watches:
                watch.check()

    def _reconfigure(self) -> None:
        try:
            self.settings = _configured(self._flags)
        except (settings.Invalid, OSError, UnicodeDecodeError) as error:
            self.metrics.reloads.labels("config", "failed").inc()
            _log.error("configuration is kept as it was", extra=log.pairs(err=_reason(error)))
            return
        log.set_verbosity(self.settings.verbosity)
        self.metrics.reloads.labels("config", "ok").inc()
        _log.info("configuration reloaded", extra=log.pairs(file=self._flags.config))

    def _retrust(self) -> None:
        try:
            self._trusted = _certificates(self._flags)
        except settings.Invalid as error:
            self.metrics.reloads.labels("ca", "failed").inc()
            _log.error("CA certificates are kept as they were", extra=log.pairs(err=str(error)))
            return
        self._pools.renew()
        self.metrics.reloads.labels("ca", "ok").inc()
        _log.info("CA certificates reloaded", extra=log.pairs(files=",".join(self._flags.ca_files)))


def main(flags: settings.Settings) -> None:
    """Serve until SIGTERM or SIGINT; see `run`."""
    asyncio.run(run(flags))


async def run(flags: settings.Settings) -> None:
    """Serve until SIGTERM or SIGINT.

    Raises: OSError, ValueError: it could not start, or a part of it has failed.
    """
    connection.check_proxy()
    app = App(flags)
    stopping = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopping.set)
    try:
        await app.start()
        signalled = asyncio.create_task(stopping.wait())
        failed = asyncio.create_task(app.failed())
        await asyncio.wait([signalled, failed], return_when=asyncio.FIRST_COMPLETED)
        failed.cancel()
        if not stopping.is_set():
            signalled.cancel()
            raise OSError("a part of the provider has ended by itself") from failed.exception()
        _log.info("stopping")
    finally:
        await app.stop()


def _configured(flags: settings.Settings) -> settings.Settings:
    if not flags.config:
        return flags
    return settings.overlay(flags, reload.read_text(flags.config))


def _certificates(flags: settings.Settings) -> str:
    """Return the PEM text of all CA files.

    Raises: settings.Invalid: one is unreadable or holds no certificate.
    """
    texts = []
    for path in flags.ca_files:
        try:
            text = reload.read_text(path)
            trust.only(text)
        except (OSError, ValueError) as error:
            raise settings.Invalid(f"-ca-file: {path}: {_reason(error)}") from None
        texts.append(text)
    return "\n".join(texts)


def _reason(error: Exception) -> str:
    if isinstance(error, settings.Invalid):
        return str(error)
    return getattr(error, "strerror", None) or "not readable as it should be"
