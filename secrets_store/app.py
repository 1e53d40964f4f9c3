"""The composition root: builds every part, starts them in order, stops them in reverse."""

import asyncio
import contextlib
import gc
import os
import platform
import signal
import sys
from collections.abc import AsyncIterator
from functools import partial
from typing import Any

from csi_spec import csi_pb2_grpc, rpc
from secrets_store import endpoints, errors, metrics, settings, tasks
from secrets_store import log as logs
from secrets_store.csi import controller, identity, interceptors, node
from secrets_store.host import limits, memory, mount, records
from secrets_store.kube import client, credentials, paths, reflector, store
from secrets_store.lifecycle import quiet, startup, taint
from secrets_store.model import pod_status, provider_class
from secrets_store.providers import registry
from secrets_store.volumes import (
    classes,
    cluster,
    contents,
    events,
    fetch,
    freshness,
    handover,
    health,
    journal,
    policy,
    presence,
    publish,
    refresh,
    status,
    sync,
    table,
    unpublish,
)

HOST_THREADS, API_THREADS = 4, 8
EVENT_THREADS = 2
"""Apart from the others: events that nobody takes must not hold up what mounts wait for."""
GRACE_S, HEALTH_CHECK_TIMEOUT_S = 10.0, 5.0

_log = logs.get(__name__)


