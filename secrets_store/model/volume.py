"""What kubelet asks for: requests of the CSI Node service, checked and in our own terms.

Whoever may create pods controls ``volume_context``; therefore only kubelet's own keys are trusted
and every other one is kept apart.
"""

import dataclasses
import json
import posixpath
import re
from collections.abc import Mapping

from csi_spec import csi_pb2
from secrets_store import errors
from secrets_store.log import Sealed

KUBELET_PREFIX = "csi.storage.k8s.io/"
POD_NAME = KUBELET_PREFIX + "pod.name"
POD_NAMESPACE = KUBELET_PREFIX + "pod.namespace"
POD_UID = KUBELET_PREFIX + "pod.uid"
SERVICE_ACCOUNT = KUBELET_PREFIX + "serviceAccount.name"
TOKENS = KUBELET_PREFIX + "serviceAccount.tokens"
CLASS_NAME = "secretProviderClass"
PROVIDER_NAME = "providerName"
MOCK_PROVIDER = "mock_provider"
_GROUP = re.compile(r"[0-9]{1,10}")
MOCK_UNPUBLISH_PATH = "/tmp/csi/mount"  # noqa: S108 - upstream's sanity shortcut, kept by name


@dataclasses.dataclass(frozen=True, slots=True)
class Pod:
    """The pod a volume belongs to."""

    namespace: str
    name: str
    uid: str

    def __str__(self) -> str:
        return f"{self.namespace}/{self.name}"


@dataclasses.dataclass(frozen=True, slots=True)
class Handover:
    """What only kubelet can give, and gives anew with each republish. Never on disk.

    Attributes:
        tokens: The service account tokens as kubelet's JSON text, empty if there are none.
        secrets: The node-publish secret, key → value; empty if the volume names none.
        overrides: Volume attributes that are neither kubelet's nor the class name.
    """

    tokens: Sealed[str]
    secrets: Sealed[Mapping[str, str]]
    overrides: Sealed[Mapping[str, str]]

    @property
    def empty(self) -> bool:
        """True if a refresh needs nothing of it."""
        return not (self.tokens.open() or self.secrets.open() or self.overrides.open())

    def says_the_same(self, other: "Handover") -> bool:
        """Tell whether a provider would hear the same; two sealed values are never equal."""
        return (
            self.tokens.open() == other.tokens.open()
            and self.secrets.open() == other.secrets.open()
            and self.overrides.open() == other.overrides.open()
        )


EMPTY_HANDOVER = Handover(Sealed(""), Sealed({}), Sealed({}))


@dataclasses.dataclass(frozen=True, slots=True)
class PublishRequest:
    """One valid NodePublishVolume.

    Attributes:
        target_path: Absolute and clean.
        pod: Empty strings for the mock provider.
        attributes: What kubelet said of the pod (``csi.storage.k8s.io/*``, without tokens) and
            ``secretProviderClass``; nothing in it is secret.
        override_keys: Names of the attributes in ``handover.overrides``, sorted.
        group: Numeric group of ``volume_mount_group``; None leaves files as they are.
        mock: The sanity suite's volume: a tmpfs and nothing else.
    """

    volume_id: str
    target_path: str
    class_name: str
    pod: Pod
    service_account: str
    attributes: Mapping[str, str]
    override_keys: tuple[str, ...]
    handover: Handover
    group: int | None
    mock: bool

    def without_overrides(self) -> "PublishRequest":
        """Return the request less the attributes that are not to reach a provider."""
        handover = dataclasses.replace(self.handover, overrides=Sealed({}))
        return dataclasses.replace(self, handover=handover)

    @classmethod
    def from_proto(cls, request: csi_pb2.NodePublishVolumeRequest) -> "PublishRequest":
        """Check a request and take it apart.

        Raises: errors.InvalidRequest, errors.PathRejected, errors.ClassNotNamed.
        Source: CSI spec NodePublishVolume; order and texts as upstream's v1.6 driver.
        """
        if not request.HasField("volume_capability"):
            raise errors.InvalidRequest("Volume capability missing in request")
        check_volume_id(request.volume_id)
        check_target_path(request.target_path)
        context = dict(request.volume_context)
        if not context:
            raise errors.InvalidRequest("Volume attributes missing in request")
        if request.volume_capability.HasField("block"):
            raise errors.InvalidRequest("Block volumes are not supported")
        mock = context.get(PROVIDER_NAME, "").lower() == MOCK_PROVIDER
        if not mock:
            if not context.get(CLASS_NAME):
                raise errors.ClassNotNamed
            if not request.readonly:
                raise errors.InvalidRequest("Readonly is not true in request")
            for key in (POD_NAMESPACE, POD_NAME, POD_UID):
                if not context.get(key):
                    raise errors.InvalidRequest(
                        f"{key} missing in request; the CSIDriver object needs podInfoOnMount: true"
                    )
        secrets = dict(request.secrets)
        # Tokens may come either way (kubelet ≥ 1.35). They go onward in the attributes, where all
        # providers look, and not a second time among the secrets.
        tokens = secrets.pop(TOKENS, "") or context.pop(TOKENS, "")
        context.pop(TOKENS, None)
        trusted = {
            key: value
            for key, value in context.items()
            if key.startswith(KUBELET_PREFIX) or key == CLASS_NAME
        }
        overrides = {key: value for key, value in context.items() if key not in trusted}
        return cls(
            volume_id=request.volume_id,
            target_path=request.target_path,
            class_name=context.get(CLASS_NAME, ""),
            pod=Pod(
                namespace=context.get(POD_NAMESPACE, ""),
                name=context.get(POD_NAME, ""),
                uid=context.get(POD_UID, ""),
            ),
            service_account=context.get(SERVICE_ACCOUNT, ""),
            attributes=trusted,
            override_keys=tuple(sorted(overrides)),
            handover=Handover(Sealed(tokens), Sealed(secrets), Sealed(overrides)),
            group=_group(request.volume_capability.mount.volume_mount_group),
            mock=mock,
        )


