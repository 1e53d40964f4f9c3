"""The schemas of query strings and bodies: what is a 422, and how its issues look.

Source: kms-http-api §2.1 to §2.3 (parameters, strict booleans, coerced version), §2.10 (422).
"""

import collections
import json
import re
from collections.abc import Callable, Mapping, Sequence

from devkit.kms import errors

Parser = Callable[[str], object]
Query = Sequence[tuple[str, str]]

_NUMBER = re.compile(r"\s*(?:[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?)?\s*")
_METADATA_PAIRS = 10


class Invalid(ValueError):
    """A parameter does not fit; carries the issue's code."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


def text(value: str) -> str:
    """Take any text."""
    return value


def trimmed(value: str) -> str:
    """Take any text without the white space around it."""
    return value.strip()


def boolean(value: str) -> bool:
    """Take exactly `true` or `false`."""
    return one_of("true", "false")(value) == "true"


def number(value: str) -> float:
    """Take what JavaScript's Number() takes in decimal notation; empty is 0."""
    if not _NUMBER.fullmatch(value):
        raise Invalid("invalid_type", "Expected a number")
    return float(value) if value.strip() else 0.0


def one_of(*words: str) -> Callable[[str], str]:
    """Take one of some words."""

    def parse(value: str) -> str:
        if value not in words:
            raise Invalid("invalid_enum_value", f"Expected one of {', '.join(words)}")
        return value

    return parse


def metadata_filter(value: str) -> tuple[tuple[str, str], ...]:
    """Take `key=k1,value=v1|key=k2,value=v2`, at most ten pairs."""
    pairs = []
    for part in value.split("|"):
        match = re.fullmatch(r"\s*key=([^,|]*),\s*value=(.*)", part)
        if match is None:
            raise Invalid("custom", "Expected pairs of the form key=…,value=…")
        pairs.append((match[1], match[2]))
    if len(pairs) > _METADATA_PAIRS:
        raise Invalid("custom", f"At most {_METADATA_PAIRS} pairs")
    return tuple(pairs)


def query(given: Query, parsers: Mapping[str, Parser], required: Sequence[str] = ()) -> errors.JSON:
    """Parse a query; parameters without a parser are ignored, absent ones are absent.

    Raises: errors.Refused: 422 with one issue for every parameter that does not fit, was given
        twice, or is required and missing.
    """
    issues: list[errors.JSON] = []
    parsed: errors.JSON = {}
    values = dict(given)
    counts = collections.Counter(name for name, _ in given)
    for name, parse in parsers.items():
        try:
            if counts[name] > 1:
                raise Invalid("invalid_type", "Expected one value, received several")
            if name in values:
                parsed[name] = parse(values[name])
            elif name in required:
                raise Invalid("invalid_type", "Required")
        except Invalid as e:
            issues.append({"code": e.code, "path": [name], "message": str(e)})
    _raise(issues)
    return parsed


def body(
    raw: bytes | None, required: Sequence[str], optional: Sequence[str] = ()
) -> dict[str, str]:
    """Parse a JSON body of text fields, each trimmed; unknown fields are dropped.

    Args:
        raw: None is a body that was too long to be taken.
    Raises: errors.Refused: 422 for a field that is missing or no text; 500 for what is too long
        or no JSON, because the server has no better word for either.
    """
    if raw is None:
        raise errors.internal()
    try:
        found = json.loads(raw)
    except ValueError as e:
        raise errors.internal() from e
    if not isinstance(found, dict):
        _raise([{"code": "invalid_type", "path": [], "message": "Expected an object"}])
    issues: list[errors.JSON] = []
    parsed: dict[str, str] = {}
    for name in [*required, *optional]:
        value = found.get(name)
        if isinstance(value, str):
            parsed[name] = value.strip()
        elif name in found or name in required:
            message = "Expected a string" if name in found else "Required"
            issues.append({"code": "invalid_type", "path": [name], "message": message})
    _raise(issues)
    return parsed


def _raise(issues: list[errors.JSON]) -> None:
    if issues:
        raise errors.Refused(422, "ValidationFailure", issues)
