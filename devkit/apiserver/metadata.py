"""Object metadata: what the server sets itself, what it keeps, and the rules for names and labels.

Source: apimachinery `validation` (qualified names, DNS labels and subdomains), apiserver `rest`
(BeforeCreate, BeforeUpdate).
"""

import random
import re
import uuid
from collections.abc import Callable
from typing import Any

from devkit.apiserver import errors, objects

_DNS_LABEL = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?")
_DNS_SUBDOMAIN = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*")
_QUALIFIED = re.compile(r"([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]")
_LABEL_VALUE = re.compile(r"(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?")
_ANNOTATIONS_LIMIT_BYTES = 256 * 1024
_SUFFIX_LETTERS = "bcdfghjklmnpqrstvwxz2456789"
_LONGEST_GENERATED = 63

NameRule = Callable[[str], str]


def subdomain(name: str) -> str:
    """Return what is wrong with a DNS-1123 subdomain, nothing if it is one."""
    if len(name) > 253:
        return "must be no more than 253 characters"
    if not _DNS_SUBDOMAIN.fullmatch(name):
        return (
            "a lowercase RFC 1123 subdomain must consist of lower case letters, digits, '-' or "
            f"'.', with a letter or digit at each end (regex: '{_DNS_SUBDOMAIN.pattern}')"
        )
    return ""


def label(name: str) -> str:
    """Return what is wrong with a DNS-1123 label, nothing if it is one."""
    if len(name) > 63:
        return "must be no more than 63 characters"
    if not _DNS_LABEL.fullmatch(name):
        return (
            "a lowercase RFC 1123 label must consist of lower case letters, digits or '-', with a "
            f"letter or digit at each end (regex: '{_DNS_LABEL.pattern}')"
        )
    return ""


def path_segment(name: str) -> str:
    """Return what forbids a name in a path; RBAC objects are bound by nothing else."""
    if name in (".", ".."):
        return f"may not be '{name}'"
    for character in "/%":
        if character in name:
            return f"may not contain '{character}'"
    return ""


def qualified_name(name: str) -> list[str]:
    """Return all that is wrong with a label or annotation key."""
    prefix, slash, last = name.rpartition("/")
    wrong = []
    if slash and not prefix:
        wrong.append("prefix part must be non-empty")
    elif slash and (why := subdomain(prefix)):
        wrong.append(f"prefix part {why}")
    if not last:
        wrong.append("name part must be non-empty")
    if len(last) > 63:
        wrong.append("name part must be no more than 63 bytes")
    if not _QUALIFIED.fullmatch(last):
        wrong.append(
            "name part must consist of letters, digits, '-', '_' or '.', with a letter or digit "
            f"at each end (regex: '{_QUALIFIED.pattern}')"
        )
    return wrong


def label_value(value: str) -> str:
    """Return what is wrong with a label's value, nothing if it is well formed."""
    if len(value.encode()) > 63:
        return "must be no more than 63 bytes"
    if not _LABEL_VALUE.fullmatch(value):
        return (
            "a valid label must be empty or consist of letters, digits, '-', '_' or '.', with a "
            f"letter or digit at each end (regex: '{_LABEL_VALUE.pattern}')"
        )
    return ""


def clean(meta: objects.Object) -> None:
    """Forget empty texts in place; numbers stay."""
    for field in [field for field, value in meta.items() if value == ""]:
        del meta[field]


def fill_new(obj: objects.Object) -> None:
    """Set what the server decides at creation: name from generateName, uid, time."""
    meta = obj["metadata"]
    for field in ("selfLink", "deletionTimestamp", "deletionGracePeriodSeconds", "generation"):
        meta.pop(field, None)
    if not meta.get("name") and meta.get("generateName"):
        base = meta["generateName"][: _LONGEST_GENERATED - 5]
        meta["name"] = base + "".join(random.choices(_SUFFIX_LETTERS, k=5))
    meta["uid"] = str(uuid.uuid4())
    meta["creationTimestamp"] = objects.timestamp()


def carry_over(new: objects.Object, old: objects.Object) -> None:
    """Keep in an update what only the server may set."""
    meta, before = new["metadata"], old["metadata"]
    for field in (
        "uid",
        "creationTimestamp",
        "deletionTimestamp",
        "deletionGracePeriodSeconds",
        "generation",
        "generateName",
        "selfLink",
    ):
        if field in before:
            meta[field] = before[field]
        else:
            meta.pop(field, None)


def validate(meta: objects.Object, name_rule: NameRule) -> list[errors.Cause]:
    """Check names, labels, annotations, owners and finalizers."""
    causes = []
    if not meta.get("name"):
        causes.append(errors.required("metadata.name", "name or generateName is required"))
    elif why := name_rule(meta["name"]):
        causes.append(errors.invalid_value("metadata.name", meta["name"], why))
    for key, value in meta.get("labels", {}).items():
        for why in qualified_name(key):
            causes.append(errors.invalid_value("metadata.labels", key, why))
        if why := label_value(value):
            causes.append(errors.invalid_value("metadata.labels", value, why))
    size = 0
    for key, value in meta.get("annotations", {}).items():
        size += len(key.encode()) + len(value.encode())
        for why in qualified_name(key.lower()):
            causes.append(errors.invalid_value("metadata.annotations", key, why))
    if size > _ANNOTATIONS_LIMIT_BYTES:
        causes.append(
            errors.too_long(
                "metadata.annotations", f"may not be more than {_ANNOTATIONS_LIMIT_BYTES} bytes"
            )
        )
    causes += _owner_causes(meta.get("ownerReferences", []))
    for finalizer in meta.get("finalizers", []):
        for why in qualified_name(str(finalizer)):
            causes.append(errors.invalid_value("metadata.finalizers", finalizer, why))
    return causes


def _owner_causes(owners: list[Any]) -> list[errors.Cause]:
    causes = []
    controllers = []
    for owner in owners:
        at = "metadata.ownerReferences"
        for field in ("apiVersion", "kind", "name", "uid"):
            if not owner.get(field):
                causes.append(
                    errors.invalid_value(
                        f"{at}.{field}", owner.get(field) or "", "must not be empty"
                    )
                )
        if owner.get("controller"):
            controllers.append(owner)
    if len(controllers) > 1:
        causes.append(
            errors.invalid_value(
                "metadata.ownerReferences",
                owners,
                "only one reference can have controller set to true",
            )
        )
    return causes


def validate_update(new: objects.Object, old: objects.Object) -> list[errors.Cause]:
    """Check that an object being deleted gets no new finalizers."""
    if "deletionTimestamp" not in old:
        return []
    added = [item for item in new.get("finalizers", []) if item not in old.get("finalizers", [])]
    if not added:
        return []
    return [
        errors.forbidden_field(
            "metadata.finalizers",
            "no new finalizers can be added if the object is being deleted, found new "
            f"finalizers {added}",
        )
    ]
