"""The wire contracts as tables, compared with what the generated modules register.

The tables are written from the CSI specification (1.12, `csi.v1`), the provider
contract `v1alpha1` that existing providers are compiled against and kubelet's
plugin registration, not from our .proto files. A difference in either direction
fails: a kubelet, sidecar or provider of somebody else depends on each line.

Line forms:
    service NAME                        METHOD Request -> Response [marks]
    message NAME [marks]                NUMBER NAME TYPE [oneof NAME] [marks]
    enum NAME                           NUMBER VALUE [marks]
A type of ours is written with its package left out.
"""

from collections.abc import Iterable, Iterator

import pytest
from google.protobuf import descriptor, descriptor_pb2, message

from csi_spec import csi_pb2, provider_pb2
from devkit import registration_pb2

CSI_EXTENSIONS = """
alpha_enum 1060 bool EnumOptions
alpha_enum_value 1060 bool EnumValueOptions
alpha_field 1060 bool FieldOptions
alpha_message 1060 bool MessageOptions
alpha_method 1060 bool MethodOptions
alpha_service 1060 bool ServiceOptions
csi_secret 1059 bool FieldOptions
"""

CSI_SERVICES = """
service Identity
  GetPluginInfo GetPluginInfoRequest -> GetPluginInfoResponse
  GetPluginCapabilities GetPluginCapabilitiesRequest -> GetPluginCapabilitiesResponse
  Probe ProbeRequest -> ProbeResponse
service Node
  NodeStageVolume NodeStageVolumeRequest -> NodeStageVolumeResponse
  NodeUnstageVolume NodeUnstageVolumeRequest -> NodeUnstageVolumeResponse
  NodePublishVolume NodePublishVolumeRequest -> NodePublishVolumeResponse
  NodeUnpublishVolume NodeUnpublishVolumeRequest -> NodeUnpublishVolumeResponse
  NodeGetVolumeStats NodeGetVolumeStatsRequest -> NodeGetVolumeStatsResponse
  NodeExpandVolume NodeExpandVolumeRequest -> NodeExpandVolumeResponse
  NodeGetCapabilities NodeGetCapabilitiesRequest -> NodeGetCapabilitiesResponse
  NodeGetInfo NodeGetInfoRequest -> NodeGetInfoResponse
service Controller
  CreateVolume CreateVolumeRequest -> CreateVolumeResponse
  DeleteVolume DeleteVolumeRequest -> DeleteVolumeResponse
  ControllerPublishVolume ControllerPublishVolumeRequest -> ControllerPublishVolumeResponse
  ControllerUnpublishVolume ControllerUnpublishVolumeRequest -> ControllerUnpublishVolumeResponse
  ValidateVolumeCapabilities ValidateVolumeCapabilitiesRequest -> ValidateVolumeCapabilitiesResponse
  ListVolumes ListVolumesRequest -> ListVolumesResponse
  GetCapacity GetCapacityRequest -> GetCapacityResponse
  ControllerGetCapabilities ControllerGetCapabilitiesRequest -> ControllerGetCapabilitiesResponse
  CreateSnapshot CreateSnapshotRequest -> CreateSnapshotResponse
  DeleteSnapshot DeleteSnapshotRequest -> DeleteSnapshotResponse
  ListSnapshots ListSnapshotsRequest -> ListSnapshotsResponse
  GetSnapshot GetSnapshotRequest -> GetSnapshotResponse alpha_method
  ControllerExpandVolume ControllerExpandVolumeRequest -> ControllerExpandVolumeResponse
  ControllerGetVolume ControllerGetVolumeRequest -> ControllerGetVolumeResponse alpha_method
  ControllerModifyVolume ControllerModifyVolumeRequest -> ControllerModifyVolumeResponse
"""

