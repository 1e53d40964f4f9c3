"""One Mount as the driver asks for it: attributes, secrets and mode, checked. Pure.

All rules that need neither KMS nor Kubernetes are applied here, so that a typing error costs no
request and no token. Source: provider contract v1alpha1 (all attribute values are strings); names
and defaults of the parameters are those of the Go provider in use.
"""

import dataclasses
import json
import re
from collections.abc import Mapping
from typing import Any

from provider_kms import errors, go_syntax, sealed
from provider_kms.model import objects, site, token

DEFAULT_AUDIENCE = "kms"
OLD_AUDIENCE = "infisical"
KUBERNETES, UNIVERSAL = "kubernetes", "universal-auth"
_CSI = "csi.storage.k8s.io/"
_KNOWN = frozenset(
    (
        *("kmsUrl", "infisicalUrl", "caCertificate", "apiVersion"),
        *("authMethod", "identityId", "audience", "useDefaultAudience"),
        *("projectId", "envSlug", "secrets", "expandReferences"),
        *("windowDuration", "offlineGrace", "secretProviderClass"),
    )
)
_VOLUME = re.compile(
    r"[/\\]+pods[/\\]+[^/\\]+[/\\]+volumes[/\\]+kubernetes\.io~csi[/\\]+([^/\\]+)[/\\]+mount[/\\]*$"
)
_LONGEST_S = 30 * 86400.0
_LARGEST_PEM = 256 * 1024


@dataclasses.dataclass(frozen=True, slots=True)
class Pod:
    """Who mounts, as kubelet says; fields are "" where the driver sent none."""

    namespace: str
    name: str
    uid: str
    service_account: str


@dataclasses.dataclass(frozen=True, slots=True)
class Identity:
    """As whom to log in, and by what proof.

    Attributes:
        method: `KUBERNETES` or `UNIVERSAL`.
        id: machine identity, or the client id of universal auth.
        audience: of `proof`; "" for the API server's own.
        proof: pod token or client secret; None if a token is to be made by TokenRequest.
        holder: ``system:serviceaccount:…`` if the login may be shared by all pods of that
            account, else a digest of the proof, so that only the same proof shares it.
    """

    method: str
    id: str
    audience: str
    proof: sealed.Sealed[str] | None
    holder: str


@dataclasses.dataclass(frozen=True, slots=True)
class Request:
    """A Mount, checked.

    Attributes:
        sites: KMS servers in order of preference, at least one.
        ca_pem: certificates trusted beside the system's; "" for none.
        api_version: ``v3`` or ``v4``.
        mode: permission bits of files whose entry names none.
        window_s: how long after a start of a container files have content; None for always.
        offline_grace_s: how long a last good answer may stand in; 0 for never.
        volume: name of the volume in the pod; "" if the target path does not tell.
        refresh: the volume is mounted already, the driver looks for changes.
        warnings: what the author of the class should know.
    """

    pod: Pod
    class_name: str
    sites: tuple[site.Site, ...]
    ca_pem: str
    api_version: str
    identity: Identity
    project: str
    environment: str
    expand: bool
    entries: tuple[objects.Entry, ...]
    mode: int
    window_s: float | None
    offline_grace_s: float
    volume: str
    refresh: bool
    warnings: tuple[str, ...]


def parse(
    attributes: str,
    secrets: str,
    permission: str,
    target_path: str,
    *,
    refresh: bool,
    policy: site.Policy,
    api_version: str,
) -> Request:
    """Read a MountRequest.

    Args:
        attributes: JSON object of strings.
        secrets: JSON object of strings, ``null`` or "".
        permission: decimal JSON number.
        target_path: where the volume is mounted; only its volume name is used.
        refresh: the request says what the volume holds.
        policy: which KMS addresses the operator allows.
        api_version: for classes that name none.

    Raises:
        errors.InvalidRequest, errors.HostForbidden, errors.TokenAbsent, errors.CredentialAbsent.
    """
    given = _Parameters(_strings("attributes", attributes), policy)
    published = _strings("secrets of nodePublishSecretRef", secrets)
    method = given.method()
    version = given.text("apiVersion") or api_version
    if version not in ("v3", "v4"):
        raise errors.InvalidRequest("apiVersion", "must be v3 or v4")
    listed = objects.parse(given.text("secrets"))
    return Request(
        pod=given.pod(),
        class_name=given.text("secretProviderClass"),
        sites=given.sites(),
        ca_pem=given.pem(),
        api_version=version,
        project=given.required("projectId"),
        environment=given.required("envSlug"),
        expand=given.flag("expandReferences"),
        entries=listed.entries,
        mode=_permission(permission),
        window_s=_window(given, listed.entries),
        offline_grace_s=given.seconds("offlineGrace") or 0.0,
        volume=volume_name(target_path),
        refresh=refresh,
        # Last, so that a fault in the class is told before a token that is missing.
        identity=_identity(method, given, published),
        warnings=(*given.warnings, *listed.warnings),
    )


