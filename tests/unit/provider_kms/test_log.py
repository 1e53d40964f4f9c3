import json
import logging
import re
import secrets
import sys

import pytest

from provider_kms import log


def record(
    message: str = "mounted", level: int = logging.INFO, **facts: object
) -> logging.LogRecord:
    made = logging.LogRecord("x", level, "/a/service.py", 42, message, (), None)
    made.__dict__.update(log.pairs(**facts))
    return made


def test_klog_text() -> None:
    line = log.KlogFormatter().format(record(pod="shop/front", files=2, refresh=False, gone=None))

    assert re.fullmatch(
        r'I\d{4} \d\d:\d\d:\d\d\.\d{6} +\d+ service\.py:42\] "mounted" pod="shop/front" files=2 '
        r"refresh=false",
        line,
    )


@pytest.mark.parametrize(
    ("level", "letter"),
    [(logging.DEBUG, "I"), (logging.WARNING, "W"), (logging.ERROR, "E"), (logging.CRITICAL, "F")],
)
def test_severities(level: int, letter: str) -> None:
    assert log.KlogFormatter().format(record(level=level))[0] == letter


def test_json() -> None:
    found = json.loads(log.JsonFormatter().format(record(level=logging.WARNING, pod="é")))

    assert found["level"] == "warn"
    assert found["message"] == "mounted"
    assert found["pod"] == "é"
    assert found["caller"] == "service.py:42"
    assert found["timestamp"].endswith("Z")


@pytest.mark.parametrize("form", [log.KlogFormatter(), log.JsonFormatter()], ids=["text", "json"])
def test_a_failure_shows_places_and_not_its_text(form: logging.Formatter) -> None:
    marker = secrets.token_hex(8)
    made = record(level=logging.ERROR)
    try:
        raise ValueError(marker)
    except ValueError:
        made.exc_info = sys.exc_info()

    line = form.format(made)

    assert marker not in line
    assert "ValueError" in line
    assert "test_log.py" in line


@pytest.mark.parametrize("form", [log.KlogFormatter(), log.JsonFormatter()], ids=["text", "json"])
def test_tokens_are_struck_out(form: logging.Formatter) -> None:
    jwt = "eyJhbGciOiJub25lIn0.eyJzdWIiOiJ4In0.c2ln"
    line = form.format(record(err=f"token {jwt} and Authorization: Bearer {jwt[4:]}"))

    assert "eyJ" not in line
    assert "c2ln" not in line


def test_verbosity() -> None:
    root = logging.getLogger()
    before, handlers = root.level, root.handlers[:]
    try:
        log.setup(verbosity=0, as_json=True)
        assert root.level == logging.INFO
        assert isinstance(root.handlers[0].formatter, log.JsonFormatter)
        log.set_verbosity(5)
        assert root.level == logging.DEBUG
        assert logging.getLogger("watchdog").getEffectiveLevel() == logging.WARNING
    finally:
        root.setLevel(before)
        root.handlers[:] = handlers