CSI_MESSAGES = """
message GetPluginInfoRequest
message GetPluginInfoResponse
  1 name string
  2 vendor_version string
  3 manifest map<string,string>
message GetPluginCapabilitiesRequest
message GetPluginCapabilitiesResponse
  1 capabilities repeated PluginCapability
message PluginCapability
  1 service PluginCapability.Service oneof type
  2 volume_expansion PluginCapability.VolumeExpansion oneof type
message PluginCapability.Service
  1 type PluginCapability.Service.Type
enum PluginCapability.Service.Type
  0 UNKNOWN
  1 CONTROLLER_SERVICE
  2 VOLUME_ACCESSIBILITY_CONSTRAINTS
  3 GROUP_CONTROLLER_SERVICE
  4 SNAPSHOT_METADATA_SERVICE alpha_enum_value
message PluginCapability.VolumeExpansion
  1 type PluginCapability.VolumeExpansion.Type
enum PluginCapability.VolumeExpansion.Type
  0 UNKNOWN
  1 ONLINE
  2 OFFLINE
message ProbeRequest
message ProbeResponse
  1 ready google.protobuf.BoolValue
message NodeStageVolumeRequest
  1 volume_id string
  2 publish_context map<string,string>
  3 staging_target_path string
  4 volume_capability VolumeCapability
  5 secrets map<string,string> csi_secret
  6 volume_context map<string,string>
message NodeStageVolumeResponse
message NodeUnstageVolumeRequest
  1 volume_id string
  2 staging_target_path string
message NodeUnstageVolumeResponse
message NodePublishVolumeRequest
  1 volume_id string
  2 publish_context map<string,string>
  3 staging_target_path string
  4 target_path string
  5 volume_capability VolumeCapability
  6 readonly bool
  7 secrets map<string,string> csi_secret
  8 volume_context map<string,string>
message NodePublishVolumeResponse
message NodeUnpublishVolumeRequest
  1 volume_id string
  2 target_path string
message NodeUnpublishVolumeResponse
message NodeGetVolumeStatsRequest
  1 volume_id string
  2 volume_path string
  3 staging_target_path string
message NodeGetVolumeStatsResponse
  1 usage repeated VolumeUsage
  2 volume_condition VolumeCondition alpha_field
message VolumeUsage
  1 available int64
  2 total int64
  3 used int64
  4 unit VolumeUsage.Unit
enum VolumeUsage.Unit
  0 UNKNOWN
  1 BYTES
  2 INODES
message VolumeCondition alpha_message
  1 abnormal bool
  2 message string
message NodeGetCapabilitiesRequest
message NodeGetCapabilitiesResponse
  1 capabilities repeated NodeServiceCapability
message NodeServiceCapability
  1 rpc NodeServiceCapability.RPC oneof type
message NodeServiceCapability.RPC
  1 type NodeServiceCapability.RPC.Type
enum NodeServiceCapability.RPC.Type
  0 UNKNOWN
  1 STAGE_UNSTAGE_VOLUME
  2 GET_VOLUME_STATS
  3 EXPAND_VOLUME
  4 VOLUME_CONDITION alpha_enum_value
  5 SINGLE_NODE_MULTI_WRITER alpha_enum_value
  6 VOLUME_MOUNT_GROUP
message NodeGetInfoRequest
message NodeGetInfoResponse
  1 node_id string
  2 max_volumes_per_node int64
  3 accessible_topology Topology
message Topology
  1 segments map<string,string>
message NodeExpandVolumeRequest
  1 volume_id string
  2 volume_path string
  3 capacity_range CapacityRange
  4 staging_target_path string
  5 volume_capability VolumeCapability
  6 secrets map<string,string> csi_secret alpha_field
message NodeExpandVolumeResponse
  1 capacity_bytes int64
message CapacityRange
  1 required_bytes int64
  2 limit_bytes int64
message VolumeCapability
  1 block VolumeCapability.BlockVolume oneof access_type
  2 mount VolumeCapability.MountVolume oneof access_type
  3 access_mode VolumeCapability.AccessMode
message VolumeCapability.BlockVolume
message VolumeCapability.MountVolume
  1 fs_type string
  2 mount_flags repeated string
  3 volume_mount_group string
message VolumeCapability.AccessMode
  1 mode VolumeCapability.AccessMode.Mode
enum VolumeCapability.AccessMode.Mode
  0 UNKNOWN
  1 SINGLE_NODE_WRITER
  2 SINGLE_NODE_READER_ONLY
  3 MULTI_NODE_READER_ONLY
  4 MULTI_NODE_SINGLE_WRITER
  5 MULTI_NODE_MULTI_WRITER
  6 SINGLE_NODE_SINGLE_WRITER alpha_enum_value
  7 SINGLE_NODE_MULTI_WRITER alpha_enum_value
message ControllerGetCapabilitiesRequest
message ControllerGetCapabilitiesResponse
  1 capabilities repeated ControllerServiceCapability
message ControllerServiceCapability
  1 rpc ControllerServiceCapability.RPC oneof type
message ControllerServiceCapability.RPC
  1 type ControllerServiceCapability.RPC.Type
enum ControllerServiceCapability.RPC.Type
  0 UNKNOWN
  1 CREATE_DELETE_VOLUME
  2 PUBLISH_UNPUBLISH_VOLUME
  3 LIST_VOLUMES
  4 GET_CAPACITY
  5 CREATE_DELETE_SNAPSHOT
  6 LIST_SNAPSHOTS
  7 CLONE_VOLUME
  8 PUBLISH_READONLY
  9 EXPAND_VOLUME
  10 LIST_VOLUMES_PUBLISHED_NODES
  11 VOLUME_CONDITION alpha_enum_value
  12 GET_VOLUME alpha_enum_value
  13 SINGLE_NODE_MULTI_WRITER alpha_enum_value
  14 MODIFY_VOLUME
  15 GET_SNAPSHOT alpha_enum_value
message CreateVolumeRequest
message CreateVolumeResponse
message DeleteVolumeRequest
message DeleteVolumeResponse
message ControllerPublishVolumeRequest
message ControllerPublishVolumeResponse
message ControllerUnpublishVolumeRequest
message ControllerUnpublishVolumeResponse
message ValidateVolumeCapabilitiesRequest
message ValidateVolumeCapabilitiesResponse
message ListVolumesRequest
message ListVolumesResponse
message GetCapacityRequest
message GetCapacityResponse
message CreateSnapshotRequest
message CreateSnapshotResponse
message DeleteSnapshotRequest
message DeleteSnapshotResponse
message ListSnapshotsRequest
message ListSnapshotsResponse
message GetSnapshotRequest
message GetSnapshotResponse
message ControllerExpandVolumeRequest
message ControllerExpandVolumeResponse
message ControllerGetVolumeRequest
message ControllerGetVolumeResponse
message ControllerModifyVolumeRequest
message ControllerModifyVolumeResponse
"""

