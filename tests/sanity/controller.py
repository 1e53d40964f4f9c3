"""A controller beside the driver, with whose volumes the suite comes to a publish that succeeds.

The driver has no controller, as volumes of pods are not created by anybody. The suite takes one
from another socket and hands what ``CreateVolume`` returns to the driver under test. Nothing of it
belongs into the project's contract, so its few messages are described here.
"""

import contextlib
import functools
import pathlib
import uuid
from collections.abc import AsyncIterator
from typing import Any

import grpc
import grpc.aio
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

from csi_spec import csi_pb2, csi_pb2_grpc, rpc
from secrets_store.csi import identity

_Field = descriptor_pb2.FieldDescriptorProto
_PACKAGE = "sanity"


def _messages() -> dict[str, Any]:
    """Make the classes of the messages. Source: CSI spec v1, field numbers as there."""
    file = descriptor_pb2.FileDescriptorProto(
        name="sanity_controller.proto", package=_PACKAGE, syntax="proto3"
    )
    range_ = file.message_type.add(name="CapacityRange")
    range_.field.add(name="required_bytes", number=1, type=_Field.TYPE_INT64)
    create = file.message_type.add(name="CreateVolumeRequest")
    _message(create, "capacity_range", 2, "CapacityRange")
    _map(create, "parameters", 4)
    volume = file.message_type.add(name="Volume")
    volume.field.add(name="capacity_bytes", number=1, type=_Field.TYPE_INT64)
    volume.field.add(name="volume_id", number=2, type=_Field.TYPE_STRING)
    _map(volume, "volume_context", 3)
    _message(file.message_type.add(name="CreateVolumeResponse"), "volume", 1, "Volume")
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return message_factory.GetMessageClassesForFiles([file.name], pool)


def _message(owner: descriptor_pb2.DescriptorProto, name: str, number: int, kind: str) -> None:
    owner.field.add(
        name=name, number=number, type=_Field.TYPE_MESSAGE, type_name=f".{_PACKAGE}.{kind}"
    )


def _map(owner: descriptor_pb2.DescriptorProto, name: str, number: int) -> None:
    """Add a map of strings, which on the wire is a repeated message of key and value."""
    kind = name.title().replace("_", "") + "Entry"
    entry = owner.nested_type.add(name=kind)
    entry.options.map_entry = True
    entry.field.add(name="key", number=1, type=_Field.TYPE_STRING)
    entry.field.add(name="value", number=2, type=_Field.TYPE_STRING)
    _message(owner, name, number, f"{owner.name}.{kind}")
    owner.field[-1].label = _Field.LABEL_REPEATED


_CLASSES = _messages()
_Request = _CLASSES[f"{_PACKAGE}.CreateVolumeRequest"]
_Response = _CLASSES[f"{_PACKAGE}.CreateVolumeResponse"]
_Volume = _CLASSES[f"{_PACKAGE}.Volume"]
_Rpc = csi_pb2.ControllerServiceCapability.RPC


async def _capabilities(_: Any, context: object) -> csi_pb2.ControllerGetCapabilitiesResponse:
    one = csi_pb2.ControllerServiceCapability(rpc=_Rpc(type=_Rpc.CREATE_DELETE_VOLUME))
    return csi_pb2.ControllerGetCapabilitiesResponse(capabilities=[one])


async def _create(request: Any, context: object) -> Any:
    """Create a volume in name only; its context is what it was asked for with."""
    return _Response(
        volume=_Volume(
            volume_id=f"sanity-{uuid.uuid4().hex}",
            capacity_bytes=request.capacity_range.required_bytes,
            volume_context=dict(request.parameters),
        )
    )


async def _delete(_: Any, context: object) -> csi_pb2.DeleteVolumeResponse:
    return csi_pb2.DeleteVolumeResponse()


def _add_controller(server: grpc.aio.Server) -> None:
    methods: dict[str, tuple[Any, Any]] = {
        "ControllerGetCapabilities": (_capabilities, csi_pb2.ControllerGetCapabilitiesRequest),
        "CreateVolume": (_create, _Request),
        "DeleteVolume": (_delete, csi_pb2.DeleteVolumeRequest),
    }
    handlers: dict[str, grpc.RpcMethodHandler[Any, Any]] = {
        name: grpc.unary_unary_rpc_method_handler(
            call,
            request_deserializer=request.FromString,
            response_serializer=lambda answer: answer.SerializeToString(),
        )
        for name, (call, request) in methods.items()
    }
    server.add_generic_rpc_handlers(
        (grpc.method_handlers_generic_handler("csi.v1.Controller", handlers),)
    )


@contextlib.asynccontextmanager
async def serving(socket: pathlib.Path) -> AsyncIterator[None]:
    """Serve on a unix socket."""
    who = identity.Identity(name="sanity-controller", version="v0.0.0")
    server = await rpc.serve(
        str(socket),
        [functools.partial(csi_pb2_grpc.add_IdentityServicer_to_server, who), _add_controller],
    )
    try:
        yield
    finally:
        await server.stop(0)
