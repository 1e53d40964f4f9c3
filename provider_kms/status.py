"""google.rpc.Status with a RetryInfo, as bytes: what `grpc-status-details-bin` carries.

Two messages of five fields; written by hand, since the package that has them generated would add
a dependency for forty bytes.

Source: google/rpc/status.proto (code=1, message=2, details=3), google/rpc/error_details.proto
(RetryInfo.retry_delay=1), google/protobuf/any.proto (type_url=1, value=2), duration.proto
(seconds=1, nanos=2); Protocol Buffers encoding: varint is wire type 0, length-delimited 2.
"""

METADATA_KEY = "grpc-status-details-bin"
_RETRY_INFO = b"type.googleapis.com/google.rpc.RetryInfo"


def with_retry_info(code: int, message: str, retry_after_s: float) -> bytes:
    """Return a serialised Status.

    Args:
        code: gRPC status code, the same as the call's.
        message: the same as the call's.
        retry_after_s: not negative.
    """
    seconds = int(retry_after_s)
    nanos = int((retry_after_s - seconds) * 1e9)
    duration = _number(1, seconds) + _number(2, nanos)
    detail = _bytes(1, _RETRY_INFO) + _bytes(2, _bytes(1, duration))
    return _number(1, code) + _bytes(2, message.encode()) + _bytes(3, detail)


def _varint(value: int) -> bytes:
    encoded = bytearray()
    while value > 0x7F:
        encoded.append(value & 0x7F | 0x80)
        value >>= 7
    encoded.append(value)
    return bytes(encoded)


def _number(field: int, value: int) -> bytes:
    return _varint(field << 3) + _varint(value) if value else b""


def _bytes(field: int, value: bytes) -> bytes:
    return _varint(field << 3 | 2) + _varint(len(value)) + value
