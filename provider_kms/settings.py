"""Every setting of the process: default, unit, check; and which of them a file may change.

`Settings` is frozen. Flags make the first one; a configuration file, if named, is laid over the
flags at start and each time it changes (`overlay`), for the settings in `RELOADABLE` only.
"""

import dataclasses
import os
from collections.abc import Mapping
from typing import Any

from provider_kms import errors, go_syntax
from provider_kms.model import document, site

VERSION = "1.7.0"
DRIVER_MESSAGE_BYTES = 4 * 1024 * 1024
"""What the driver accepts unless its --max-call-recv-msg-size says otherwise."""

API_VERSIONS = ("v3", "v4")


class Invalid(ValueError):
    """A setting breaks its rule; the text names the flag."""


@dataclasses.dataclass(frozen=True, slots=True)
class Settings:
    """All settings, checked.

    Attributes:
        endpoint: unix socket to serve on, a path or a unix URL.
        alias_endpoint: second socket with the same service, for classes that still name another
            provider; "" for none.
        health_port: ``PORT`` on all interfaces, or ``HOST:PORT``; port 0 lets the kernel choose.
        kms_url: address for classes that name none; a comma list is tried in order.
        allowed_hosts: KMS hosts that classes may name; empty allows any.
        allow_plain_http: allow http to other machines.
        ca_files: PEM files trusted beside the system's for every KMS; reread when they change.
        allow_default_audience: make tokens by TokenRequest for `useDefaultAudience`.
        api_version: KMS API for classes that name none.
        cache_bound_s: how long a read is believed at a first mount.
        refresh_bound_s: the same at a refresh, a request that says what the volume holds. Short:
            who changes a secret and asks for a refresh at once must not be told what was before.
        login_max_age_s: longest use of one login, whatever life the KMS gives it.
        mount_timeout_s: longest Mount, if the caller does not set an earlier deadline.
        max_message_bytes: largest answer to the driver.
        kubernetes_url: API server for TokenRequest and windows; "" for the pod's own.
        config: file laid over the flags; "" for none.
        verbosity: klog's; from 5 on each KMS request is a line.
        log_json: JSON lines instead of klog text.
    """

    endpoint: str = "/provider/kms.sock"
    alias_endpoint: str = ""
    health_port: str = "8080"
    kms_url: str = "https://app.kms.hanzo.ai"
    allowed_hosts: tuple[str, ...] = ()
    allow_plain_http: bool = False
    ca_files: tuple[str, ...] = ()
    allow_default_audience: bool = False
    api_version: str = "v3"
    cache_bound_s: float = 5.0
    refresh_bound_s: float = 0.2
    login_max_age_s: float = 3600.0
    mount_timeout_s: float = 30.0
    max_message_bytes: int = DRIVER_MESSAGE_BYTES
    kubernetes_url: str = ""
    config: str = ""
    verbosity: int = 0
    log_json: bool = False

    def __post_init__(self) -> None:
        if self.api_version not in API_VERSIONS:
            raise Invalid("-api-version: must be v3 or v4")
        for flag, seconds in (
            ("cache-bound", self.cache_bound_s),
            ("refresh-bound", self.refresh_bound_s),
        ):
            if not 0 <= seconds <= 300:
                raise Invalid(f"-{flag}: must be between 0 and 5m")
        if not 1 <= self.mount_timeout_s <= 110:
            raise Invalid("-mount-timeout: must be between 1s and 110s")
        if not 1 <= self.login_max_age_s <= 30 * 86400:
            raise Invalid("-login-max-age: must be between 1s and 720h")
        if not 1024 <= self.max_message_bytes <= 64 * 1024 * 1024:
            raise Invalid("-max-message-size: must be between 1 KiB and 64 MiB")
        socket_url("-endpoint", self.endpoint)
        if self.alias_endpoint:
            socket_url("-alias-endpoint", self.alias_endpoint)
        self.health_address()
        try:
            for pattern in self.allowed_hosts:
                site.check_pattern(pattern)
        except ValueError as error:
            raise Invalid(f"-allowed-hosts: {error}") from error
        try:
            if self.kms_url:
                site.parse_all("-kms-url", self.kms_url, self.policy())
            if self.kubernetes_url:
                site.parse("-kubernetes-url", self.kubernetes_url, site.Policy())
        except errors.ProviderError as error:
            raise Invalid(str(error)) from error

    def policy(self) -> site.Policy:
        """Return what the operator allows as KMS address."""
        hosts = tuple(site.check_pattern(pattern) for pattern in self.allowed_hosts)
        return site.Policy(self.kms_url, hosts, self.allow_plain_http)

    def health_address(self) -> tuple[str | None, int]:
        """Return host and port of the health endpoint; None stands for all interfaces."""
        host, _, port = self.health_port.rpartition(":")
        if not (port.isascii() and port.isdigit() and int(port) < 65536):
            raise Invalid("-health-port: must be PORT or HOST:PORT")
        return host.strip("[]") or None, int(port)


