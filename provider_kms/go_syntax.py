"""What Go's flag and time packages read: command lines, booleans, durations.

Manifests in use are written for a Go program, so the command line keeps its syntax. click reads
another one, and would take 2.5 MiB and 40 ms of every start for it. Pure.

Source: Go packages flag and time.
"""

import re
from collections.abc import Collection, Mapping, Sequence

_TRUE = frozenset({"1", "t", "T", "true", "TRUE", "True"})
_FALSE = frozenset({"0", "f", "F", "false", "FALSE", "False"})
_UNITS_S = {
    "ns": 1e-9,
    "us": 1e-6,
    "µs": 1e-6,
    "μs": 1e-6,
    "ms": 1e-3,
    "s": 1.0,
    "m": 60.0,
    "h": 3600.0,
}
_PART = re.compile(r"([0-9]+\.?[0-9]*|\.[0-9]+)(ns|us|µs|μs|ms|s|m|h)")
_LONGEST_S = 2**63 / 1e9
_HELP = frozenset({"h", "help"})


class HelpWanted(Exception):
    """The command line asks for help."""


class SyntaxFault(ValueError):
    """A command line that Go's flag package refuses; its text is for the user."""


def boolean(text: str) -> bool:
    """Read a boolean as strconv.ParseBool does.

    Raises: ValueError: any other spelling, ``yes`` and ``on`` included.
    """
    if text in _TRUE:
        return True
    if text in _FALSE:
        return False
    raise ValueError(f"invalid boolean {text[:64]!r}")


def duration(text: str) -> float:
    """Return seconds.

    Raises: ValueError: not a Go duration, such as ``90s``, ``1h30m``, ``1.5h``, ``-2m`` or ``0``.
    """
    sign, rest = (-1.0, text[1:]) if text[:1] == "-" else (1.0, text.removeprefix("+"))
    if rest == "0":
        return 0.0
    seconds, position = 0.0, 0
    while match := _PART.match(rest, position):
        seconds += float(match[1]) * _UNITS_S[match[2]]
        position = match.end()
    if not rest or position != len(rest) or seconds >= _LONGEST_S:
        raise ValueError(f"invalid duration {text[:64]!r}")
    return sign * seconds


def words(
    argv: Sequence[str],
    *,
    values: Collection[str],
    booleans: Collection[str],
    aliases: Mapping[str, str],
) -> dict[str, str]:
    """Read a Go command line.

    Args:
        argv: words after the program's name.
        values: names of flags that take a value, as the next word or after ``=``.
        booleans: names of flags that take a value only after ``=``.
        aliases: other spelling → name in `values` or `booleans`.

    Returns: name → value as text, of a flag given twice the last one.

    Raises:
        HelpWanted: it asks for help.
        SyntaxFault: an unknown flag, a missing value, a malformed word, or a word that is no
            flag: Go would silently ignore it and all that follows, the trap of ``-flag true``.
    """
    found: dict[str, str] = {}
    rest = list(argv)
    while rest:
        word = rest.pop(0)
        if word == "--" and not rest:
            break
        if len(word) < 2 or word[0] != "-" or word == "--":
            raise SyntaxFault(f"unexpected argument: {word} (a boolean is set with -flag=true)")
        name, assigned, value = word.removeprefix("--" if word[1] == "-" else "-").partition("=")
        if not name or name[0] == "-":
            raise SyntaxFault(f"bad flag syntax: {word}")
        known = aliases.get(name, name)
        if known in booleans:
            found[known] = value if assigned else "true"
        elif known in values:
            if not assigned:
                if not rest:
                    raise SyntaxFault(f"flag needs an argument: -{name}")
                value = rest.pop(0)
            found[known] = value
        elif name in _HELP:
            raise HelpWanted
        else:
            raise SyntaxFault(f"flag provided but not defined: -{name}")
    return found