PROVIDER_SERVICES = """
service CSIDriverProvider
  Version VersionRequest -> VersionResponse
  Mount MountRequest -> MountResponse
"""

PROVIDER_MESSAGES = """
message VersionRequest
  1 version string
message VersionResponse
  1 version string
  2 runtime_name string
  3 runtime_version string
message MountRequest
  1 attributes string
  2 secrets string
  3 target_path string
  4 permission string
  5 current_object_version repeated ObjectVersion
message MountResponse
  1 object_version repeated ObjectVersion
  2 error Error
  3 files repeated File
message File
  1 path string
  2 mode int32
  3 contents bytes
message ObjectVersion
  1 id string
  2 version string
message Error
  1 code string
"""


REGISTRATION_SERVICES = """
service Registration
  GetInfo InfoRequest -> PluginInfo
  NotifyRegistrationStatus RegistrationStatus -> RegistrationStatusResponse
"""

REGISTRATION_MESSAGES = """
message InfoRequest
message PluginInfo
  1 type string
  2 name string
  3 endpoint string
  4 supported_versions repeated string
message RegistrationStatus
  1 plugin_registered bool
  2 error string
message RegistrationStatusResponse
"""


def blocks(text: str) -> dict[str, list[str]]:
    """Split a table into its blocks: head line → indented lines, sorted."""
    found: dict[str, list[str]] = {}
    lines: list[str] = []
    for line in text.strip().splitlines():
        if line.startswith("  "):
            lines.append(line.strip())
        else:
            lines = found[line.strip()] = []
    return {head: sorted(body) for head, body in found.items()}


def line(*words: str) -> str:
    return " ".join(word for word in words if word)


def marks(element: descriptor.DescriptorBase) -> str:
    """Name the options that are set on an element, in the order of their numbers."""
    options: message.Message = element.GetOptions()
    return " ".join(field.name for field, value in options.ListFields() if value is True)


def type_name(field: descriptor.FieldDescriptor) -> str:
    kinds = descriptor_pb2.FieldDescriptorProto.Type
    if field.message_type is not None:
        if field.message_type.GetOptions().map_entry:
            key, value = field.message_type.fields
            return f"map<{type_name(key)},{type_name(value)}>"
        full = field.message_type.full_name
    elif field.enum_type is not None:
        full = field.enum_type.full_name
    else:
        return kinds.Name(field.type).removeprefix("TYPE_").lower()  # type: ignore[arg-type]
    return full.removeprefix("csi.v1.").removeprefix("v1alpha1.")


def field_line(field: descriptor.FieldDescriptor) -> str:
    is_map = type_name(field).startswith("map<")
    oneof = f"oneof {field.containing_oneof.name}" if field.containing_oneof else ""
    repeated = "repeated" if field.is_repeated and not is_map else ""
    return line(str(field.number), field.name, repeated, type_name(field), oneof, marks(field))


def rendered_messages(
    types: Iterable[descriptor.Descriptor],
) -> Iterator[tuple[str, list[str]]]:
    for kind in types:
        if kind.GetOptions().map_entry:
            continue
        name = kind.full_name.removeprefix(f"{kind.file.package}.")
        yield line("message", name, marks(kind)), sorted(map(field_line, kind.fields))
        yield from rendered_enums(kind.enum_types)
        yield from rendered_messages(kind.nested_types)


