"""From ``spec.secretObjects`` and the files of one answer to the Secrets that are wanted.

All Secrets of a class are worked out from one set of files before the first one is written, so that
a certificate and its key are never of different ages. One entry that breaks a rule costs its own
Secret and no other. Whatever a Secret's contents are, they are in ``data`` of a Wanted and nowhere
else, least of all in an error.
Source: driver-behaviour §7.3, §7.5; Kubernetes' validation of core/v1 Secret.
"""

import contextlib
import dataclasses
import enum
import re
from collections.abc import Callable, Mapping
from typing import Any

from secrets_store import errors
from secrets_store.model import certificates, payload, provider_class

PREFIX = "secrets-store.csi.k8s.io/"
DELETION_POLICY = PREFIX + "deletion-policy"
OPAQUE = "Opaque"
TLS = "kubernetes.io/tls"
TLS_CERTIFICATE, TLS_KEY = "tls.crt", "tls.key"
REFUSED_TYPES = frozenset({"kubernetes.io/service-account-token", "bootstrap.kubernetes.io/token"})
"""The control plane fills or obeys Secrets of these types: they grant rights, not data."""
ALL_FILES = "*"
MAX_DATA_BYTES = 1024 * 1024
MAX_KEY = 253
MAX_NAME = 253
SHOWN_NAMES = 5

_KEY = re.compile(r"[-._a-zA-Z0-9]+")
_KEY_ILLEGAL = re.compile(r"[^-._a-zA-Z0-9]")
_NAME = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*")

SecretObject = Mapping[str, Any]
Opened = Mapping[str, certificates.Bundle | certificates.Unusable]
"""Path of a PKCS#12 container → what is in it, or why it could not be opened."""

_NONE_OPENED: Opened = {}
_PARTS: Mapping[str, Callable[[certificates.Bundle], bytes]] = {
    TLS_CERTIFICATE: certificates.Bundle.need_certificates,
    TLS_KEY: certificates.Bundle.need_key,
}


class Policy(enum.Enum):
    """What becomes of a Secret that nobody needs any more.

    COLLECTED: the garbage collector deletes it when all owners have gone, as upstream.
    RETAIN: it stays; it is given no owner.
    DELETE: as COLLECTED, and the driver deletes it when its class no longer names it.
    """

    COLLECTED = ""
    RETAIN = "Retain"
    DELETE = "Delete"


@dataclasses.dataclass(frozen=True, slots=True)
class Wanted:
    """One Secret as its class wants it.

    Attributes:
        data: Key → bytes, at most 1 MiB in sum; kept out of every repr.
        labels: Those of the class only.
        annotations: Those of the class only, and the deletion policy if there is one.
    """

    name: str
    type: str
    data: Mapping[str, bytes] = dataclasses.field(repr=False)
    labels: Mapping[str, str]
    annotations: Mapping[str, str]
    policy: Policy


@dataclasses.dataclass(frozen=True, slots=True)
class Plan:
    """What a class and a set of files come to.

    Attributes:
        wanted: Name → Secret; where a class names one twice, the later entry counts.
        failed: The entries that cannot be made, in the order of the class.
        repeated: Names that the class has more than once, sorted.
    """

    wanted: Mapping[str, Wanted]
    failed: tuple[errors.SecretRejected, ...]
    repeated: tuple[str, ...]


class _Rule(Exception):
    """An entry breaks a rule, told by the text."""


def names(secret_objects: tuple[SecretObject, ...]) -> frozenset[str]:
    """Return the names of all Secrets that a class has, well-formed or not."""
    return frozenset(_text(entry, "secretName") for entry in secret_objects) - {""}


def containers(chosen: provider_class.ProviderClass, files: payload.Files) -> dict[str, bytes]:
    """Return the PKCS#12 containers that have to be opened for a class: path → container."""
    found: dict[str, bytes] = {}
    for entry in chosen.secret_objects:
        if _text(entry, "type") != TLS:
            continue
        with contextlib.suppress(_Rule):
            sources = _sources(entry, files)
            for path in {sources[key] for key in _PARTS if key in sources}:
                container = certificates.pkcs12_of(files[path].contents)
                if container is not None:
                    found[path] = container
    return found


def plan(
    chosen: provider_class.ProviderClass, files: payload.Files, opened: Opened = _NONE_OPENED
) -> Plan:
    """Work out all Secrets of a class.

    Args:
        chosen: The class.
        files: The checked files of one answer; empty if the provider wrote them itself.
        opened: What became of each of ``containers``.
    """
    wanted: dict[str, Wanted] = {}
    failed: list[errors.SecretRejected] = []
    seen: set[str] = set()
    repeated: set[str] = set()
    for position, entry in enumerate(chosen.secret_objects):
        name = _text(entry, "secretName")
        if name in seen:
            repeated.add(name)
        seen.add(name)
        try:
            wanted[name] = _wanted(chosen, entry, name, files, opened)
        except _Rule as rule:
            told = f"{chosen.namespace}/{name or f'secretObjects[{position}]'}"
            failed.append(
                errors.SecretRejected(told, f"{chosen.namespace}/{chosen.name}", str(rule))
            )
    return Plan(wanted, tuple(failed), tuple(sorted(repeated - {""})))


