import pathlib
from typing import Any

import pytest
from google.protobuf import any_pb2, duration_pb2
from hypothesis import given
from hypothesis import strategies as st

from csi_spec import provider_pb2, provider_pb2_grpc, rpc
from secrets_store import errors
from secrets_store.log import Sealed
from secrets_store.providers import client, retry_info

TYPE = "type.googleapis.com/google.rpc.RetryInfo"


def field(number: int, value: bytes) -> bytes:
    """One length-delimited field; lengths below 128 alone."""
    assert len(value) < 128
    return bytes((number << 3 | 2, len(value))) + value


def status(seconds: int, nanos: int = 0, *, kind: str = TYPE, before: bytes = b"") -> bytes:
    """google.rpc.Status as a Go provider makes it: code, message, details."""
    delay = duration_pb2.Duration(seconds=seconds, nanos=nanos)
    detail = any_pb2.Any(type_url=kind, value=field(1, delay.SerializeToString()))
    return b"\x08\x0e" + field(2, b"busy") + before + field(3, detail.SerializeToString())


@pytest.mark.parametrize(
    ("details", "delay_s"),
    [
        (status(7), 7.0),
        (status(0, 500_000_000), 0.5),
        (status(1, 250_000_000), 1.25),
        (status(0), 0.0),
        (status(300), 300.0),
        pytest.param(status(10**9), 86400.0, id="at most a day"),
        pytest.param(status(-5), None, id="no delay before now"),
        pytest.param(status(0, -1), None, id="nor a little before"),
        (status(7, kind="type.googleapis.com/google.rpc.DebugInfo"), None),
        pytest.param(
            status(7, before=field(3, any_pb2.Any(type_url="x/y").SerializeToString())),
            7.0,
            id="behind another detail",
        ),
        pytest.param(status(7) + b"\x21" + bytes(8) + b"\x2d" + bytes(4), 7.0, id="more fields"),
        pytest.param(b"\x21" + bytes(8) + b"\x2d" + bytes(4) + status(7), 7.0, id="fields before"),
        (b"", None),
        (b"\x08\x0e", None),
        pytest.param(b"\x18\x01", None, id="details of another form"),
        pytest.param(field(3, field(1, TYPE.encode())), None, id="no value"),
        pytest.param(field(3, field(1, TYPE.encode()) + b"\x12\x00"), None, id="empty value"),
        pytest.param(
            field(3, field(1, TYPE.encode()) + field(2, b"\x08\x01")), None, id="no duration"
        ),
        pytest.param(
            field(3, field(1, TYPE.encode()) + field(2, field(1, field(1, b"x")))),
            None,
            id="seconds of another form",
        ),
        pytest.param(status(7)[:-1], None, id="cut"),
        pytest.param(b"\x0b", None, id="a group"),
        pytest.param(b"\x80" * 20, None, id="a number without end"),
    ],
)
def test_the_delay_in_a_status(details: bytes, delay_s: float | None) -> None:
    assert retry_info.delay_s(details) == delay_s


@given(st.binary(max_size=60) | st.binary(max_size=20).map(lambda x: status(7)[:-5] + x))
def test_any_bytes_are_a_bounded_delay_or_none(details: bytes) -> None:
    delay_s = retry_info.delay_s(details)

    assert delay_s is None or 0.0 <= delay_s <= retry_info.MAX_DELAY_S


class Busy(provider_pb2_grpc.CSIDriverProviderServicer):
    """Wants to be asked again later."""

    async def Version(self, request: Any, context: Any) -> provider_pb2.VersionResponse:
        return provider_pb2.VersionResponse()

    async def Mount(self, request: Any, context: Any) -> provider_pb2.MountResponse:
        import grpc

        await context.abort(
            grpc.StatusCode.RESOURCE_EXHAUSTED, "busy", ((retry_info.METADATA_KEY, status(7)),)
        )
        raise AssertionError("aborted")


async def test_a_provider_s_wish_reaches_the_caller(
    directories: tuple[pathlib.Path, pathlib.Path],
) -> None:
    path = f"{directories[0]}/busy.sock"
    server = await rpc.serve(
        path, [lambda x: provider_pb2_grpc.add_CSIDriverProviderServicer_to_server(Busy(), x)]
    )
    channel = client.Client(path, (0, 0, 0), max_receive_bytes=1000)
    question = client.Question("busy", Sealed("{}"), Sealed("null"), "/v", {}, Sealed(()))

    with pytest.raises(errors.ProviderFailed) as caught:
        await channel.mount(question, 3.0)

    assert caught.value.retry_after_s == 7.0
    assert caught.value.status_code is errors.Code.RESOURCE_EXHAUSTED
    await channel.close()
    await server.stop(0)
