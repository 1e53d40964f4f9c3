"""The driver's command line, in the syntax of Go's flag package.

One or two dashes, ``-name=value`` or ``-name value`` (booleans only with ``=``); parsing ends at
the first argument that is no flag, and what follows is ignored. An unknown flag or a bad value
prints the usage and exits with 2.
"""

import dataclasses
import json
import os
import sys
from collections.abc import Sequence
from typing import Any

import click

from secrets_store import errors, settings
from secrets_store.model import duration

_TRUE, _FALSE = ("1", "t", "T", "true", "TRUE", "True"), ("0", "f", "F", "false", "FALSE", "False")


class GoBool(click.ParamType[bool]):
    """A boolean as Go reads it."""

    name = "bool"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> bool:
        if isinstance(value, bool):
            return value
        if value in _TRUE:
            return True
        if value in _FALSE:
            return False
        self.fail(f"{value!r} is no boolean", param, ctx)


class GoDuration(click.ParamType[float]):
    """A duration as Go reads it, in seconds."""

    name = "duration"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> float:
        if isinstance(value, float):
            return value
        try:
            return duration.parse(value)
        except ValueError as error:
            self.fail(str(error), param, ctx)


class GoInt(click.ParamType[int]):
    """An integer as Go reads it: decimal, 0x, 0o, 0b or a leading 0."""

    name = "int"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        if isinstance(value, int):
            return value
        digits = value.lstrip("+-")
        octal = len(digits) > 1 and digits[0] == "0" and digits.isdecimal()
        try:
            return int(value, 8 if octal else 0)
        except ValueError:
            self.fail(f"{value!r} is no integer", param, ctx)


_TYPES: dict[str, click.ParamType[Any]] = {
    "bool": GoBool(),
    "int": GoInt(),
    "duration": GoDuration(),
    "string": click.STRING,
}


def kind_of(field: "dataclasses.Field[Any]") -> str:
    """Return a flag's Go type: bool, int, duration or string."""
    kinds = {"bool": "bool", "int": "int", "str": "string"}
    return str(field.metadata["kind"]) or kinds[getattr(field.type, "__name__", str(field.type))]


def to_long_options(arguments: Sequence[str], booleans: frozenset[str]) -> list[str]:
    """Rewrite Go flags as ``--name=value`` words, so that one parser serves both spellings.

    Args:
        arguments: Without the program's name.
        booleans: Names of flags that never take the next word as their value.
    """
    words: list[str] = []
    rest = list(arguments)
    while rest:
        word = rest.pop(0)
        if len(word) < 2 or word[0] != "-" or word == "--":
            return [*words, word, *rest] if word == "--" else [*words, "--", word, *rest]
        name, has_value, value = word.lstrip("-").partition("=")
        if not has_value and name in booleans:
            value = "true"
        elif not has_value and name not in ("h", "help"):
            if not rest:
                return [*words, f"--{name}"]
            value = rest.pop(0)
        elif not has_value:
            words.append("--help")
            continue
        words.append(f"--{name}={value}")
    return words


def _options() -> tuple[list[click.Parameter], frozenset[str]]:
    options: list[click.Parameter] = []
    booleans = {name for name, kind in settings.KLOG_FLAGS.items() if kind == "bool"}
    for field in dataclasses.fields(settings.Settings):
        name, kind = settings.flag_name(field), kind_of(field)
        if kind == "bool":
            booleans.add(name)
        default: Any = field.default
        shown = duration.render(float(default)) if kind == "duration" else str(default).lower()
        options.append(
            click.Option(
                [f"--{name}", field.name],
                type=_TYPES[kind],
                default=default,
                show_default=shown or "empty",
                help=str(field.metadata["help"]),
            )
        )
    options.extend(
        click.Option(
            [f"--{name}", f"klog_{name}"], type=_TYPES[kind], expose_value=False,
            help="accepted, without effect",
        )
        for name, kind in settings.KLOG_FLAGS.items()
    )  # fmt: skip
    return options, frozenset(booleans)


def parse(arguments: Sequence[str]) -> settings.Settings:
    """Read a command line.

    Raises: click.UsageError; click.exceptions.Exit after printing the help.
    """
    options, booleans = _options()
    command = click.Command(
        "secrets-store-csi-driver", params=options, context_settings={"allow_extra_args": True}
    )
    with command.make_context(command.name, to_long_options(arguments, booleans)) as context:
        return settings.Settings(**context.params)


def version_line() -> str:
    """Return the JSON line of ``-version``; commit and date are set when the image is built."""
    return json.dumps(
        {
            "BuildVersion": settings.VERSION,
            "GitCommit": os.environ.get("SECRETS_STORE_GIT_COMMIT", ""),
            "BuildDate": os.environ.get("SECRETS_STORE_BUILD_DATE", ""),
        }
    )


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the driver until it is told to stop; exits with 0, 1 (failure) or 2 (usage)."""
    try:
        chosen = parse(sys.argv[1:] if arguments is None else arguments)
    except click.exceptions.Exit:
        sys.exit(0)
    except click.UsageError as error:
        print(error.format_message(), file=sys.stderr)
        if error.ctx is not None:
            print(error.ctx.get_help(), file=sys.stderr)
        sys.exit(2)
    if chosen.version:
        print(version_line())
        return
    # Imported here, so that usage and version answer without loading gRPC.
    from secrets_store import app

    try:
        chosen.check()
        app.main(chosen)
    except errors.ConfigurationError as error:
        print(f"secrets-store-csi-driver: {error}", file=sys.stderr)
        sys.exit(1)
