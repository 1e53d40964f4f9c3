"""Command lines as Go's flag package reads them.

Manifests that start the Go driver start this one, so its syntax is kept to the letter: one or two
dashes, ``-name=value`` or ``-name value``, booleans only with ``=``, and the first argument that is
no flag ends the parsing. Source: Go package flag. docs/decisions tells why no library does it.
"""

import dataclasses
import json
import re
from collections.abc import Mapping, Sequence

from secrets_store.model import duration

Value = str | bool | int | float

_INTEGER = re.compile(r"[+-]?[0-9A-Za-z_]+")
_OCTAL = re.compile(r"[+-]?0[0-9_]+")
_TRUE, _FALSE = ("1", "t", "T", "true", "TRUE", "True"), ("0", "f", "F", "false", "FALSE", "False")


class UsageError(Exception):
    """The command line breaks a rule; its text says which, in Go's words."""


class HelpWanted(Exception):
    """The command line asks for help."""


@dataclasses.dataclass(frozen=True, slots=True)
class Flag:
    """One flag.

    Attributes:
        name: Without dashes.
        kind: bool, int, duration (in seconds) or string.
        default: Of the kind's Python type.
    """

    name: str
    kind: str
    default: Value
    help: str


def parse(arguments: Sequence[str], flags: Mapping[str, Flag]) -> dict[str, Value]:
    """Read a command line.

    Args:
        arguments: Without the program's name.
        flags: By name.
    Returns: The flags that were given; of one given twice the last value.
    Raises: UsageError, HelpWanted.
    """
    values: dict[str, Value] = {}
    words = list(arguments)
    while words and len(words[0]) > 1 and words[0][0] == "-":
        word = words.pop(0)
        if word == "--":
            break
        text = word[2:] if word.startswith("--") else word[1:]
        name, has_value, value = text.partition("=")
        if not name or name[0] == "-":
            raise UsageError(f"bad flag syntax: {word}")
        flag = flags.get(name)
        if flag is None:
            if name in ("h", "help"):
                raise HelpWanted
            raise UsageError(f"flag provided but not defined: -{name}")
        if not has_value:
            if flag.kind == "bool":
                value = "true"
            elif not words:
                raise UsageError(f"flag needs an argument: -{name}")
            else:
                value = words.pop(0)
        values[name] = _convert(flag, value)
    return values


def usage(program: str, flags: Mapping[str, Flag]) -> str:
    """Return the usage text: every flag, sorted, with its meaning and default."""
    lines = [f"Usage of {program}:"]
    for name in sorted(flags):
        flag = flags[name]
        lines.append(f"  -{name}" + ("" if flag.kind == "bool" else f" {flag.kind}"))
        default = shown_default(flag)
        lines.append(f"    \t{flag.help}" + (f" (default {default})" if default else ""))
    return "\n".join(lines) + "\n"


def shown_default(flag: Flag) -> str:
    """Return a default as Go prints it, empty for the zero value."""
    if flag.kind == "duration":
        return duration.render(float(flag.default)) if flag.default else ""
    if flag.kind == "string":
        return f'"{flag.default}"' if flag.default else ""
    return str(flag.default).lower() if flag.default else ""


def _convert(flag: Flag, text: str) -> Value:
    try:
        if flag.kind == "bool":
            return _boolean(text)
        if flag.kind == "int":
            return _integer(text)
        if flag.kind == "duration":
            return duration.parse(text)
        return text
    except OverflowError:
        reason = "value out of range"
    except ValueError:
        reason = "parse error"
    what = "boolean value" if flag.kind == "bool" else "value"
    preposition = "for" if flag.kind == "bool" else "for flag"
    raise UsageError(f"invalid {what} {_quoted(text)} {preposition} -{flag.name}: {reason}")


def _quoted(text: str) -> str:
    """Quote a value so that it stays on its line, as Go's %q does."""
    return json.dumps(text, ensure_ascii=False)


def _boolean(text: str) -> bool:
    if text in _TRUE:
        return True
    if text in _FALSE:
        return False
    raise ValueError(text)


def _integer(text: str) -> int:
    """Read decimal, 0x, 0o, 0b and, as Go does, a leading 0 as octal; 64 bits."""
    if not _INTEGER.fullmatch(text):
        # Python's int takes blanks around it and the digits of every script.
        raise ValueError(text)
    number = int(text, 8 if _OCTAL.fullmatch(text) else 0)
    if not -(2**63) <= number < 2**63:
        raise OverflowError(text)
    return number
