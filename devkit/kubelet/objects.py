"""What the stand-in kubelet works with: the few fields of a pod's world that reach a driver.

Everything is immutable except the mappings handed in, which are read anew at each
call, as kubelet reads a Secret anew at each call.
"""

import dataclasses
import uuid
from collections.abc import Mapping
from typing import Any, Self

DRIVER_NAME = "secrets-store.csi.k8s.io"


@dataclasses.dataclass(frozen=True, slots=True)
class Pod:
    """A pod bound to this node.

    Attributes:
        fs_group: `securityContext.fsGroup`, or None.
    """

    name: str
    namespace: str = "default"
    uid: str = dataclasses.field(default_factory=lambda: str(uuid.uuid4()))
    service_account: str = "default"
    fs_group: int | None = None

    @classmethod
    def from_dict(cls, pod: Mapping[str, Any]) -> Self:
        """Read a pod as the API server returns it."""
        metadata, spec = pod["metadata"], pod["spec"]
        return cls(
            name=metadata["name"],
            namespace=metadata.get("namespace", "default"),
            uid=metadata["uid"],
            service_account=spec.get("serviceAccountName", "default"),
            fs_group=spec.get("securityContext", {}).get("fsGroup"),
        )


@dataclasses.dataclass(frozen=True, slots=True)
class Volume:
    """An inline CSI volume of a pod.

    Attributes:
        attributes: `csi.volumeAttributes`.
        secrets: data of the Secret that `csi.nodePublishSecretRef` names, as text.
        secret_name: that name; whoever builds the volume resolves it into `secrets`.
    """

    name: str
    attributes: Mapping[str, str] = dataclasses.field(default_factory=dict)
    driver: str = DRIVER_NAME
    read_only: bool = True
    fs_type: str = ""
    secrets: Mapping[str, str] = dataclasses.field(default_factory=dict, repr=False)
    secret_name: str = ""

    @classmethod
    def from_dict(cls, volume: Mapping[str, Any]) -> Self:
        """Read one entry of `spec.volumes` that has a `csi` source.

        Raises:
            KeyError: it has none.
        """
        source = volume["csi"]
        return cls(
            name=volume["name"],
            attributes=dict(source.get("volumeAttributes", {})),
            driver=source["driver"],
            read_only=source.get("readOnly", False),
            fs_type=source.get("fsType", ""),
            secret_name=source.get("nodePublishSecretRef", {}).get("name", ""),
        )


@dataclasses.dataclass(frozen=True, slots=True)
class TokenRequest:
    """One audience of `CSIDriver.spec.tokenRequests`; empty is the API server's own."""

    audience: str
    expiration_s: int = 3600


@dataclasses.dataclass(frozen=True, slots=True)
class CsiDriver:
    """The CSIDriver object, which tells kubelet how to treat a driver.

    Attributes:
        token_in_secrets: `serviceAccountTokenInSecrets`: tokens go into the request's
            secrets instead of its volume context (Kubernetes ≥ 1.35).
    """

    name: str = DRIVER_NAME
    pod_info_on_mount: bool = True
    requires_republish: bool = True
    token_requests: tuple[TokenRequest, ...] = ()
    token_in_secrets: bool = False

    @classmethod
    def from_dict(cls, driver: Mapping[str, Any]) -> Self:
        """Read a CSIDriver manifest; what is left out has Kubernetes' default."""
        spec = driver.get("spec", {})
        return cls(
            name=driver["metadata"]["name"],
            pod_info_on_mount=spec.get("podInfoOnMount", False),
            requires_republish=spec.get("requiresRepublish", False),
            token_requests=tuple(
                TokenRequest(each.get("audience", ""), each.get("expirationSeconds") or 3600)
                for each in spec.get("tokenRequests", ())
            ),
            token_in_secrets=spec.get("serviceAccountTokenInSecrets", False),
        )


@dataclasses.dataclass(frozen=True, slots=True)
class Event:
    """A Warning that kubelet writes on a pod."""

    pod: Pod
    reason: str
    message: str
