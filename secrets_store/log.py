"""Logs as klog text or JSON from the same records, and the wrapper that keeps secrets out of them.

A message is a constant; facts go beside it as pairs: ``log.info("volume published",
extra=logs.pairs(volume=…, pod=…))``. Verbosity follows klog: 0 shows INFO and worse, 5 and above
shows requests (DEBUG). All goes to stderr, as upstream's does.
"""

import contextlib
import datetime
import json
import logging
import os
import sys
import threading
import traceback
from typing import Any, Generic, TextIO, TypeVar

from secrets_store import errors

DEBUG, INFO, WARNING, ERROR = logging.DEBUG, logging.INFO, logging.WARNING, logging.ERROR
STRIPPED = "***stripped***"
REQUEST_VERBOSITY = 5
"""klog verbosity from which requests and responses are logged."""

T = TypeVar("T")


class Sealed(Generic[T]):
    """A value that must not be seen: it prints as ``***stripped***`` and does not pickle."""

    __slots__ = ("_value",)

    def __init__(self, value: T) -> None:
        self._value = value

    def open(self) -> T:
        """Return the value; the caller takes over the duty of keeping it out of sight."""
        return self._value

    def __repr__(self) -> str:
        return STRIPPED

    __str__ = __repr__

    def __reduce__(self) -> Any:
        raise TypeError("a sealed value does not leave the process")


def get(name: str) -> logging.Logger:
    """Return the logger of one module."""
    return logging.getLogger(name)


def pairs(**facts: object) -> dict[str, dict[str, object]]:
    """Return facts in the shape that ``extra=`` takes; None values are left out."""
    return {"pairs": {key: value for key, value in facts.items() if value is not None}}


def setup(*, verbosity: int, as_json: bool) -> None:
    """Send all logs to stderr; call once at start."""
    handler = _Handler(sys.stderr)
    handler.setFormatter(JsonFormatter() if as_json else KlogFormatter())
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(logging.DEBUG if verbosity >= REQUEST_VERBOSITY else logging.INFO)
    # What libraries have to say at DEBUG can hold headers and bodies.
    for noisy in ("urllib3", "asyncio", "grpc"):
        logging.getLogger(noisy).setLevel(logging.WARNING)


def catch_all() -> None:
    """Log what nobody catches, and warnings, instead of letting Python print them.

    Its own words are no log lines, and they show the text of any exception.
    """
    logging.captureWarnings(True)
    sys.excepthook = lambda kind, error, trace: _uncaught("uncaught error", (kind, error, trace))
    threading.excepthook = _uncaught_in_thread
    sys.unraisablehook = _uncaught_nowhere


def _uncaught(what: str, info: tuple[Any, Any, Any], level: int = logging.CRITICAL) -> None:
    get(__name__).log(level, what, exc_info=info)


def _uncaught_in_thread(told: "threading.ExceptHookArgs") -> None:
    if told.exc_type is not SystemExit:
        info = (told.exc_type, told.exc_value, told.exc_traceback)
        _uncaught("uncaught error in a thread", info, ERROR)


def _uncaught_nowhere(told: "sys.UnraisableHookArgs") -> None:
    info = (told.exc_type, told.exc_value, told.exc_traceback)
    _uncaught("uncaught error where none can be raised", info, ERROR)


def _facts(record: logging.LogRecord) -> dict[str, object]:
    facts: dict[str, object] = dict(getattr(record, "pairs", {}))
    error = record.exc_info[1] if record.exc_info else None
    if error is not None:
        # Only our own sentences and the operating system's are known to hold no secret.
        # Libraries raise OSError with words of their own; only the system's come with a number.
        told = isinstance(error, errors.DriverError) or (
            isinstance(error, OSError) and error.errno is not None
        )
        facts["err"] = str(error) if told else type(error).__name__
    stack = _stack(record)
    if stack:
        facts["stack"] = stack
    return facts


def _stack(record: logging.LogRecord) -> str:
    """Render a traceback as places only: source lines and locals could show a secret."""
    if not record.exc_info or record.exc_info[2] is None:
        return ""
    if isinstance(record.exc_info[1], errors.DriverError):
        return ""
    frames = traceback.extract_tb(record.exc_info[2])
    return " < ".join(
        f"{os.path.basename(f.filename)}:{f.lineno} {f.name}" for f in reversed(frames)
    )


class _Handler(logging.StreamHandler[TextIO]):
    """Writes lines, and of a record that cannot be rendered its place alone.

    The library's own way out prints the record's arguments and the exception's text.
    """

    def handleError(self, record: logging.LogRecord) -> None:
        kind = sys.exc_info()[0]
        told = logging.LogRecord(
            record.name,
            ERROR,
            record.pathname,
            record.lineno,
            "log record not rendered",
            None,
            None,
        )
        told.__dict__ |= pairs(reason=kind.__name__ if kind else None)
        # If stderr itself is gone, there is nobody to tell.
        with contextlib.suppress(OSError, ValueError):
            self.stream.write(self.format(told) + self.terminator)


class KlogFormatter(logging.Formatter):
    """klog's text form: ``I1124 15:04:05.000000 7 node.py:42] "message" key="value"``."""

    _LETTERS = ((logging.CRITICAL, "F"), (logging.ERROR, "E"), (logging.WARNING, "W"))

    def format(self, record: logging.LogRecord) -> str:
        letter = next((x for level, x in self._LETTERS if record.levelno >= level), "I")
        at = datetime.datetime.fromtimestamp(record.created)
        facts = _facts(record)
        tail = "".join(f" {key}={_quoted(value)}" for key, value in facts.items())
        return (
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
        facts = _facts(record)
        if "err" in facts:
            facts["error"] = facts.pop("err")
        return json.dumps(line | facts, default=str, ensure_ascii=False)


def _quoted(value: object) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, int | float):
        return str(value)
    return json.dumps(str(value), ensure_ascii=False)
