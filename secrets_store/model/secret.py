"""One Kubernetes Secret: whose it is, what it is to become, and the patch between both.

Data are wholly the class's: a key that it does not have goes away. Labels and annotations are
shared with others, so the Secret carries the names of those that came from the class, and only
these are ever taken away. Owners are told apart by uid, for a name may come again, and are only
added; taking them away is the garbage collector's work, except where a class wants its Secret kept.
Source: driver-behaviour §7.4; strategic merge of core/v1 (owners merge by uid, maps by key).
"""

import base64
import dataclasses
import hashlib
import json
from collections.abc import Iterable, Mapping
from typing import Any

from secrets_store import errors
from secrets_store.model import secret_objects

MANAGED = secret_objects.PREFIX + "managed"
"""Label of every Secret that a driver of this name has made, upstream's too."""
CLASS = secret_objects.PREFIX + "class"
"""Annotation: the SecretProviderClass that the Secret is of, in its own namespace."""
APPLIED = secret_objects.PREFIX + "applied"
"""Annotation: names of the labels and annotations that came from the class, as JSON."""
ADOPT = secret_objects.PREFIX + "adopt"
"""Annotation by which the Secret's own people hand it over."""

SecretDict = Mapping[str, Any]


Owner = Mapping[str, str]
"""An owner reference as it is written: apiVersion, kind, name and uid, nothing more."""


@dataclasses.dataclass(frozen=True, slots=True)
class Target:
    """A Secret as it is to be in the cluster.

    Attributes:
        class_name: Of the SecretProviderClass, in the same namespace.
        owners: What the pod at hand contributes; other owners may be there.
    """

    namespace: str
    class_name: str
    wanted: secret_objects.Wanted
    owners: tuple[Owner, ...]

    def __str__(self) -> str:
        return f"{self.namespace}/{self.wanted.name}"

    def owner_changes(self, present: Iterable[str]) -> list[dict[str, str]]:
        """Return the patch of the owners.

        Args:
            present: Uids of the owners that are there.
        """
        there = frozenset(present)
        if self.wanted.policy is secret_objects.Policy.RETAIN:
            # Without an owner the garbage collector lets it live.
            return [
                {"$patch": "delete", "uid": owner["uid"]}
                for owner in self.owners
                if owner["uid"] in there
            ]
        return [dict(owner) for owner in self.owners if owner["uid"] not in there]

    def rejected(self, reason: str) -> errors.SecretRejected:
        """Return the error that this Secret cannot be written for a reason."""
        return errors.SecretRejected(str(self), f"{self.namespace}/{self.class_name}", reason)

    def foreign(self, reason: str) -> errors.SecretForeign:
        """Return the error that a Secret of this name is somebody else's."""
        return errors.SecretForeign(str(self), f"{self.namespace}/{self.class_name}", reason)


def create(target: Target) -> dict[str, Any]:
    """Return the whole Secret for a create."""
    wanted = target.wanted
    metadata: dict[str, Any] = {
        "name": wanted.name,
        "namespace": target.namespace,
        "labels": _labels(wanted),
        "annotations": _annotations(wanted, target.class_name),
    }
    if owners := target.owner_changes(()):
        metadata["ownerReferences"] = owners
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": metadata,
        "type": wanted.type,
        "data": _encoded(wanted),
    }


def difference(existing: SecretDict, target: Target) -> dict[str, Any] | None:
    """Return the strategic merge patch to what is wanted, None if nothing differs.

    Whether the Secret may be written at all is for ``claimant`` to say.

    Args:
        existing: As just read; the patch holds only as long as it has this resourceVersion.
        target: What it is to become.
    Raises: errors.SecretRejected: the API server would refuse any patch to it.
    """
    wanted, old = target.wanted, existing["metadata"]
    # The API server shows the type of every Secret; one of an old client may lack it.
    old_type = existing.get("type") or secret_objects.OPAQUE
    if old_type != wanted.type:
        raise target.rejected(
            f"it exists with type {old_type} and type {wanted.type} is wanted; the type of a "
            "Secret cannot be changed: delete the Secret or give the new one another name"
        )
    data = existing.get("data") or {}
    data_changes = _changes(data, _encoded(wanted), removable=data)
    if data_changes and existing.get("immutable"):
        raise target.rejected("it exists and is immutable; delete it or name another one")
    applied = _applied(old)
    metadata_changes: dict[str, Any] = {
        "labels": _changes(
            old.get("labels") or {}, _labels(wanted), removable=applied.get("labels", ())
        ),
        "annotations": _changes(
            old.get("annotations") or {},
            _annotations(wanted, target.class_name),
            removable=[APPLIED, *applied.get("annotations", ())],
        ),
        "ownerReferences": target.owner_changes(owner_uids(existing)),
    }
    metadata = {key: change for key, change in metadata_changes.items() if change}
    if not metadata and not data_changes:
        return None
    patch: dict[str, Any] = {
        "metadata": metadata | {"resourceVersion": old["resourceVersion"]},
    }
    if data_changes:
        patch["data"] = data_changes
    return patch


