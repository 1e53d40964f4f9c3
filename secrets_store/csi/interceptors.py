"""Around every call: the log of requests, and from errors to gRPC statuses."""

import json
import time
from collections.abc import Awaitable, Callable
from typing import Any

import grpc
import grpc.aio
from google.protobuf import message

from csi_spec import csi_pb2
from secrets_store import errors
from secrets_store import log as logs
from secrets_store.csi.context import Context
from secrets_store.model import volume

_log = logs.get(__name__)

_Call = Callable[[Any, Context], Awaitable[Any]]
_STATUS = {code.value[0]: code for code in grpc.StatusCode}
# The only volume attributes that are logged by value; an unknown one may hold anything.
_SHOWN = frozenset(
    {
        volume.POD_NAME,
        volume.POD_NAMESPACE,
        volume.POD_UID,
        volume.SERVICE_ACCOUNT,
        volume.CLASS_NAME,
        volume.KUBELET_PREFIX + "ephemeral",
    }
)
_MAPS = frozenset({"volume_context", "publish_context"})


class Translator(grpc.aio.ServerInterceptor):
    """Turns a DriverError into its status and anything unforeseen into INTERNAL.

    One failing call costs that call and not the process; what was unforeseen is logged with the
    places it passed, but without texts, which could hold a secret.
    """

    def __init__(self) -> None:
        self._wrapped: dict[str, grpc.RpcMethodHandler[Any, Any]] = {}

    async def intercept_service(
        self,
        continuation: Callable[
            [grpc.HandlerCallDetails], Awaitable["grpc.RpcMethodHandler[Any, Any] | None"]
        ],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> "grpc.RpcMethodHandler[Any, Any] | None":
        method = handler_call_details.method
        known = self._wrapped.get(method)
        if known is not None:
            return known
        handler = await continuation(handler_call_details)
        if handler is None or handler.unary_unary is None:
            return handler
        wrapped = grpc.unary_unary_rpc_method_handler(
            _around(method, handler.unary_unary),
            request_deserializer=handler.request_deserializer,
            response_serializer=handler.response_serializer,
        )
        self._wrapped[method] = wrapped
        return wrapped


def _around(method: str, inner: Any) -> _Call:
    async def call(request: Any, context: Context) -> Any:
        verbose = _log.isEnabledFor(logs.DEBUG)
        started = time.monotonic()
        if verbose:
            _log.debug("request", extra=logs.pairs(method=method, req=redacted(request)))
        try:
            response = await inner(request, context)
        except errors.DriverError as error:
            code = error.status_code
            _log.log(
                logs.INFO if code is errors.Code.ABORTED else logs.ERROR,
                "call failed",
                extra=logs.pairs(method=method, code=code.name, err=str(error)),
            )
            await context.abort(_STATUS[int(code)], str(error))
        except grpc.aio.AbortError:
            raise
        except Exception as error:
            _log.exception("call broke", extra=logs.pairs(method=method))
            await context.abort(grpc.StatusCode.INTERNAL, f"internal error: {type(error).__name__}")
        if verbose:
            seconds = round(time.monotonic() - started, 6)
            _log.debug("response", extra=logs.pairs(method=method, code="OK", seconds=seconds))
        return response

    return call


def redacted(request: message.Message) -> str:
    """Render a request as one line of JSON in which nothing can be secret.

    Fields marked ``csi_secret`` and whatever has parts, such as mount flags, are stripped whole; of
    the volume attributes the values of known harmless keys are shown.
    """
    shown: dict[str, Any] = {}
    for field, value in request.ListFields():
        if field.GetOptions().Extensions[csi_pb2.csi_secret]:
            shown[field.name] = logs.STRIPPED
        elif field.name in _MAPS:
            shown[field.name] = {
                key: text if key in _SHOWN else logs.STRIPPED for key, text in value.items()
            }
        elif isinstance(value, str | int | float | bool):
            shown[field.name] = value
        else:
            shown[field.name] = logs.STRIPPED
    return json.dumps(shown, ensure_ascii=False, sort_keys=True)
