"""The command line `kms-csi-provider`, in Go's flag syntax: flags → Settings → app. No logic.

Names of the first flags are those of the Go provider in use; `-host-url` stays as another name of
`-kms-url`.
"""

import asyncio
import sys
from collections.abc import Sequence
from typing import Any

import click

from provider_kms import app, go_syntax, log, settings

PROGRAM = "kms-csi-provider"
ALIASES = {"host-url": "kms-url"}
_START_FAILED, _USAGE = 1, 2


class _Read(click.ParamType[Any]):
    """A flag's value, read by a function that raises ValueError."""

    def __init__(self, name: str, read: Any) -> None:
        self.name, self._read = name, read

    def convert(self, value: Any, param: Any, ctx: Any) -> Any:
        if not isinstance(value, str):
            return value
        try:
            return self._read(value)
        except ValueError as error:
            self.fail(str(error), param, ctx)


_BOOLEAN = _Read("bool", go_syntax.boolean)
_DURATION = _Read("duration", go_syntax.duration)
_LIST = _Read("list", settings.split_list)
_DEFAULTS = settings.Settings()

# Flag, field of Settings, type, help. What a configuration file may change too is told in
# docs/provider.md.
_FLAGS: tuple[tuple[str, str, Any, str], ...] = (
    ("endpoint", "endpoint", str, "unix socket to serve on: a path or unix:///path"),
    (
        "alias-endpoint",
        "alias_endpoint",
        str,
        "second socket, for classes with an old provider name",
    ),
    ("health-port", "health_port", str, "port, or host:port, of /health/… and /metrics"),
    ("kms-url", "kms_url", str, "KMS for classes that name none; a comma list is tried in order"),
    (
        "allowed-hosts",
        "allowed_hosts",
        _LIST,
        "KMS hosts that classes may name: host, host:port, *.domain",
    ),
    ("allow-plain-http", "allow_plain_http", _BOOLEAN, "allow http to other machines"),
    (
        "ca-file",
        "ca_files",
        _LIST,
        "PEM files trusted beside the system's; reread when they change",
    ),
    (
        "allow-default-audience",
        "allow_default_audience",
        _BOOLEAN,
        "make tokens by TokenRequest for useDefaultAudience",
    ),
    ("api-version", "api_version", str, "KMS API for classes that name none: v3 or v4"),
    ("cache-bound", "cache_bound_s", _DURATION, "how long a read is believed at a first mount"),
    ("refresh-bound", "refresh_bound_s", _DURATION, "how long a read is believed at a refresh"),
    ("login-max-age", "login_max_age_s", _DURATION, "longest use of one login"),
    ("mount-timeout", "mount_timeout_s", _DURATION, "longest Mount"),
    ("max-message-size", "max_message_bytes", int, "largest answer to the driver in bytes"),
    ("kubernetes-url", "kubernetes_url", str, "API server, if not the pod's own"),
    ("config", "config", str, "YAML file laid over the flags; reread when it changes"),
    ("v", "verbosity", int, "log verbosity; from 5 on every KMS request is a line"),
    ("log-format-json", "log_json", _BOOLEAN, "log JSON lines"),
)


def _command() -> click.Command:
    options: list[click.Parameter] = [
        click.Option(
            [f"--{flag}", field],
            type=kind,
            default=getattr(_DEFAULTS, field),
            show_default=_shown(field, kind),
            help=text,
        )
        for flag, field, kind, text in _FLAGS
    ]
    options.append(
        click.Option(["--version"], type=_BOOLEAN, default=False, help="print the version")
    )
    return click.Command(
        PROGRAM,
        params=options,
        help="Serve secrets of a KMS to the Secrets Store CSI driver.",
        context_settings={"max_content_width": 100},
    )


def _shown(field: str, kind: Any) -> str | bool:
    """Return a default in the form that the flag itself takes; False for an empty one."""
    value = getattr(_DEFAULTS, field)
    if kind is _DURATION:
        return f"{value:g}s"
    return str(value).lower() if kind is _BOOLEAN else bool(value)


def parse(argv: Sequence[str]) -> settings.Settings:
    """Return the settings that a command line asks for.

    Raises:
        SystemExit: 0 after -h or -version, 2 after a fault; usage goes to stderr.
    """
    command = _command()
    booleans = {flag for flag, _, kind, _ in _FLAGS if kind is _BOOLEAN} | {"version"}
    values = {flag for flag, _, _, _ in _FLAGS} - booleans
    try:
        words = go_syntax.normalise(argv, values=values, booleans=booleans, aliases=ALIASES)
        if words == ["--help"]:
            _usage(command)
            raise SystemExit(0)
        context = command.make_context(PROGRAM, words)
        if context.params.pop("version"):
            click.echo(f"{PROGRAM} {settings.VERSION}")
            raise SystemExit(0)
        return settings.Settings(**context.params)
    except (go_syntax.SyntaxFault, settings.Invalid) as error:
        click.echo(str(error), err=True)
    except click.UsageError as error:
        click.echo(error.format_message(), err=True)
    _usage(command)
    raise SystemExit(_USAGE)


def main(argv: Sequence[str] | None = None) -> None:
    """Run the provider; ends with 0 after SIGTERM, 1 if it could not start, 2 after a bad flag."""
    wanted = parse(sys.argv[1:] if argv is None else argv)
    log.setup(verbosity=wanted.verbosity, as_json=wanted.log_json)
    try:
        asyncio.run(app.run(wanted))
    except (OSError, ValueError) as error:
        log.get(__name__).error("could not start", extra=log.pairs(reason=str(error)))
        raise SystemExit(_START_FAILED) from None


def _usage(command: click.Command) -> None:
    with click.Context(command, info_name=PROGRAM, max_content_width=100) as context:
        click.echo(command.get_help(context), err=True)