class App:
    """One driver.

    Args:
        chosen: Checked settings.
        api: Client of the API server.
        mounter: Makes volumes; a seam for hosts that cannot mount.
        clock: Time.
    """

    def __init__(
        self,
        chosen: settings.Settings,
        *,
        api: client.Client,
        metrics: metrics.Metrics,
        mounter: mount.Mounter | None = None,
        clock: tasks.Clock | None = None,
    ) -> None:
        self._settings, self._api, self.metrics = chosen, api, metrics
        self._clock = clock or tasks.SystemClock()
        self._host = tasks.Threads("host", HOST_THREADS)
        self._api_threads = tasks.Threads("api", API_THREADS)
        self._event_threads = tasks.Threads("event", EVENT_THREADS)
        self._background = tasks.Background()
        self._mounter = mounter or mount.Mounter(
            size_bytes=chosen.volume_bytes, inodes=chosen.tmpfs_inodes
        )
        self._boot_id = records.boot_id()
        self._records = records.Records(_state_directory(chosen.endpoint))
        self._quiet = quiet.Quiet(self._clock)
        self._watched()
        self._procedures()

    def _watched(self) -> None:
        """Build what is known of the API server's objects, and the watches that tell it."""
        self._pods = store.Pods(on_wish=self._pod_wishes)
        self._classes = store.Classes(on_change=self._class_changed)
        self._statuses = store.Statuses()
        label = f"{pod_status.NODE_LABEL}={pod_status.node_label(self._settings.node_id)}"
        self._reflectors: list[tuple[str, reflector.Reflector[Any]]] = [
            (
                "pods",
                reflector.Reflector(
                    self._api,
                    paths.pods(),
                    project=store.Pod.from_dict,
                    on_event=self._pods.on_event,
                    params={"fieldSelector": f"spec.nodeName={self._settings.node_id}"},
                ),
            ),
            (
                "classes",
                reflector.Reflector(
                    self._api,
                    paths.classes(),
                    project=store.Class.from_dict,
                    on_event=self._classes.on_event,
                    whole=False,
                ),
            ),
            (
                "statuses",
                reflector.Reflector(
                    self._api,
                    paths.pod_statuses(),
                    project=store.Status.from_dict,
                    on_event=self._statuses.on_event,
                    params={"labelSelector": label},
                ),
            ),
        ]

    def _procedures(self) -> None:
        """Build what is done to volumes."""
        chosen = self._settings
        self._table = table.Table(self._records, self._host)
        self.metrics.registry.register(freshness.Freshness(self._table, self._clock))
        self._providers = registry.Registry(
            chosen.provider_directories, max_receive_bytes=chosen.max_call_recv_msg_size
        )
        files = contents.Contents(
            self._mounter, self._host, self._table, self._background, self._clock
        )
        source = classes.Classes(
            self._api, self._api_threads, self._classes, missing=self._class_missing
        )
        fetcher = fetch.Fetcher(self._providers, self._background)
        told = events.Events(
            self._api, self._event_threads, self._background, self._clock, node=chosen.node_id
        )
        written = journal.Journal(told, self.metrics, self._pods)
        self._secrets = sync.SecretSync(
            self._api,
            self._api_threads,
            self._pods,
            allowed_namespaces=chosen.allowed_namespaces,
            clock=self._clock,
        )
        self._cluster = cluster.Cluster(
            status.StatusWriter(self._api, self._api_threads, self._statuses, node=chosen.node_id),
            self._secrets,
            told,
        )
        signs = presence.Presence(self._pods, self._clock)
        self._handovers = handover.Handovers(self._table, signs, told, self._clock)
        self.refresher = refresh.Refresher(
            policy.Policy(
                interval_s=chosen.interval_s,
                concurrency=chosen.provider_concurrency,
                allow_overrides=chosen.allow_attribute_override,
            ),
            volumes=self._table,
            contents=files,
            classes=source,
            fetcher=fetcher,
            cluster=self._cluster,
            journal=written,
            handovers=self._handovers,
            presence=signs,
            background=self._background,
            clock=self._clock,
        )
        self._publisher = publish.Publisher(
            volumes=self._table,
            contents=files,
            classes=source,
            fetcher=fetcher,
            refresher=self.refresher,
            journal=written,
            pods=self._pods,
            background=self._background,
            clock=self._clock,
            boot_id=self._boot_id,
            allow_overrides=chosen.allow_attribute_override,
            require_sync=chosen.require_sync,
            worked=self._quiet.worked,
        )
        self._unpublisher = unpublish.Unpublisher(
            self._table, files, self._background, self._unpublished
        )

    @contextlib.asynccontextmanager
    async def serving(self) -> AsyncIterator["App"]:
        """Serve the socket, and watch and refresh behind it; all is ended on leaving.

        Needs no API server: what does waits for it.

        Raises: OSError, ValueError: the socket cannot be made. tasks.TaskEnded: a part failed.
        """
        loop = asyncio.get_running_loop()
        for found in await startup.restore(
            self._records, self._mounter, self._table, self._host, self._boot_id
        ):
            key = found.record.class_key
            self._classes.remember(*key)
            self._secrets.remember(*key, found.record.secrets)
            found.seen_mono = self._clock.mono_s()
            self.refresher.adopted(found)
        server = await rpc.serve(
            self._settings.endpoint, self._servicers(), interceptors=[interceptors.Translator()]
        )
        try:
            async with asyncio.TaskGroup() as group:
                parts = [group.create_task(tasks.guard("refresh", self.refresher.run()))]
                parts.append(group.create_task(tasks.guard("memory", self._quiet.run())))
                parts.append(group.create_task(tasks.guard("handover", self._handovers.run())))
                if self._settings.provider_health_check:
                    parts.append(group.create_task(tasks.guard("health", self._check_providers())))
                if self._settings.remove_startup_taint:
                    parts.append(group.create_task(tasks.guard("taint", self._taint().run())))
                for name, watch in self._reflectors:
                    ended = watch.start(loop)
                    parts.append(group.create_task(tasks.guard(name, _until(ended))))
                # Let each begin: one that is cancelled before would never have been awaited.
                await asyncio.sleep(0)
                try:
                    yield self
                finally:
                    for part in parts:
                        part.cancel()
        finally:
            await self._stop(server)

    def _taint(self) -> taint.Taint:
        return taint.Taint(
            self._api,
            self._api_threads,
            self._providers,
            self._clock,
            node=self._settings.node_id,
            driver=self._settings.driver_name,
            required=self._settings.providers_required,
        )

    async def _stop(self, server: rpc.Server) -> None:
        """End in reverse: no new calls, those in flight, then what they stand on."""
        self._publisher.close()
        await server.stop(GRACE_S)
        await self._background.drain(1.0)
        await self._providers.close()
        await asyncio.gather(*(asyncio.to_thread(watch.stop) for _, watch in self._reflectors))
        self._api.close()
        # Not on the loop, which must hear a second signal while a hanging call runs out.
        for pool in (self._api_threads, self._event_threads, self._host):
            await asyncio.to_thread(pool.stop)

    def _servicers(self) -> list[rpc.Register]:
        chosen = self._settings
        return [
            partial(
                csi_pb2_grpc.add_IdentityServicer_to_server,
                identity.Identity(name=chosen.driver_name, version=settings.VERSION),
            ),
            partial(csi_pb2_grpc.add_ControllerServicer_to_server, controller.Controller()),
            partial(
                csi_pb2_grpc.add_NodeServicer_to_server,
                node.Node(
                    node_id=chosen.node_id,
                    publisher=self._publisher,
                    unpublisher=self._unpublisher,
                    health=health.Health(self._table, self._mounter, self._host),
                    metrics=self.metrics,
                ),
            ),
        ]

    def _pod_wishes(self, pod: store.Pod, known: bool) -> None:
        requested_s = provider_class.refresh_requested_s(
            {provider_class.REFRESH_REQUESTED_AT: pod.wishes.refresh_requested_at}
        )
        if requested_s is not None:
            self.refresher.requested_at(pod.uid, requested_s, edited=known)

    def _class_changed(self, namespace: str, name: str) -> None:
        self.refresher.class_changed(namespace, name)

    def _class_missing(self, namespace: str, name: str) -> None:
        """Let the Secrets of a class go that was deleted, where their policy says so."""
        self._background.spawn("withdraw", self._cluster.class_deleted(namespace, name))

    def _unpublished(self, gone: table.Volume) -> None:
        """Forget a class with its last volume."""
        self._quiet.worked()
        key = gone.record.class_key
        if key not in self._table.class_keys():
            self._classes.forget(*key)
            self._cluster.forget(*key)

    async def _check_providers(self) -> None:
        never = asyncio.Event()
        while True:
            await self._clock.wait(never, self._settings.provider_health_check_interval_s)
            for name, channel in self._providers.in_use().items():
                try:
                    version = await channel.version(HEALTH_CHECK_TIMEOUT_S)
                except errors.ProviderFailed as error:
                    self.metrics.provider_up(name, up=False)
                    _log.warning("provider healthcheck failed",
                                 extra=logs.pairs(provider=name, reason=str(error)))  # fmt: skip
                else:
                    self.metrics.provider_up(name, up=True)
                    _log.debug("provider healthcheck successful",
                               extra=logs.pairs(provider=name, runtimeVersion=version))  # fmt: skip


