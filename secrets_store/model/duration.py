"""Durations in Go's text form, as flags and annotations carry them."""

import re

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
_MAX_S = 2**63 / 1e9
"""Go counts nanoseconds in 64 bits."""
_PART = re.compile(r"([0-9]+\.?[0-9]*|\.[0-9]+)(ns|us|µs|μs|ms|s|m|h)")


def parse(text: str) -> float:
    """Return seconds.

    Raises: ValueError: not a Go duration, such as ``90s``, ``1h30m``, ``1.5h``, ``-2m`` or ``0``.
    Source: Go package time, ParseDuration.
    """
    sign, rest = (-1.0, text[1:]) if text[:1] == "-" else (1.0, text.removeprefix("+"))
    if rest == "0":
        return 0.0
    seconds, position = 0.0, 0
    while match := _PART.match(rest, position):
        seconds += float(match[1]) * _UNITS_S[match[2]]
        position = match.end()
    if not rest or position != len(rest) or seconds > _MAX_S:
        raise ValueError(f"invalid duration {text[:64]!r}")
    return sign * seconds


def render(seconds: float) -> str:
    """Return Go's text of a duration of whole milliseconds, such as ``2m0s`` or ``500ms``."""
    if seconds == 0:
        return "0s"
    milliseconds = round(seconds * 1000)
    if milliseconds < 1000:
        return f"{milliseconds}ms"
    minutes, rest = divmod(milliseconds, 60_000)
    hours, minutes = divmod(minutes, 60)
    text = f"{rest / 1000:g}s"
    if hours or minutes:
        text = f"{minutes}m{text}"
    return f"{hours}h{text}" if hours else text
