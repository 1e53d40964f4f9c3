"""The requests kubelet builds, field by field."""

import hashlib
import json
import secrets

import pytest

from csi_spec import csi_pb2
from devkit.kubelet import objects, request

Kind = csi_pb2.NodeServiceCapability.RPC
Mode = csi_pb2.VolumeCapability.AccessMode
POD = objects.Pod("web", "shop", uid="11112222-3333", service_account="seller")
VOLUME = objects.Volume("store", {"secretProviderClass": "one"})
POD_INFO = {
    "csi.storage.k8s.io/pod.name": "web",
    "csi.storage.k8s.io/pod.namespace": "shop",
    "csi.storage.k8s.io/pod.uid": "11112222-3333",
    "csi.storage.k8s.io/serviceAccount.name": "seller",
    "csi.storage.k8s.io/ephemeral": "true",
}


def build(
    pod: objects.Pod = POD,
    volume: objects.Volume = VOLUME,
    *,
    driver: objects.CsiDriver | None = None,
    capabilities: frozenset[int] = frozenset(),
    tokens: str | None = None,
) -> csi_pb2.NodePublishVolumeRequest:
    return request.publish(
        pod,
        volume,
        "/pods/x/mount",
        driver=driver or objects.CsiDriver(),
        capabilities=capabilities,
        tokens=tokens,
    )


def test_volume_id_is_a_digest_of_uid_and_name() -> None:
    digest = hashlib.sha256(b"11112222-3333store").hexdigest()
    assert request.volume_id("11112222-3333", "store") == f"csi-{digest}"


def test_attachment_id_is_a_digest_of_volume_driver_and_node() -> None:
    digest = hashlib.sha256(b"csi-1drv.ionode-1").hexdigest()
    assert request.attachment_id("csi-1", "drv.io", "node-1") == f"csi-{digest}"


def test_a_plain_request_has_these_fields_and_no_more() -> None:
    assert build() == csi_pb2.NodePublishVolumeRequest(
        volume_id=request.volume_id("11112222-3333", "store"),
        target_path="/pods/x/mount",
        volume_capability=csi_pb2.VolumeCapability(
            mount=csi_pb2.VolumeCapability.MountVolume(),
            access_mode=Mode(mode=Mode.SINGLE_NODE_WRITER),
        ),
        readonly=True,
        volume_context={"secretProviderClass": "one"} | POD_INFO,
    )


def test_pod_information_wins_over_attributes_of_the_same_name() -> None:
    volume = objects.Volume("store", {"csi.storage.k8s.io/pod.name": "other"})
    assert build(volume=volume).volume_context["csi.storage.k8s.io/pod.name"] == "web"


def test_no_pod_information_unless_the_driver_asks() -> None:
    driver = objects.CsiDriver(pod_info_on_mount=False)
    assert dict(build(driver=driver).volume_context) == {"secretProviderClass": "one"}


def test_readonly_and_fs_type_are_the_volumes() -> None:
    sent = build(volume=objects.Volume("store", read_only=False, fs_type="tmpfs"))
    assert not sent.readonly
    assert sent.volume_capability.mount.fs_type == "tmpfs"


@pytest.mark.parametrize(("in_secrets", "field"), [(False, "volume_context"), (True, "secrets")])
def test_tokens_go_where_the_driver_wants_them(in_secrets: bool, field: str) -> None:
    password, tokens = secrets.token_hex(), json.dumps({"kms": secrets.token_hex()})
    sent = build(
        volume=objects.Volume("store", secrets={"password": password}),
        driver=objects.CsiDriver(token_in_secrets=in_secrets),
        tokens=tokens,
    )
    where = [
        name
        for name in ("volume_context", "secrets")
        if getattr(sent, name).get(request.TOKENS_KEY) == tokens
    ]
    assert where == [field]
    assert sent.secrets["password"] == password


@pytest.mark.parametrize(
    ("capabilities", "fs_group", "sent_group"),
    [
        ({Kind.VOLUME_MOUNT_GROUP}, 2000, "2000"),
        ({Kind.VOLUME_MOUNT_GROUP}, None, ""),
        ({Kind.STAGE_UNSTAGE_VOLUME}, 2000, ""),
    ],
)
def test_the_group_is_for_drivers_that_can_apply_it(
    capabilities: set[int], fs_group: int | None, sent_group: str
) -> None:
    pod = objects.Pod("web", fs_group=fs_group)
    sent = build(pod, capabilities=frozenset(capabilities))
    assert sent.volume_capability.mount.volume_mount_group == sent_group


def test_the_access_mode_follows_the_capability() -> None:
    sent = build(capabilities=frozenset({Kind.SINGLE_NODE_MULTI_WRITER}))
    assert sent.volume_capability.access_mode.mode == Mode.SINGLE_NODE_MULTI_WRITER
