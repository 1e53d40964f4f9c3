"""The command line `kms-csi-provider`, in Go's flag syntax: flags → Settings → app. No logic.

Names of the first flags are those of the Go provider in use; `-host-url` stays as another name of
`-kms-url`.
"""

import sys
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from provider_kms import go_syntax, log, settings

PROGRAM = "kms-csi-provider"
ALIASES = {"host-url": "kms-url"}
_START_FAILED, _USAGE = 1, 2
_READERS: dict[str, Callable[[str], Any]] = {
    "string": str,
    "bool": go_syntax.boolean,
    "duration": go_syntax.duration,
    "int": settings.count,
    "list": settings.split_list,
}


class _Flag(NamedTuple):
    name: str
    field: str
    kind: str
    help: str


_FLAGS = (
    _Flag("alias-endpoint", "alias_endpoint", "string", "second socket, for an old provider name"),
    _Flag(
        "allow-default-audience",
        "allow_default_audience",
        "bool",
        "make tokens by TokenRequest for classes with useDefaultAudience",
    ),
    _Flag("allow-plain-http", "allow_plain_http", "bool", "allow http to other machines"),
    _Flag(
        "allowed-hosts",
        "allowed_hosts",
        "list",
        "KMS hosts that classes may name: host, host:port or *.domain; empty allows any",
    ),
    _Flag("api-version", "api_version", "string", "KMS API for classes that name none: v3 or v4"),
    _Flag("ca-file", "ca_files", "list", "PEM files trusted too; reread when they change"),
    _Flag("cache-bound", "cache_bound_s", "duration", "how long a read is believed at a mount"),
    _Flag("config", "config", "string", "YAML file laid over the flags; reread when it changes"),
    _Flag("endpoint", "endpoint", "string", "unix socket to serve on: a path or unix:///path"),
    _Flag("health-port", "health_port", "string", "port, or host:port, of health and metrics"),
    _Flag("kms-url", "kms_url", "string", "KMS for classes that name none, or several by comma"),
    _Flag("kubernetes-url", "kubernetes_url", "string", "API server, if not the pod's own"),
    _Flag("log-format-json", "log_json", "bool", "log JSON lines"),
    _Flag("login-max-age", "login_max_age_s", "duration", "longest use of one login"),
    _Flag("max-message-size", "max_message_bytes", "int", "largest answer to the driver, bytes"),
    _Flag("mount-timeout", "mount_timeout_s", "duration", "longest Mount"),
    _Flag(
        "refresh-bound", "refresh_bound_s", "duration", "how long a read is believed at a refresh"
    ),
    _Flag("v", "verbosity", "int", "log verbosity; from 5 on every KMS request is a line"),
)
_VERSION = "version"


def parse(argv: Sequence[str]) -> settings.Settings | None:
    """Return the settings that a command line asks for; None if it asks for the version.

    Raises: go_syntax.HelpWanted; go_syntax.SyntaxFault or settings.Invalid: a fault to tell.
    """
    booleans = {flag.name for flag in _FLAGS if flag.kind == "bool"} | {_VERSION}
    values = {flag.name for flag in _FLAGS} - booleans
    given = go_syntax.words(argv, values=values, booleans=booleans, aliases=ALIASES)
    fields: dict[str, Any] = {}
    for flag in _FLAGS:
        if flag.name in given:
            try:
                fields[flag.field] = _READERS[flag.kind](given[flag.name])
            except ValueError as error:
                raise go_syntax.SyntaxFault(f"-{flag.name}: {error}") from None
    if _VERSION in given and go_syntax.boolean(given[_VERSION]):
        return None
    return settings.Settings(**fields)


def usage() -> str:
    """Return the usage text: every flag with its kind, meaning and default."""
    defaults = settings.Settings()
    lines = [f"Usage of {PROGRAM}:"]
    for flag in _FLAGS:
        value = getattr(defaults, flag.field)
        shown = f"{value:g}s" if flag.kind == "duration" else str(value or "")
        kind = "" if flag.kind == "bool" else f" {flag.kind}"
        lines.append(f"  -{flag.name}{kind}")
        lines.append(f"    \t{flag.help}" + (f" (default {shown})" if shown else ""))
    lines.append(f"  -{_VERSION}\n    \tprint the version and end")
    return "\n".join(lines) + "\n"


def main(argv: Sequence[str] | None = None) -> None:
    """Run the provider; ends with 0 after SIGTERM, 1 if it could not start, 2 after a bad flag."""
    try:
        wanted = parse(sys.argv[1:] if argv is None else argv)
    except go_syntax.HelpWanted:
        sys.stderr.write(usage())
        raise SystemExit(0) from None
    except (go_syntax.SyntaxFault, settings.Invalid) as error:
        sys.stderr.write(f"{error}\n{usage()}")
        raise SystemExit(_USAGE) from None
    if wanted is None:
        sys.stdout.write(f"{PROGRAM} {settings.VERSION}\n")
        return
    log.setup(verbosity=wanted.verbosity, as_json=wanted.log_json)
    # Imported here, so that usage and version answer without loading gRPC.
    from provider_kms import app

    try:
        app.main(wanted)
    except (OSError, ValueError) as error:
        log.get(__name__).error("could not start", extra=log.pairs(reason=str(error)))
        raise SystemExit(_START_FAILED) from None