def rendered_enums(
    types: Iterable[descriptor.EnumDescriptor],
) -> Iterator[tuple[str, list[str]]]:
    for kind in types:
        name = kind.full_name.removeprefix(f"{kind.file.package}.")
        yield (
            line("enum", name, marks(kind)),
            sorted(line(str(value.number), value.name, marks(value)) for value in kind.values),
        )


def rendered_services(file: descriptor.FileDescriptor) -> Iterator[tuple[str, list[str]]]:
    for service in file.services_by_name.values():
        yield (
            line("service", service.name, marks(service)),
            sorted(
                line(
                    method.name,
                    "stream" if method.client_streaming else "",
                    method.input_type.name,
                    "->",
                    "stream" if method.server_streaming else "",
                    method.output_type.name,
                    marks(method),
                )
                for method in service.methods
            ),
        )


def raw(file: descriptor.FileDescriptor) -> descriptor_pb2.FileDescriptorProto:
    copy = descriptor_pb2.FileDescriptorProto()
    file.CopyToProto(copy)
    return copy


FILES = [
    pytest.param(csi_pb2.DESCRIPTOR, "csi.v1", CSI_SERVICES, CSI_MESSAGES, id="csi"),
    pytest.param(
        provider_pb2.DESCRIPTOR, "v1alpha1", PROVIDER_SERVICES, PROVIDER_MESSAGES, id="provider"
    ),
    pytest.param(
        registration_pb2.DESCRIPTOR,
        "pluginregistration",
        REGISTRATION_SERVICES,
        REGISTRATION_MESSAGES,
        id="registration",
    ),
]


@pytest.mark.parametrize(("file", "package", "services", "messages"), FILES)
class TestFile:
    def test_package_and_syntax(
        self, file: descriptor.FileDescriptor, package: str, services: str, messages: str
    ) -> None:
        assert file.package == package
        assert raw(file).syntax == "proto3"

    def test_services(
        self, file: descriptor.FileDescriptor, package: str, services: str, messages: str
    ) -> None:
        assert dict(rendered_services(file)) == blocks(services)

    def test_messages_and_enums(
        self, file: descriptor.FileDescriptor, package: str, services: str, messages: str
    ) -> None:
        rendered = dict(rendered_messages(file.message_types_by_name.values()))
        rendered |= dict(rendered_enums(file.enum_types_by_name.values()))
        assert rendered == blocks(messages)

    def test_no_field_is_optional_by_keyword(
        self, file: descriptor.FileDescriptor, package: str, services: str, messages: str
    ) -> None:
        """`optional` would change presence, which the table does not show."""
        assert not [
            f"{kind.name}.{field.name}"
            for kind in raw(file).message_type
            for field in kind.field
            if field.proto3_optional
        ]


def test_options_of_the_csi_specification() -> None:
    rendered = []
    for name, extension in sorted(csi_pb2.DESCRIPTOR.extensions_by_name.items()):
        assert extension.containing_type is not None
        extended = extension.containing_type.name
        rendered.append(line(name, str(extension.number), type_name(extension), extended))
    assert rendered == CSI_EXTENSIONS.split("\n")[1:-1]
    assert not provider_pb2.DESCRIPTOR.extensions_by_name


def test_providers_generate_go_into_the_package_they_expect() -> None:
    assert provider_pb2.DESCRIPTOR.GetOptions().go_package == "./provider/v1alpha1"


def test_a_request_encoded_by_hand_decodes() -> None:
    """Guards the comparison above itself: tag = number << 3 | 2 for length-delimited."""
    encoded = (
        b"\x0a\x02id"  # 1: volume_id
        b"\x22\x02/t"  # 4: target_path
        b"\x2a\x06\x12\x00\x1a\x02\x08\x01"  # 5: volume_capability{2: mount, 3: {1: mode 1}}
        b"\x30\x01"  # 6: readonly
        b"\x3a\x06\x0a\x01s\x12\x01v"  # 7: secrets
        b"\x42\x06\x0a\x01c\x12\x01w"  # 8: volume_context
    )
    request = csi_pb2.NodePublishVolumeRequest.FromString(encoded)
    assert request.volume_id == "id"
    assert request.target_path == "/t"
    assert request.volume_capability.WhichOneof("access_type") == "mount"
    assert (
        request.volume_capability.access_mode.mode
        == csi_pb2.VolumeCapability.AccessMode.SINGLE_NODE_WRITER
    )
    assert request.readonly
    assert dict(request.secrets) == {"s": "v"}
    assert dict(request.volume_context) == {"c": "w"}