def _wanted(
    chosen: provider_class.ProviderClass,
    entry: SecretObject,
    name: str,
    files: payload.Files,
    opened: Opened,
) -> Wanted:
    _check_name(name)
    sort = _text(entry, "type") or OPAQUE
    if sort in REFUSED_TYPES:
        raise _Rule(f"type {sort} is refused: the control plane acts on such a Secret")
    policy = _policy(chosen, entry)
    annotations = dict(entry.get("annotations") or {})
    if policy is not Policy.COLLECTED:
        annotations[DELETION_POLICY] = policy.value
    sources = _sources(entry, files)
    if sort == TLS:
        data = _tls(sources, files, opened)
    else:
        data = {key: files[path].contents for key, path in sources.items()}
    size_bytes = sum(map(len, data.values()))
    if size_bytes > MAX_DATA_BYTES:
        raise _Rule(
            f"its data are {size_bytes} bytes, a Secret holds at most {MAX_DATA_BYTES} bytes"
        )
    return Wanted(name, sort, data, dict(entry.get("labels") or {}), annotations, policy)


def _check_name(name: str) -> None:
    if not name:
        raise _Rule("secret name is empty")
    if len(name) > MAX_NAME or not _NAME.fullmatch(name):
        raise _Rule("secret name is no DNS subdomain (a-z, 0-9, '-' and '.', at most 253)")


def _policy(chosen: provider_class.ProviderClass, entry: SecretObject) -> Policy:
    """Return the policy of an entry: its own annotation, else the class's, else upstream's way."""
    own = (entry.get("annotations") or {}).get(DELETION_POLICY, "").strip()
    text = own or chosen.annotations.get(DELETION_POLICY, "").strip()
    try:
        return Policy(text)
    except ValueError:
        raise _Rule(f"annotation {DELETION_POLICY} is neither Retain nor Delete") from None


def _sources(entry: SecretObject, files: payload.Files) -> dict[str, str]:
    """Return key → path of the file that fills it; a later entry overrides an equal key."""
    entries = entry.get("data") or ()
    if not entries:
        raise _Rule("data is empty")
    sources: dict[str, str] = {}
    for item in entries:
        path, key = _text(item, "objectName"), _text(item, "key")
        if not path:
            raise _Rule("object name in secretObjects.data is empty")
        if path == ALL_FILES and not key:
            sources |= _all_files(files)
            continue
        if not key:
            raise _Rule(f"key in secretObjects.data is empty, for object {path}")
        _check_key(key)
        if path not in files:
            raise _Rule(_not_found(path, files))
        sources[key] = path
    return sources


def _all_files(files: payload.Files) -> dict[str, str]:
    """Return a legal key for every file: ``db/password`` becomes ``db_password``.

    The underscore and not a dot, because such keys are also names of environment variables.
    """
    if not files:
        raise _Rule(_not_found(ALL_FILES, files))
    sources: dict[str, str] = {}
    for path in sorted(files):
        key = _KEY_ILLEGAL.sub("_", path)
        if key in sources:
            raise _Rule(
                f"objects {sources[key]} and {path} both become key {key}; "
                "name the objects one by one"
            )
        _check_key(key)
        sources[key] = path
    return sources


def _check_key(key: str) -> None:
    if len(key) > MAX_KEY or not _KEY.fullmatch(key) or key == "." or key.startswith(".."):
        raise _Rule(
            f"key {_short(key)} is not legal (a-z, A-Z, 0-9, '-', '_' and '.', at most {MAX_KEY}, "
            "not '.', not starting with '..')"
        )


def _not_found(path: str, files: payload.Files) -> str:
    if not files:
        return (
            f"file matching objectName {_short(path)} not found in the pod: the provider returned "
            "no files but wrote them itself, and Secrets are made of what a provider returns"
        )
    shown = [_short(name) for name in sorted(files)[:SHOWN_NAMES]]
    more = f" and {len(files) - SHOWN_NAMES} more" if len(files) > SHOWN_NAMES else ""
    return (
        f"file matching objectName {_short(path)} not found in the pod, which has "
        f"{', '.join(shown)}{more}"
    )


def _tls(sources: Mapping[str, str], files: payload.Files, opened: Opened) -> dict[str, bytes]:
    """Return the data of a TLS Secret: certificate and key by part, all other keys verbatim."""
    for key in _PARTS:
        if key not in sources:
            raise _Rule(f"type {TLS} needs key {key} in secretObjects.data")
    data: dict[str, bytes] = {}
    for key, path in sources.items():
        contents = files[path].contents
        if key not in _PARTS:
            data[key] = contents
            continue
        try:
            bundle = opened[path] if path in opened else certificates.unpack(contents)
            if isinstance(bundle, certificates.Unusable):
                raise bundle
            data[key] = _PARTS[key](bundle)
        except certificates.Unusable as reason:
            raise _Rule(f"object {_short(path)} for key {key}: {reason}") from None
    return data


def _text(entry: SecretObject, field: str) -> str:
    """Return a field without the white space around it; empty if it is absent."""
    return (entry.get(field) or "").strip()


def _short(text: str) -> str:
    return text if len(text) <= 100 else text[:97] + "..."
