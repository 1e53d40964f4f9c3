import http.client
import json
import secrets
import ssl

import pytest
import urllib3.exceptions

from secrets_store import errors
from secrets_store.kube import faults, retry, transport


def status(**facts: object) -> bytes:
    return json.dumps({"kind": "Status", **facts}).encode()


@pytest.mark.parametrize(
    ("code", "reason", "kind"),
    [
        (400, "BadRequest", errors.Rejected),
        (401, "Unauthorized", errors.Forbidden),
        (403, "Forbidden", errors.Forbidden),
        (404, "NotFound", errors.NotFound),
        (405, "MethodNotAllowed", errors.Rejected),
        (406, "NotAcceptable", errors.Rejected),
        (409, "Conflict", errors.Conflict),
        (409, "AlreadyExists", errors.AlreadyExists),
        (410, "Expired", errors.Gone),
        (410, "Gone", errors.Gone),
        (413, "RequestEntityTooLarge", errors.Rejected),
        (415, "UnsupportedMediaType", errors.Rejected),
        (422, "Invalid", errors.Rejected),
        (429, "TooManyRequests", errors.Unavailable),
        (500, "InternalError", errors.Unavailable),
        (503, "ServiceUnavailable", errors.Unavailable),
        (504, "Timeout", errors.Unavailable),
        (302, "", errors.Unavailable),
    ],
)
def test_class_by_status_and_reason(code: int, reason: str, kind: type[errors.ApiError]) -> None:
    body = status(code=code, reason=reason, message="why")
    for error in (
        faults.from_answer(code, body, 2.0),
        faults.from_status(json.loads(body), retry_after_s=2.0),
    ):
        assert type(error) is kind
        assert (error.status, error.reason, error.message) == (code, reason, "why")
        assert error.retry_after_s == 2.0


@pytest.mark.parametrize(
    "make",
    [
        lambda secret: b"<html>" + secret,
        lambda secret: json.dumps({"kind": "Secret", "message": secret.decode()}).encode(),
        lambda secret: b'{"kind": "Status", "message": "' + secret,
        lambda secret: json.dumps(["Status", secret.decode()]).encode(),
        lambda secret: json.dumps({"kind": "Status", "message": [secret.decode()]}).encode(),
        lambda secret: b"\xff\xfe" + secret,
        lambda secret: b"",
    ],
)
def test_only_a_status_speaks(make: "type[bytes]") -> None:
    secret = secrets.token_hex(8).encode()
    error = faults.from_answer(502, make(secret))
    assert str(error) == "HTTP 502 from the API server"
    assert secret.decode() not in repr(vars(error))


def test_message_is_cut() -> None:
    assert len(faults.from_answer(500, status(message="x" * 9999)).message) == 256


@pytest.mark.parametrize(
    ("value", "seconds"),
    [("1", 1.0), ("30", 30.0), ("", None), ("-1", None), ("soon", None), ("9" * 40, None)],
)
def test_retry_after(value: str, seconds: float | None) -> None:
    assert faults.retry_after_s({"Retry-After": value}) == seconds
    assert faults.retry_after_s({}) is None


def aborted(error: Exception) -> urllib3.exceptions.ProtocolError:
    return urllib3.exceptions.ProtocolError("Connection aborted.", error)


def test_fault_of_each_transport_error() -> None:
    expired = ssl.SSLCertVerificationError(1, "certificate verify failed")
    expired.verify_message = "certificate has expired"
    cases = [
        (aborted(transport.DroppedIdle("X")), retry.Fault.DROPPED_IDLE),
        (aborted(http.client.RemoteDisconnected("x")), retry.Fault.UNKNOWN),
        (aborted(ConnectionResetError()), retry.Fault.UNKNOWN),
        (aborted(http.client.IncompleteRead(b"")), retry.Fault.UNKNOWN),
        (urllib3.exceptions.SSLError(ssl.SSLEOFError()), retry.Fault.UNKNOWN),
        (urllib3.exceptions.SSLError(expired), retry.Fault.FINAL),
        (urllib3.exceptions.SSLError("x"), retry.Fault.UNKNOWN),
        (urllib3.exceptions.ProxyError("x", expired), retry.Fault.FINAL),
        (urllib3.exceptions.ProxyError("x", OSError("Tunnel")), retry.Fault.NOT_SENT),
        (TimeoutError(), retry.Fault.UNKNOWN),
        (ConnectionRefusedError(), retry.Fault.NOT_SENT),
        (OSError(), retry.Fault.UNKNOWN),
    ]
    for error, expected in cases:
        fault, name = faults.classify(error)
        assert fault is expected, error
        assert name


def test_fault_never_tells_what_the_library_says() -> None:
    secret = secrets.token_hex(8)
    for error in (
        aborted(http.client.BadStatusLine(secret)),
        aborted(OSError(secret)),
        urllib3.exceptions.ProtocolError(secret),
        urllib3.exceptions.SSLError(secret),
    ):
        assert secret not in faults.classify(error)[1]
