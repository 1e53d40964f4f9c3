"""What is known of one volume: the small JSON document beside the CSI socket.

Success is recorded, never inferred from ages, mount checks or names. A record holds no secret: ids
and versions of objects, but no contents, tokens or node-publish secrets.
"""

import dataclasses
import hashlib
import json
from collections.abc import Mapping
from typing import Any

from secrets_store.model import volume

SCHEMA = 1


@dataclasses.dataclass(frozen=True, slots=True)
class Record:
    """A volume that is complete.

    Attributes:
        class_uid: Empty when an upstream driver mounted the volume and nothing was fetched yet.
        class_generation: Generation of the class that the contents were fetched with.
        objects: Object id → version, as the provider last answered.
        attributes: kubelet's attributes of the volume, so that a refresh can be made without it.
        last_check_s: Unix time of the last successful provider answer; 0 for an adopted volume.
        last_change_s: Unix time of the last change of contents.
        status_name: Of the volume's SecretProviderClassPodStatus.
        secrets: Names of the Secrets that the class has, sorted.
        group: Group of the files, None if they were left alone.
        boot_id: Of the kernel that the mount lives in.
        self_written: The provider writes the files itself; there is no ``..data``.
        needs_handover: A refresh needs what only kubelet can give.
        mock: The sanity suite's volume; never refreshed.
    """

    volume_id: str
    target_path: str
    pod: volume.Pod
    service_account: str
    class_name: str
    class_uid: str
    class_generation: int
    provider: str
    objects: Mapping[str, str]
    attributes: Mapping[str, str]
    last_check_s: float
    last_change_s: float
    status_name: str
    group: int | None
    boot_id: str
    self_written: bool = False
    needs_handover: bool = False
    mock: bool = False
    secrets: tuple[str, ...] = ()

    @property
    def class_key(self) -> tuple[str, str]:
        """Namespace and name of the class."""
        return self.pod.namespace, self.class_name

    def matches(self, request: volume.PublishRequest, boot_id: str) -> bool:
        """Tell whether this record is of the volume that a request names."""
        return (
            self.boot_id == boot_id
            and self.volume_id == request.volume_id
            and self.target_path == request.target_path
            and self.pod == request.pod
            and self.class_name == request.class_name
        )

    def to_json(self) -> str:
        """Return the document's text."""
        document = {"schema": SCHEMA} | dataclasses.asdict(self)
        return json.dumps(document, sort_keys=True, separators=(",", ":"))

    @classmethod
    def from_json(cls, text: str) -> "Record | None":
        """Read a document; None if it is broken or of another schema: the work is done again."""
        try:
            return cls(**_checked(json.loads(text)))
        except (TypeError, ValueError, OverflowError, RecursionError):
            return None


def file_name(target_path: str) -> str:
    """Return the record's file name for a target path."""
    return hashlib.sha256(target_path.encode()).hexdigest()[:32] + ".json"


_TYPES: dict[str, tuple[type, ...]] = {
    "schema": (int,),
    "volume_id": (str,),
    "target_path": (str,),
    "pod": (dict,),
    "service_account": (str,),
    "class_name": (str,),
    "class_uid": (str,),
    "class_generation": (int,),
    "provider": (str,),
    "objects": (dict,),
    "attributes": (dict,),
    "last_check_s": (int, float),
    "last_change_s": (int, float),
    "status_name": (str,),
    "secrets": (list,),
    "group": (int, type(None)),
    "boot_id": (str,),
    "self_written": (bool,),
    "needs_handover": (bool,),
    "mock": (bool,),
}


def _checked(document: Any) -> dict[str, Any]:
    """Check schema, names and types of a document's fields.

    Raises: ValueError, TypeError, OverflowError: one of them is wrong.
    """
    if not isinstance(document, dict) or document.keys() != _TYPES.keys():
        raise ValueError("fields missing or unknown")
    for key, value in document.items():
        # The very type: JSON's true is no number, though Python's bool is an int.
        if type(value) not in _TYPES[key]:
            raise ValueError(f"{key} has another type")
    for key in ("objects", "attributes", "pod"):
        if not all(isinstance(value, str) for value in document[key].values()):
            raise ValueError(f"{key} has another type")
    if not all(isinstance(name, str) for name in document["secrets"]):
        raise ValueError("secrets has another type")
    if document.pop("schema") != SCHEMA:
        raise ValueError("another schema")
    # What JSON can spell and nothing else can hold: half a character, a number without end.
    json.dumps(document, ensure_ascii=False, allow_nan=False).encode()
    return document | {
        "pod": volume.Pod(**document["pod"]),
        "secrets": tuple(document["secrets"]),
        "last_check_s": float(document["last_check_s"]),
        "last_change_s": float(document["last_change_s"]),
    }