def socket_url(flag: str, text: str) -> str:
    """Return a socket's place as ``unix://`` and an absolute path.

    Args:
        flag: for the message.
        text: ``/path``, ``unix:/path`` or ``unix:///path``.

    Raises: Invalid: another form; an abstract socket has no file permissions to guard it.
    """
    path = text.removeprefix("unix://") if text.startswith("unix://") else text
    path = path.removeprefix("unix:")
    if not path.startswith("/") or "\0" in path:
        raise Invalid(f"{flag}: must be an absolute path or unix:///path")
    return f"unix://{os.path.normpath(path)}"


def split_list(text: str) -> tuple[str, ...]:
    """Read a comma list; blanks around items and empty items do not count."""
    return tuple(item.strip() for item in text.split(",") if item.strip())


def count(text: str) -> int:
    """Read a whole number. Raises: ValueError."""
    if not (text.isascii() and text.isdigit() and len(text) < 12):
        raise ValueError(f"not a whole number: {text[:32]!r}")
    return int(text)


_RELOADABLE: Mapping[str, tuple[str, Any]] = {
    "kms-url": ("kms_url", str),
    "allowed-hosts": ("allowed_hosts", split_list),
    "allow-plain-http": ("allow_plain_http", go_syntax.boolean),
    "api-version": ("api_version", str),
    "cache-bound": ("cache_bound_s", go_syntax.duration),
    "refresh-bound": ("refresh_bound_s", go_syntax.duration),
    "login-max-age": ("login_max_age_s", go_syntax.duration),
    "mount-timeout": ("mount_timeout_s", go_syntax.duration),
    "max-message-size": ("max_message_bytes", count),
    "v": ("verbosity", count),
}
"""Flag name → field and reader, for settings that may change while the process runs."""


def overlay(flags: Settings, text: str) -> Settings:
    """Return the flags' settings with those of a configuration file laid over them.

    Args:
        flags: what the command line said.
        text: YAML map, flag name without dashes → value in the flag's own form; a list may stand
            for a comma list.

    Raises: Invalid: unreadable, an unknown name, one that only a flag can set, or a bad value.
    """
    try:
        root = document.load(text)
    except document.Malformed as error:
        raise Invalid(f"configuration file: {error}") from error
    if root in ("", None):
        return flags
    if not isinstance(root, dict):
        raise Invalid("configuration file: must be a map of flag names")
    changes: dict[str, Any] = {}
    for name, value in root.items():
        if name not in _RELOADABLE:
            raise Invalid(f"configuration file: {name!r:.80} is no setting that a file can change")
        field, read = _RELOADABLE[name]
        if isinstance(value, list) and all(isinstance(item, str) for item in value):
            value = ",".join(str(item) for item in value)
        if not isinstance(value, str):
            raise Invalid(f"configuration file: {name}: must be a plain value")
        try:
            changes[field] = read(value)
        except ValueError as error:
            raise Invalid(f"configuration file: {name}: {error}") from error
    return dataclasses.replace(flags, **changes)
