"""google.rpc.RetryInfo, written here by hand from its field numbers."""

import pytest

from secrets_store.providers import retry_info

KIND = b"type.googleapis.com/google.rpc.RetryInfo"


def varint(value: int) -> bytes:
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*out, value])


def field(number: int, value: int | bytes) -> bytes:
    if isinstance(value, int):
        return varint(number << 3) + varint(value)
    return varint(number << 3 | 2) + varint(len(value)) + value


def status(seconds: int = 0, nanos: int = 0, kind: bytes = KIND) -> bytes:
    duration = field(1, seconds) + field(2, nanos)
    packed = field(1, kind) + field(2, field(1, duration))
    return field(1, 8) + field(2, b"slow down") + field(3, packed)


@pytest.mark.parametrize(
    ("seconds", "nanos", "delay_s"),
    [(0, 0, 0.0), (30, 0, 30.0), (1, 500_000_000, 1.5), (10**9, 0, 86400.0)],
)
def test_the_delay_is_read_and_bounded(seconds: int, nanos: int, delay_s: float) -> None:
    assert retry_info.delay_s(status(seconds, nanos)) == delay_s


def test_other_details_before_it_are_passed_over() -> None:
    other = field(3, field(1, b"type.googleapis.com/google.rpc.Help") + field(2, b"\x0a\x00"))
    fixed = bytes([4 << 3 | 1]) + bytes(8) + bytes([5 << 3 | 5]) + bytes(4)
    assert retry_info.delay_s(other + fixed + status(2)) == 2.0


@pytest.mark.parametrize(
    "details",
    [
        b"",
        b"\xff",
        b"\x1a\xff",
        field(1, 8),
        status(5, kind=b"type.googleapis.com/google.rpc.QuotaFailure"),
        status(5)[:-1],
        field(3, field(1, KIND) + field(2, b"")),
        field(3, field(1, KIND) + field(2, field(1, 7))),
        field(3, field(1, KIND) + field(2, field(1, field(1, b"x")))),
        b"\x0b\x0c",
        b"\x08" + b"\xff" * 11,
    ],
)
def test_what_is_no_delay_is_none(details: bytes) -> None:
    assert retry_info.delay_s(details) is None


def test_a_negative_delay_is_none() -> None:
    """It comes as the two's complement of 64 bits."""
    assert retry_info.delay_s(status((1 << 64) - 1)) is None