def claimant(existing: SecretDict, target: Target) -> str:
    """Return the other class that an existing Secret says it is of, empty if it is to be written.

    A managed Secret without a class is one that upstream made: it is taken over.

    Raises: errors.SecretForeign: it was made by somebody else and not handed over.
    """
    metadata = existing["metadata"]
    annotations = metadata.get("annotations") or {}
    managed = (metadata.get("labels") or {}).get(MANAGED) == "true"
    if not managed and annotations.get(ADOPT) != "true":
        raise target.foreign(
            f"a Secret of this name exists without label {MANAGED}: it is not this driver's and "
            f'was not touched; annotation {ADOPT}: "true" on it would hand it over'
        )
    claim = str(annotations.get(CLASS, ""))
    return "" if claim == target.class_name else claim


def deletable(existing: SecretDict, class_name: str) -> bool:
    """Tell whether a Secret that its class no longer names asks to be deleted for that."""
    metadata = existing["metadata"]
    annotations = metadata.get("annotations") or {}
    return (
        (metadata.get("labels") or {}).get(MANAGED) == "true"
        and annotations.get(CLASS) == class_name
        and annotations.get(secret_objects.DELETION_POLICY) == secret_objects.Policy.DELETE.value
    )


def owner_uids(existing: SecretDict) -> frozenset[str]:
    """Return the uids of a Secret's owners."""
    references = existing["metadata"].get("ownerReferences") or ()
    return frozenset(reference.get("uid", "") for reference in references)


def fingerprint(key: bytes, wanted: secret_objects.Wanted, class_name: str) -> bytes:
    """Return a keyed hash of all that a Secret is to hold, owners apart.

    Args:
        key: Of the process, 16 to 64 random bytes; without it nobody can try values against a hash.
    """
    digest = hashlib.blake2b(key=key, digest_size=32)
    digest.update(_framed(part.encode() for part in (class_name, wanted.type)))
    for texts in (wanted.labels, wanted.annotations):
        digest.update(_framed(x.encode() for item in sorted(texts.items()) for x in item))
    digest.update(_framed(name.encode() for name in sorted(wanted.data)))
    for name in sorted(wanted.data):
        digest.update(len(wanted.data[name]).to_bytes(8, "big"))
        digest.update(wanted.data[name])
    return digest.digest()


def _framed(parts: Iterable[bytes]) -> bytes:
    """Join parts so that no two different sequences look alike."""
    framed = [len(part).to_bytes(8, "big") + part for part in parts]
    return len(framed).to_bytes(8, "big") + b"".join(framed)


def _encoded(wanted: secret_objects.Wanted) -> dict[str, str]:
    return {key: base64.b64encode(value).decode() for key, value in wanted.data.items()}


def _labels(wanted: secret_objects.Wanted) -> dict[str, str]:
    return {**wanted.labels, MANAGED: "true"}


def _annotations(wanted: secret_objects.Wanted, class_name: str) -> dict[str, str]:
    """Return all annotations of ours: the class's, whose Secret it is, and what came from it."""
    own = {CLASS: class_name}
    applied = {
        "labels": sorted(wanted.labels.keys() - {MANAGED}),
        "annotations": sorted(wanted.annotations.keys() - {CLASS, APPLIED}),
    }
    if any(applied.values()):
        named = {what: names for what, names in applied.items() if names}
        own[APPLIED] = json.dumps(named, sort_keys=True, separators=(",", ":"))
    texts = {key: value for key, value in wanted.annotations.items() if key != APPLIED}
    return texts | own


def _applied(metadata: Mapping[str, Any]) -> dict[str, list[str]]:
    """Read the names that came from the class; none if somebody has broken the annotation."""
    text = (metadata.get("annotations") or {}).get(APPLIED, "")
    try:
        document = json.loads(text) if text else {}
    except (ValueError, RecursionError):
        return {}
    if not isinstance(document, dict):
        return {}
    return {
        what: [name for name in names if isinstance(name, str)]
        for what, names in document.items()
        if isinstance(names, list)
    }


def _changes(
    old: Mapping[str, str], new: Mapping[str, str], *, removable: Iterable[str]
) -> dict[str, str | None]:
    """Return what to set and, as None, what to take away."""
    changes: dict[str, str | None] = {
        key: value for key, value in new.items() if old.get(key) != value
    }
    changes |= {key: None for key in removable if key in old and key not in new}
    return changes
