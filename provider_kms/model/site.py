"""Which addresses a KMS may have: reading, checking and naming them. Pure.

The address comes from a SecretProviderClass, an object that others write, and a pod's token is
sent to it. So it is taken apart strictly: https, or http to this machine; no user, query or
fragment; and if the operator has named hosts, one of those.
"""

import dataclasses
import ipaddress
import re
import urllib.parse
from collections.abc import Sequence

from provider_kms import errors

MOST_SITES = 8
_HOST = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._-]{0,252})")
_PATH = re.compile(r"(?:/[A-Za-z0-9._~!$&'()*+,;=:@%-]*)*")


@dataclasses.dataclass(frozen=True, slots=True)
class Site:
    """One KMS server.

    Attributes:
        scheme: ``https`` or ``http``.
        host: lower-case name or address, IPv6 without brackets.
        port: TCP port.
        base: path of its API, ending in ``/api``, no trailing slash.
    """

    scheme: str
    host: str
    port: int
    base: str

    @property
    def authority(self) -> str:
        """Host and port as the Host header wants them, the scheme's own port left out."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        usual = 443 if self.scheme == "https" else 80
        return host if self.port == usual else f"{host}:{self.port}"

    def __str__(self) -> str:
        return f"{self.scheme}://{self.authority}{self.base}"


@dataclasses.dataclass(frozen=True, slots=True)
class Policy:
    """What the operator allows.

    Attributes:
        default: address for classes that name none; may be several, "" for none.
        allowed_hosts: ``host``, ``host:port`` or ``*.domain``; empty allows any.
        plain_http: allow http to other machines too.
    """

    default: str = ""
    allowed_hosts: tuple[str, ...] = ()
    plain_http: bool = False


def parse_all(parameter: str, text: str, policy: Policy) -> tuple[Site, ...]:
    """Read one address or a comma list of them, in order of preference.

    Raises:
        errors.InvalidRequest: malformed, plain http to elsewhere, or too many.
        errors.HostForbidden: not among the allowed hosts.
    """
    texts = [part.strip() for part in text.split(",") if part.strip()]
    if not texts:
        raise errors.InvalidRequest(parameter, "must be set")
    if len(texts) > MOST_SITES:
        raise errors.InvalidRequest(parameter, f"more than {MOST_SITES} addresses")
    sites = tuple(dict.fromkeys(parse(parameter, part, policy) for part in texts))
    # The operator's own default needs no second permission.
    for site in sites if text != policy.default else ():
        if not _allowed(site, policy.allowed_hosts):
            raise errors.HostForbidden(site.authority)
    return sites


def parse(parameter: str, text: str, policy: Policy) -> Site:
    """Read one address; `/api` is appended to its path unless it ends so.

    Raises: errors.InvalidRequest: naming `parameter` and the rule, never the text itself,
        which could hold a password.
    """
    try:
        parts = urllib.parse.urlsplit(text.strip())
        port = parts.port
    except ValueError as error:
        raise errors.InvalidRequest(parameter, "is not a URL") from error
    if parts.scheme not in ("https", "http"):
        raise errors.InvalidRequest(parameter, "must begin with https:// or http://")
    if "@" in parts.netloc or parts.query or parts.fragment or "?" in text or "#" in text:
        raise errors.InvalidRequest(parameter, "must have no user, query or fragment")
    host = (parts.hostname or "").lower().rstrip(".")
    if not (_HOST.fullmatch(host) or _is_address(host)) or port == 0:
        raise errors.InvalidRequest(parameter, "names no valid host")
    path = parts.path.rstrip("/")
    if not _PATH.fullmatch(path):
        raise errors.InvalidRequest(parameter, "has characters in its path that a URL may not have")
    if parts.scheme == "http" and not policy.plain_http and not is_loopback(host):
        raise errors.InvalidRequest(
            parameter, "http is allowed to this machine only (--allow-plain-http lifts that)"
        )
    base = path if path.endswith("/api") else f"{path}/api"
    return Site(parts.scheme, host, port or (443 if parts.scheme == "https" else 80), base)


def is_loopback(host: str) -> bool:
    """Tell whether the host is this machine, by name or address, without asking DNS."""
    if host == "localhost" or host.endswith(".localhost"):
        return True
    return _is_address(host) and ipaddress.ip_address(host).is_loopback


def check_pattern(text: str) -> str:
    """Return one entry of the allow list in lower case.

    Raises: ValueError: not ``host``, ``host:port``, ``[v6]:port`` or ``*.domain``.
    """
    pattern = text.strip().lower()
    # An address without brackets ends in what looks like a port.
    if not _is_address(pattern):
        bare = pattern if pattern.endswith("]") else re.sub(r":\d{1,5}$", "", pattern)
        host = bare.removeprefix("*.").strip("[]")
        if not (_HOST.fullmatch(host) or _is_address(host)):
            raise ValueError(f"not a host, host:port or *.domain: {text[:64]!r}")
    return pattern


def _allowed(site: Site, patterns: Sequence[str]) -> bool:
    host = f"[{site.host}]" if ":" in site.host else site.host
    names = (host, f"{host}:{site.port}", site.host)
    return (
        not patterns
        or any(
            pattern in names
            # The part in front of the dot must not be empty: *.b.c is not b.c.
            or (pattern.startswith("*.") and any(name.endswith(pattern[1:]) for name in names[:2]))
            for pattern in patterns
        )
    )


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    # A zone index would end up in the Host header.
    return "%" not in host
