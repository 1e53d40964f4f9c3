"""When a provider wants to be asked again, read from the details of a gRPC status.

Two messages of three fields each are decoded by hand; their stubs would be the only use of a
package more. Source: google.rpc.Status (details = 3), google.protobuf.Any (type_url = 1, value =
2), google.rpc.RetryInfo (retry_delay = 1), google.protobuf.Duration (seconds = 1, nanos = 2).
"""

from collections.abc import Iterator

METADATA_KEY = "grpc-status-details-bin"
_TYPE = b"type.googleapis.com/google.rpc.RetryInfo"
_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5
MAX_DELAY_S = 86400.0


def delay_s(details: bytes) -> float | None:
    """Return the delay in seconds; None if there is none or the bytes are no status."""
    try:
        for number, entry in _fields(details):
            if number == 3 and isinstance(entry, bytes):
                packed = dict(_fields(entry))
                if packed.get(1) == _TYPE and isinstance(value := packed.get(2), bytes):
                    return _duration_s(value)
    except ValueError:
        return None
    return None


def _duration_s(retry_info: bytes) -> float | None:
    duration = dict(_fields(retry_info)).get(1)
    if not isinstance(duration, bytes):
        return None
    parts = dict(_fields(duration))
    seconds, nanos = parts.get(1, 0), parts.get(2, 0)
    if not isinstance(seconds, int) or not isinstance(nanos, int):
        return None
    if max(seconds, nanos) >> 63:
        # A negative number, in the two's complement of 64 bits.
        return None
    return min(seconds + nanos / 1e9, MAX_DELAY_S)


def _fields(message: bytes) -> Iterator[tuple[int, int | bytes]]:
    """Yield number and value of each field. Raises: ValueError: truncated or of another form."""
    position = 0
    while position < len(message):
        key, position = _varint(message, position)
        number, wire_type = key >> 3, key & 7
        if wire_type == _VARINT:
            value, position = _varint(message, position)
            yield number, value
            continue
        sizes = {_FIXED64: 8, _FIXED32: 4}
        if wire_type == _BYTES:
            size, position = _varint(message, position)
        elif wire_type in sizes:
            size = sizes[wire_type]
        else:
            raise ValueError("unknown wire type")
        if position + size > len(message):
            raise ValueError("truncated")
        yield number, message[position : position + size]
        position += size


def _varint(message: bytes, position: int) -> tuple[int, int]:
    value = 0
    for shift in range(0, 70, 7):
        if position >= len(message):
            raise ValueError("truncated")
        byte = message[position]
        position += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, position
    raise ValueError("too long")
