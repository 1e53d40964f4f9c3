"""From answers and transport faults to the error tree, without a word of the traffic.

Only a ``Status`` object may speak for itself, and shortly. Bodies of other kinds can hold
anything, a Secret too, and texts of the HTTP library can hold headers and addresses.
"""

import http.client
import json
import ssl
from collections.abc import Mapping
from typing import Any

import urllib3
import urllib3.exceptions

from secrets_store import errors
from secrets_store.kube import retry, transport

MESSAGE_CHARACTERS = 256

_BY_STATUS: dict[int, type[errors.ApiError]] = {
    400: errors.Rejected,
    401: errors.Forbidden,
    403: errors.Forbidden,
    404: errors.NotFound,
    405: errors.Rejected,
    406: errors.Rejected,
    409: errors.Conflict,
    410: errors.Gone,
    413: errors.Rejected,
    415: errors.Rejected,
    422: errors.Rejected,
}


def from_answer(status: int, body: bytes, retry_after_s: float | None = None) -> errors.ApiError:
    """Return the error that an HTTP answer other than 2xx means."""
    return from_status(_status_object(body), status, retry_after_s)


def from_status(
    document: Mapping[str, Any], status: int = 0, retry_after_s: float | None = None
) -> errors.ApiError:
    """Return the error that a ``Status`` object means.

    Args:
        document: The object, empty if there was none.
        status: HTTP status of the answer; 0 for an ERROR event of a watch.
        retry_after_s: From the header.
    """
    code = document.get("code")
    status = status or (code if isinstance(code, int) else 0)
    reason = document.get("reason")
    reason = reason if isinstance(reason, str) else ""
    text = document.get("message")
    message = text[:MESSAGE_CHARACTERS] if isinstance(text, str) else ""
    kind = _BY_STATUS.get(status, errors.Unavailable)
    if status == 409 and reason == "AlreadyExists":
        kind = errors.AlreadyExists
    return kind(
        message or f"HTTP {status} from the API server",
        status=status,
        reason=reason[:64],
        retry_after_s=retry_after_s,
    )


def _status_object(body: bytes) -> dict[str, Any]:
    if body.lstrip()[:1] != b"{":
        return {}
    try:
        document = json.loads(body)
    except ValueError:
        return {}
    is_status = isinstance(document, dict) and document.get("kind") == "Status"
    return document if is_status else {}


def retry_after_s(headers: Mapping[str, str]) -> float | None:
    """Return ``Retry-After`` in seconds; None if absent or a date, which the API never sends."""
    value = headers.get("Retry-After", "")
    return float(value) if value.isdecimal() and len(value) < 7 else None


def classify(error: BaseException) -> tuple[retry.Fault, str]:
    """Return how far a failed exchange came, and a short name of what went wrong."""
    if isinstance(error, urllib3.exceptions.ProxyError):
        fault, name = classify(error.original_error)
        return (retry.Fault.NOT_SENT if fault is not retry.Fault.FINAL else fault), f"proxy: {name}"
    if isinstance(error, urllib3.exceptions.ProtocolError) and len(error.args) > 1:
        return classify(error.args[1])
    if isinstance(error, transport.DroppedIdle):
        return retry.Fault.DROPPED_IDLE, "connection closed while idle"
    if isinstance(error, urllib3.exceptions.SSLError) and error.args:
        error = error.args[0] if isinstance(error.args[0], Exception) else error
    if isinstance(error, ssl.SSLCertVerificationError):
        return retry.Fault.FINAL, f"certificate not accepted: {error.verify_message}"
    return _simple(error)


def _simple(error: BaseException) -> tuple[retry.Fault, str]:
    not_sent, unknown = retry.Fault.NOT_SENT, retry.Fault.UNKNOWN
    match error:
        case urllib3.exceptions.NameResolutionError():
            return not_sent, "name not resolved"
        case urllib3.exceptions.NewConnectionError() | ConnectionRefusedError():
            return not_sent, "cannot connect"
        case urllib3.exceptions.ConnectTimeoutError():
            return not_sent, "connect timeout"
        case urllib3.exceptions.EmptyPoolError() | urllib3.exceptions.ClosedPoolError():
            return not_sent, "no free connection"
        case urllib3.exceptions.ReadTimeoutError() | TimeoutError():
            return unknown, "read timeout"
        case http.client.RemoteDisconnected():
            return unknown, "connection closed without an answer"
        case http.client.IncompleteRead():
            return unknown, "answer cut short"
        case ConnectionResetError() | BrokenPipeError():
            return unknown, "connection reset"
        case ssl.SSLError() | urllib3.exceptions.SSLError():
            return unknown, "TLS failure"
    return unknown, type(error).__name__
