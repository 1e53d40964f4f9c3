import pytest
from google.protobuf import any_pb2, descriptor_pb2, descriptor_pool, duration_pb2, message_factory

from provider_kms import status

INT32, STRING, MESSAGE = 5, 9, 11


def classes() -> tuple[type, type]:
    """Build Status and RetryInfo with the library, from what the public files say of them."""
    file = descriptor_pb2.FileDescriptorProto(name="rpc.proto", package="google.rpc")
    file.syntax = "proto3"
    file.dependency.extend(["google/protobuf/any.proto", "google/protobuf/duration.proto"])
    fields = {
        "Status": [
            ("code", 1, INT32, ""),
            ("message", 2, STRING, ""),
            ("details", 3, MESSAGE, "Any"),
        ],
        "RetryInfo": [("retry_delay", 1, MESSAGE, "Duration")],
    }
    for name, members in fields.items():
        message = file.message_type.add(name=name)
        for field, number, kind, of in members:
            added = message.field.add(name=field, number=number, type=kind, label=1)
            if of:
                added.type_name = f".google.protobuf.{of}"
            if field == "details":
                added.label = 3
    pool = descriptor_pool.DescriptorPool()
    for module in (any_pb2, duration_pb2):
        known = descriptor_pb2.FileDescriptorProto()
        module.DESCRIPTOR.CopyToProto(known)
        pool.Add(known)
    pool.Add(file)
    names = ("google.rpc.Status", "google.rpc.RetryInfo")
    found = [message_factory.GetMessageClass(pool.FindMessageTypeByName(name)) for name in names]
    return found[0], found[1]


@pytest.mark.parametrize(
    ("seconds", "whole", "nanos"),
    [
        (0.0, 0, 0),
        (1.0, 1, 0),
        (120.5, 120, 500_000_000),
        (3600.0, 3600, 0),
        (0.25, 0, 250_000_000),
    ],
)
def test_a_library_reads_it(seconds: float, whole: int, nanos: int) -> None:
    status_class, retry_class = classes()

    found = status_class.FromString(status.with_retry_info(8, "é" * 200, seconds))

    assert (found.code, found.message) == (8, "é" * 200)
    assert len(found.details) == 1
    assert found.details[0].type_url == "type.googleapis.com/google.rpc.RetryInfo"
    retry = retry_class.FromString(found.details[0].value)
    assert (retry.retry_delay.seconds, retry.retry_delay.nanos) == (whole, nanos)