def asker(attributes: str) -> tuple[Pod, str]:
    """Return who mounts and by which class, also of a request that `parse` refuses.

    What cannot be read is "".
    """
    try:
        root: Any = json.loads(attributes)
    except (ValueError, RecursionError):
        root = None
    given = root.items() if isinstance(root, dict) else ()
    raw = {name: value for name, value in given if isinstance(value, str)}
    return _pod(raw), raw.get("secretProviderClass", "")


def volume_name(target_path: str) -> str:
    """Return the volume's name in the pod from kubelet's target path, or ""."""
    match = _VOLUME.search(target_path[-4096:])
    return match[1] if match else ""


class _Parameters:
    """The attributes, read with checks that name the parameter; collects warnings."""

    def __init__(self, raw: Mapping[str, str], policy: site.Policy) -> None:
        self._raw = raw
        self._policy = policy
        self.warnings = [
            f"unknown parameter {name!r:.80}"
            for name in sorted(raw)
            if name not in _KNOWN and not name.startswith(_CSI)
        ]

    def text(self, name: str) -> str:
        return self._raw.get(name, "")

    def has(self, name: str) -> bool:
        return name in self._raw

    def required(self, name: str) -> str:
        value = self.text(name).strip()
        if not value:
            raise errors.InvalidRequest(name, "must be set")
        if len(value) > 256 or not value.isprintable():
            raise errors.InvalidRequest(name, "must be at most 256 printable characters")
        return value

    def method(self) -> str:
        value = self.text("authMethod")
        if value not in (KUBERNETES, UNIVERSAL):
            raise errors.InvalidRequest("authMethod", f'must be "{KUBERNETES}" or "{UNIVERSAL}"')
        return value

    def flag(self, name: str) -> bool:
        value = self.text(name)
        if value not in ("", "true", "false"):
            raise errors.InvalidRequest(name, 'must be "true" or "false"')
        return value == "true"

    def seconds(self, name: str) -> float | None:
        text = self.text(name)
        if not text:
            return None
        try:
            seconds = go_syntax.duration(text)
        except ValueError as error:
            raise errors.InvalidRequest(name, f"{error}, want one such as 5m or 1h30m") from None
        if not 0 < seconds <= _LONGEST_S:
            raise errors.InvalidRequest(name, "must be positive and at most 720h")
        return seconds

    def sites(self) -> tuple[site.Site, ...]:
        url, old = self.text("kmsUrl").strip(), self.text("infisicalUrl").strip()
        if old and not url:
            self.warnings.append("infisicalUrl is an old name of kmsUrl")
        return site.parse_all("kmsUrl", url or old or self._policy.default, self._policy)

    def pem(self) -> str:
        pem = self.text("caCertificate").strip()
        if len(pem) > _LARGEST_PEM:
            raise errors.InvalidRequest("caCertificate", f"larger than {_LARGEST_PEM} characters")
        if pem and "-----BEGIN CERTIFICATE-----" not in pem:
            raise errors.InvalidRequest("caCertificate", "holds no PEM certificate")
        return pem

    def pod(self) -> Pod:
        return _pod(self._raw)


def _pod(raw: Mapping[str, str]) -> Pod:
    names = ("pod.namespace", "pod.name", "pod.uid", "serviceAccount.name")
    return Pod(*(raw.get(_CSI + name, "") for name in names))