@dataclasses.dataclass(frozen=True, slots=True)
class UnpublishRequest:
    """One valid NodeUnpublishVolume."""

    volume_id: str
    target_path: str

    @classmethod
    def from_proto(cls, request: csi_pb2.NodeUnpublishVolumeRequest) -> "UnpublishRequest":
        """Check a request.

        Raises: errors.InvalidRequest, errors.PathRejected.
        """
        check_volume_id(request.volume_id)
        check_target_path(request.target_path)
        return cls(request.volume_id, request.target_path)

    @property
    def mock(self) -> bool:
        """True for the path that upstream answers without doing anything."""
        return self.target_path.lower() == MOCK_UNPUBLISH_PATH


def check_volume_id(volume_id: str) -> None:
    """Raise errors.InvalidRequest unless there is a volume id."""
    if not volume_id:
        raise errors.InvalidRequest("Volume ID missing in request")


def check_target_path(path: str) -> None:
    """Raise unless a target path is absolute, clean and below a directory that is not the root.

    Upstream takes a relative path or one with ``..`` and mounts there.
    """
    if not path:
        raise errors.InvalidRequest("Target path missing in request")
    if "\0" in path:
        raise errors.PathRejected(path, "must not contain NUL")
    if not path.startswith("/") or path.startswith("//"):
        raise errors.PathRejected(path, "must be absolute")
    if posixpath.normpath(path) != path:
        raise errors.PathRejected(path, "must be clean: no '..', '.', '//' or trailing '/'")
    if path.count("/") < 2:
        raise errors.PathRejected(path, "must not be a directory of the root")


def provider_attributes(
    parameters: Mapping[str, str],
    attributes: Mapping[str, str],
    handover: Handover,
    *,
    allow_overrides: bool,
) -> str:
    """Build ``MountRequest.attributes``.

    Args:
        parameters: ``spec.parameters`` of the class.
        attributes: kubelet's own attributes of the volume.
        handover: Tokens go in; overrides only if allowed.
        allow_overrides: Upstream's way: the pod's volume attributes win over the class.
    Returns: A JSON object of strings, compact, keys sorted. It can hold tokens: never log it.
    Source: provider-wire §4.
    """
    merged = dict(parameters)
    if allow_overrides:
        merged |= handover.overrides.open()
    merged |= attributes
    if tokens := handover.tokens.open():
        merged[TOKENS] = tokens
    else:
        # A class that names this key could pretend to speak for kubelet.
        merged.pop(TOKENS, None)
    return json.dumps(merged, sort_keys=True, separators=(",", ":"), ensure_ascii=False)


def provider_secrets(handover: Handover) -> str:
    """Build ``MountRequest.secrets``: a JSON object, or ``null`` when there are none."""
    secrets = handover.secrets.open()
    if not secrets:
        return "null"
    return json.dumps(dict(secrets), sort_keys=True, separators=(",", ":"), ensure_ascii=False)


def pod_volume_name(target_path: str) -> str:
    """Return the pod volume's name from a kubelet target path, empty if it has another form."""
    parts = target_path.split("/")
    if len(parts) >= 6 and parts[-1] == "mount" and parts[-3] == "kubernetes.io~csi":
        return parts[-2]
    return ""


def _group(text: str) -> int | None:
    if not text:
        return None
    if not _GROUP.fullmatch(text) or int(text) > 0xFFFFFFFE:
        raise errors.InvalidRequest(f"volume_mount_group must be a group id, not {text[:32]!r}")
    return int(text)
