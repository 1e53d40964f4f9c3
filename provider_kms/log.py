"""Logs as klog text or JSON lines on stderr, from the same records.

A message is a constant; facts go beside it as pairs: ``_log.info("mounted", extra=log.pairs(…))``.
Whatever looks like a token is struck out before a line is written, as a last net: errors and
records are built without secrets in the first place.
"""

import datetime
import json
import logging
import re
import sys
import threading
import traceback

from provider_kms import sealed

DEBUG_VERBOSITY = 5
"""klog verbosity from which DEBUG records are shown: one line per KMS request."""

_JWT = re.compile(r"eyJ[A-Za-z0-9_-]{4,}\.[A-Za-z0-9_-]{4,}(?:\.[A-Za-z0-9_-]*)?")
_BEARER = re.compile(r"(?i)\b(bearer)\s+[^\s\"',]+")


def get(name: str) -> logging.Logger:
    """Return the logger of one module."""
    return logging.getLogger(name)


def pairs(**facts: object) -> dict[str, dict[str, object]]:
    """Return facts in the shape that ``extra=`` takes; None values are left out."""
    return {"pairs": {key: value for key, value in facts.items() if value is not None}}


def redact(text: str) -> str:
    """Strike out JSON web tokens and bearer headers."""
    return _BEARER.sub(rf"\1 {sealed.STRIPPED}", _JWT.sub(sealed.STRIPPED, text))


def setup(*, verbosity: int, as_json: bool) -> None:
    """Send all logs to stderr; called once at start."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonFormatter() if as_json else KlogFormatter())
    root = logging.getLogger()
    root.handlers[:] = [handler]
    set_verbosity(verbosity)
    # What libraries say at DEBUG can hold headers and bodies.
    for noisy in ("asyncio", "grpc", "watchdog"):
        logging.getLogger(noisy).setLevel(logging.WARNING)


def set_verbosity(verbosity: int) -> None:
    """Show INFO and worse, or from `DEBUG_VERBOSITY` on everything."""
    level = logging.DEBUG if verbosity >= DEBUG_VERBOSITY else logging.INFO
    logging.getLogger().setLevel(level)


def _facts(record: logging.LogRecord) -> dict[str, object]:
    facts: dict[str, object] = dict(getattr(record, "pairs", {}))
    if record.exc_info and record.exc_info[1] is not None:
        failure = record.exc_info[1]
        # The text of a foreign exception may quote its input; its type and places cannot.
        facts["err"] = type(failure).__name__
        frames = traceback.extract_tb(failure.__traceback__)
        facts["stack"] = " < ".join(
            f"{frame.filename.rpartition('/')[2]}:{frame.lineno} {frame.name}"
            for frame in reversed(frames[-12:])
        )
    return facts


class KlogFormatter(logging.Formatter):
    """klog's text form: ``I1124 15:04:05.000000 7 service.py:42] "message" key="value"``."""

    _LETTERS = ((logging.CRITICAL, "F"), (logging.ERROR, "E"), (logging.WARNING, "W"))

    def format(self, record: logging.LogRecord) -> str:
        letter = next((x for level, x in self._LETTERS if record.levelno >= level), "I")
        at = datetime.datetime.fromtimestamp(record.created)
        tail = "".join(f" {key}={_quoted(value)}" for key, value in _facts(record).items())
        return redact(
            f"{letter}{at:%m%d %H:%M:%S.%f} {threading.get_native_id():7d} "
            f"{record.filename}:{record.lineno}] {_quoted(record.getMessage())}{tail}"
        )


class JsonFormatter(logging.Formatter):
    """One JSON object a line: level, timestamp, caller, message, then the pairs."""

    def format(self, record: logging.LogRecord) -> str:
        at = datetime.datetime.fromtimestamp(record.created, datetime.UTC)
        line: dict[str, object] = {
            "level": "warn" if record.levelno == logging.WARNING else record.levelname.lower(),
            "timestamp": at.isoformat(timespec="microseconds").replace("+00:00", "Z"),
            "caller": f"{record.filename}:{record.lineno}",
            "message": record.getMessage(),
        }
        return redact(json.dumps(line | _facts(record), default=str, ensure_ascii=False))


def _quoted(value: object) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, int | float):
        return str(value)
    return json.dumps(str(value), ensure_ascii=False)