def _window(given: _Parameters, entries: tuple[objects.Entry, ...]) -> float | None:
    window_s = given.seconds("windowDuration")
    if window_s is None:
        return None
    if given.has("secretObjects"):
        raise errors.InvalidRequest(
            "windowDuration", "would empty the Secrets of secretObjects; use one of the two"
        )
    # Outside the window the names of such files are not known, and an answer without files
    # leaves the old ones where they are.
    if any(entry.keys is not None and not entry.bundle for entry in entries):
        raise errors.InvalidRequest("windowDuration", "needs entries with a fixed fileName")
    return window_s


def _identity(method: str, given: _Parameters, published: Mapping[str, str]) -> Identity:
    default_audience = given.flag("useDefaultAudience")
    if method == UNIVERSAL:
        return _client_identity(published)
    return _pod_identity(given, published, given.required("identityId"), default_audience)


def _pod_identity(
    given: _Parameters, published: Mapping[str, str], identity_id: str, default_audience: bool
) -> Identity:
    pod = given.pod()
    wanted = given.text("audience").strip()
    # A driver of 1.6 may get the tokens in `secrets` and usually copies them to the attributes.
    tokens = token.parse_all(given.text(token.ATTRIBUTE) or published.get(token.ATTRIBUTE, ""))
    account = f"system:serviceaccount:{pod.namespace}:{pod.service_account}"
    if default_audience:
        own = tokens.get("")
        if own is None:
            if not (pod.namespace and pod.name and pod.uid and pod.service_account):
                raise errors.InvalidRequest(
                    "useDefaultAudience", "needs the pod's name, namespace, uid and account"
                )
            return Identity(KUBERNETES, identity_id, "", None, account)
        return Identity(KUBERNETES, identity_id, "", own, _holder(own, account))
    audience = wanted or DEFAULT_AUDIENCE
    if not wanted and audience not in tokens and OLD_AUDIENCE in tokens:
        audience = OLD_AUDIENCE
        given.warnings.append(f'tokens come for the old audience "{OLD_AUDIENCE}"')
    proof = tokens.get(audience)
    if proof is None:
        raise errors.TokenAbsent(audience, tokens)
    return Identity(KUBERNETES, identity_id, audience, proof, _holder(proof, account))


def _holder(proof: sealed.Sealed[str], account: str) -> str:
    # Pods of one account may share a login. A proof that does not say that it is this
    # account's shares with nobody, so that a wrong attribute opens no door.
    if token.subject(proof.open()) == account:
        return account
    return sealed.digest(proof.open())


def _client_identity(published: Mapping[str, str]) -> Identity:
    client, secret = (
        published.get("clientId", "").strip(),
        published.get("clientSecret", "").strip(),
    )
    for key, value in (("clientId", client), ("clientSecret", secret)):
        if not value:
            raise errors.CredentialAbsent(key)
        if not token.usable(value):
            raise errors.InvalidRequest(f"nodePublishSecretRef key {key}", "is no plain ASCII text")
    return Identity(UNIVERSAL, client, "", sealed.Sealed(secret), sealed.digest(secret))


def _strings(what: str, text: str) -> Mapping[str, str]:
    """Read a JSON object of strings; null, as a whole or as a value, reads as nothing."""
    if not text:
        return {}
    try:
        root: Any = json.loads(text)
    except (ValueError, RecursionError):
        raise errors.InvalidRequest(what, "is not JSON") from None
    if root is None:
        return {}
    if not isinstance(root, dict):
        raise errors.InvalidRequest(what, "is not a JSON object")
    result = {name: "" if value is None else value for name, value in root.items()}
    for name, value in result.items():
        if not isinstance(value, str):
            raise errors.InvalidRequest(f"{what}: {name}", "is not a string")
        try:
            f"{name}{value}".encode()
        except UnicodeEncodeError:
            raise errors.InvalidRequest(what, "is not Unicode text") from None
    return result


def _permission(text: str) -> int:
    try:
        mode: Any = json.loads(text)
    except (ValueError, RecursionError):
        mode = None
    if type(mode) is not int or not 0 <= mode <= 0o777:
        raise errors.InvalidRequest("permission", "must be a decimal number up to 511")
    return mode
