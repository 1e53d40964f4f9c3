"""The gRPC service of the provider contract: Version and Mount. Wire in, wire out.

A Mount is read (`model.request`), fetched (`fetch`), and answered; whatever goes wrong becomes one
gRPC code with a sentence, and every Mount leaves one line in the log.
"""

import time
from collections.abc import Callable
from typing import Any, NoReturn, cast

import grpc.aio

from csi_spec import provider_pb2, provider_pb2_grpc
from provider_kms import budget, errors, fetch, log, settings, status
from provider_kms.metrics import Metrics
from provider_kms.model import files
from provider_kms.model import request as requests

API_VERSION = "v1alpha1"
RUNTIME_NAME = "kms-csi-provider"
_MOST_WARNINGS = 1000
_MARGIN_S = 1.0
"""How long before the caller's deadline an answer must be ready."""

_log = log.get(__name__)
_CODES = {code.value[0]: code for code in grpc.StatusCode}

Context = grpc.aio.ServicerContext[Any, Any]


class Provider(provider_pb2_grpc.CSIDriverProviderServicer):
    """Serves the driver.

    Args:
        live: returns the settings in force.
        fetcher: fetches volumes.
        metrics: Mounts by code.
        clock: monotonic seconds.
    """

    def __init__(
        self,
        live: Callable[[], settings.Settings],
        fetcher: fetch.Fetcher,
        metrics: Metrics,
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._live, self._fetcher, self._metrics = live, fetcher, metrics
        self._clock = clock
        self._warned: set[str] = set()

    async def Version(
        self, request: provider_pb2.VersionRequest, context: Context
    ) -> provider_pb2.VersionResponse:
        """Say who we are; the driver's own version is of no consequence."""
        return provider_pb2.VersionResponse(
            version=API_VERSION, runtime_name=RUNTIME_NAME, runtime_version=settings.VERSION
        )

    async def Mount(
        self, request: provider_pb2.MountRequest, context: Context
    ) -> provider_pb2.MountResponse:
        """Return all files of one volume."""
        audit = _Audit(self._metrics, self._clock)
        try:
            response = await self._mount(request, context, audit)
        except errors.ProviderError as error:
            audit.failed(error)
            await _refuse(context, error)
        except Exception:
            # The last net: whatever this was, the caller gets no detail of it.
            _log.exception("unexpected failure")
            audit.failed(errors.Unexpected())
            await _refuse(context, errors.Unexpected())
        except BaseException:
            audit.cancelled()
            raise
        audit.mounted(response)
        return response

    async def _mount(
        self, request: provider_pb2.MountRequest, context: Context, audit: "_Audit"
    ) -> provider_pb2.MountResponse:
        live = self._live()
        try:
            wanted = requests.parse(
                request.attributes,
                request.secrets,
                request.permission,
                request.target_path,
                refresh=len(request.current_object_version) > 0,
                policy=live.policy(),
                api_version=live.api_version,
            )
        except errors.ProviderError:
            audit.asked_by(*requests.asker(request.attributes))
            raise
        audit.asked(wanted)
        self._warn(wanted)
        limits = budget.Budget(_seconds(context, live))
        volume = await self._fetcher.volume(wanted, limits, audit.source)
        response = _response(volume)
        size_bytes = response.ByteSize()
        if size_bytes > live.max_message_bytes:
            raise errors.AnswerTooLarge(
                "the files of this volume",
                f"{size_bytes} bytes",
                live.max_message_bytes,
                "split the class, or raise the driver's --max-call-recv-msg-size and the"
                " provider's -max-message-size",
            )
        return response

    def _warn(self, wanted: requests.Request) -> None:
        """Log what the author of a class should know, each thing once."""
        for text in wanted.warnings:
            warning = f"{wanted.pod.namespace}/{wanted.class_name}: {text}"
            if warning not in self._warned and len(self._warned) < _MOST_WARNINGS:
                self._warned.add(warning)
                name = f"{wanted.pod.namespace}/{wanted.class_name}"
                _log.warning("SecretProviderClass", extra=log.pairs(spc=name, warning=text))


class _Audit:
    """What is said about one Mount when it is over: a line and the metrics."""

    def __init__(self, metrics: Metrics, clock: Callable[[], float]) -> None:
        self._metrics, self._clock = metrics, clock
        self._started = clock()
        self._asker: dict[str, object] = {}
        self._request: requests.Request | None = None
        self.source = fetch.Source()

    def asked_by(self, pod: requests.Pod, class_name: str) -> None:
        if pod.name:
            self._asker["pod"] = f"{pod.namespace}/{pod.name}"
        self._asker |= {"serviceAccount": pod.service_account or None, "spc": class_name or None}

    def asked(self, request: requests.Request) -> None:
        self.asked_by(request.pod, request.class_name)
        self._request = request

    def mounted(self, response: provider_pb2.MountResponse) -> None:
        self._count("OK")
        _log.info("mounted", extra=log.pairs(**self._facts("OK"), files=len(response.files)))

    def failed(self, error: errors.ProviderError) -> None:
        self._count(error.code.name)
        self._metrics.failures.labels(error.reason).inc()
        _log.error(
            "mount failed",
            extra=log.pairs(
                **self._facts(error.code.name),
                reason=error.reason,
                err=error.told(),
                kmsRequest=error.request_id or None,
                retryAfterSeconds=error.retry_after_s,
            ),
        )

    def cancelled(self) -> None:
        self._count("CANCELLED")
        _log.warning("mount given up by the caller", extra=log.pairs(**self._facts("CANCELLED")))

    def _count(self, code: str) -> None:
        self._metrics.mounts.labels(code).inc()
        self._metrics.mount_seconds.observe(self._clock() - self._started)

    def _facts(self, code: str) -> dict[str, object]:
        facts: dict[str, object] = {
            "code": code,
            "seconds": round(self._clock() - self._started, 4),
            **self._asker,
        }
        request = self._request
        if request is not None:
            facts |= {
                "identity": request.identity.id,
                "project": request.project,
                "environment": request.environment,
                "refresh": request.refresh,
                "site": self.source.site or None,
                "login": self.source.login or None,
                "offlineAgeSeconds": self.source.offline_age_s,
            }
        return facts


def _seconds(context: Context, live: settings.Settings) -> float:
    """Return how long a Mount may take: ready a little before its caller gives up."""
    # The stubs leave out that a call without a deadline has None here.
    left_s = cast("float | None", context.time_remaining())
    if left_s is None:
        return live.mount_timeout_s
    return max(0.0, min(live.mount_timeout_s, left_s - min(_MARGIN_S, left_s * 0.2)))


def _response(volume: files.Volume) -> provider_pb2.MountResponse:
    return provider_pb2.MountResponse(
        files=[
            provider_pb2.File(path=file.path, mode=file.mode, contents=file.contents)
            for file in volume.files
        ],
        object_version=[
            provider_pb2.ObjectVersion(id=name, version=version)
            for name, version in volume.versions
        ],
    )


async def _refuse(context: Context, error: errors.ProviderError) -> NoReturn:
    """End the call with the error's code and sentence; always raises."""
    message = log.redact(errors.shorten(error.told(), 1000))
    trailers: list[tuple[str, str | bytes]] = []
    if error.retry_after_s is not None:
        details = status.with_retry_info(error.code, message, error.retry_after_s)
        trailers.append((status.METADATA_KEY, details))
    if error.code is errors.Code.UNAVAILABLE:
        # The driver's channel would call twice more within two seconds. All retries that make
        # sense have been made here; a negative pushback tells it so (gRFC A6).
        trailers.append(("grpc-retry-pushback-ms", "-1"))
    await context.abort(_CODES[error.code], message, tuple(trailers))
