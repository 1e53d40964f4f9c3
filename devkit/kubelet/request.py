"""Build the requests that kubelet sends for an inline CSI volume. Pure.

Source: the CSI specification's Node service, and what kubelet was observed to fill.
"""

import hashlib
from collections.abc import Collection

from csi_spec import csi_pb2
from devkit.kubelet import objects

_PREFIX = "csi.storage.k8s.io/"
TOKENS_KEY = _PREFIX + "serviceAccount.tokens"

_Capability = csi_pb2.NodeServiceCapability.RPC
_Access = csi_pb2.VolumeCapability.AccessMode


def volume_id(pod_uid: str, volume_name: str) -> str:
    """Name an inline volume as kubelet does."""
    return "csi-" + hashlib.sha256(f"{pod_uid}{volume_name}".encode()).hexdigest()


def attachment_id(volume_id: str, driver: str, node_name: str) -> str:
    """Name the attachment that kubelet notes in vol_data.json; drivers never see it."""
    return "csi-" + hashlib.sha256(f"{volume_id}{driver}{node_name}".encode()).hexdigest()


def publish(
    pod: objects.Pod,
    volume: objects.Volume,
    target_path: str,
    *,
    driver: objects.CsiDriver,
    capabilities: Collection[int],
    tokens: str | None,
) -> csi_pb2.NodePublishVolumeRequest:
    """Build the request for one pod volume.

    Args:
        pod: whose volume it is.
        volume: as the pod's spec has it.
        target_path: where the driver shall mount.
        driver: says whether pod information and tokens are sent, and where.
        capabilities: types that the driver's NodeGetCapabilities answered with.
        tokens: JSON text for the driver, or None for no tokens.
    """
    secrets = dict(volume.secrets)
    context = dict(volume.attributes)
    if driver.pod_info_on_mount:
        context |= {
            _PREFIX + "pod.name": pod.name,
            _PREFIX + "pod.namespace": pod.namespace,
            _PREFIX + "pod.uid": pod.uid,
            _PREFIX + "serviceAccount.name": pod.service_account,
            _PREFIX + "ephemeral": "true",
        }
    if tokens is not None:
        (secrets if driver.token_in_secrets else context)[TOKENS_KEY] = tokens
    many_writers = _Capability.SINGLE_NODE_MULTI_WRITER in capabilities
    mount = csi_pb2.VolumeCapability.MountVolume(fs_type=volume.fs_type)
    if pod.fs_group is not None and _Capability.VOLUME_MOUNT_GROUP in capabilities:
        mount.volume_mount_group = str(pod.fs_group)
    return csi_pb2.NodePublishVolumeRequest(
        volume_id=volume_id(pod.uid, volume.name),
        target_path=target_path,
        volume_capability=csi_pb2.VolumeCapability(
            mount=mount,
            access_mode=_Access(
                mode=_Access.SINGLE_NODE_MULTI_WRITER
                if many_writers
                else _Access.SINGLE_NODE_WRITER
            ),
        ),
        readonly=volume.read_only,
        secrets=secrets,
        volume_context=context,
    )