def main(chosen: settings.Settings) -> None:
    """Run a driver until SIGTERM or SIGINT; a second signal ends it at once with 1.

    Raises: errors.ConfigurationError.
    """
    logs.setup(verbosity=chosen.verbosity, as_json=chosen.log_format_json)
    logs.catch_all()
    limits.raise_descriptors()
    counted = metrics.Metrics()
    api = client.Client(
        credentials.load(chosen.kubeconfig), user_agent=_user_agent(), observe=counted.api_request
    )
    try:
        asyncio.run(_run(chosen, api, counted))
    except* tasks.TaskEnded:
        # Its reason has been logged.
        sys.exit(1)


async def _run(chosen: settings.Settings, api: client.Client, counted: metrics.Metrics) -> None:
    stopping = asyncio.Event()
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(_unhandled)
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, partial(_signalled, stopping))
    served = [
        endpoints.Endpoint(chosen.metrics_addr, endpoints.metrics_application(counted.registry))
    ]
    if chosen.enable_pprof:
        served.append(
            endpoints.Endpoint(f"127.0.0.1:{chosen.pprof_port}", endpoints.stacks_application(loop))
        )
    try:
        async with App(chosen, api=api, metrics=counted).serving():
            # What start-up has made lives as long as the process: not worth collecting again.
            memory.trim()
            gc.freeze()
            _log.info(
                "driver started",
                extra=logs.pairs(
                    version=settings.VERSION, endpoint=chosen.endpoint, node=chosen.node_id
                ),
            )
            await stopping.wait()
            _log.info("received shutdown signal")
    except (OSError, ValueError) as error:
        raise errors.ConfigurationError(f"cannot serve {chosen.endpoint}: {error}") from error
    finally:
        for endpoint in served:
            endpoint.stop()


def _unhandled(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    """Log what nobody has caught; asyncio's own words would show the text of any exception."""
    error = context.get("exception")
    _log.error(
        "unhandled error in the event loop",
        extra=logs.pairs(where=str(context.get("message", ""))[:200]),
        exc_info=error if isinstance(error, BaseException) else None,
    )


def _signalled(stopping: asyncio.Event) -> None:
    if stopping.is_set():
        os._exit(1)
    stopping.set()


async def _until(ended: "asyncio.Future[None]") -> None:
    # Shielded: the reflector itself completes the future when it is stopped.
    await asyncio.shield(ended)


def _state_directory(endpoint: str) -> str:
    """Return where the records are kept: beside the socket, which lies in kubelet's directory."""
    where = rpc.Endpoint.parse(endpoint)
    base = os.path.dirname(where.path) if where.path else os.path.join(os.getcwd(), "csi")
    return os.path.join(base, "state")


def _user_agent() -> str:
    machine = {"x86_64": "amd64", "aarch64": "arm64"}.get(platform.machine(), platform.machine())
    system = platform.system().lower()
    return f"csi-secrets-store/controller/{settings.VERSION} ({system}/{machine})"
