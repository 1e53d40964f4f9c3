import json
import logging
import pickle
import re
import secrets
import subprocess
import sys
from collections.abc import Callable, Iterator

import pytest

from secrets_store import errors
from secrets_store import log as logs

KLOG = re.compile(
    r'([IWEF])(\d{4}) (\d\d:\d\d:\d\d\.\d{6}) +(\d+) (\w+\.py):(\d+)\] ("(?:[^"\\]|\\.)*")(.*)\n'
)


class Sink:
    """What has come out on stderr since the logs were set up."""

    def __init__(self, capsys: pytest.CaptureFixture[str]) -> None:
        self._capsys, self._text = capsys, ""

    def getvalue(self) -> str:
        out, err = self._capsys.readouterr()
        assert out == ""
        self._text += err
        return self._text


Lines = Callable[..., Sink]


@pytest.fixture
def lines(capsys: pytest.CaptureFixture[str]) -> Iterator[Lines]:
    """Set the logs up; the root logger is given back as it was."""
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level

    def setup(*, as_json: bool, verbosity: int = 0) -> Sink:
        logs.setup(verbosity=verbosity, as_json=as_json)
        return Sink(capsys)

    yield setup
    root.handlers[:] = handlers
    root.setLevel(level)


LOG = logs.get("secrets_store.some.module")


@pytest.mark.parametrize(
    ("level", "letter"),
    [
        (logging.DEBUG, "I"),
        (logging.INFO, "I"),
        (logging.WARNING, "W"),
        (logging.ERROR, "E"),
        (logging.CRITICAL, "F"),
    ],
)
def test_klog_text(lines: Lines, level: int, letter: str) -> None:
    sink = lines(as_json=False, verbosity=5)

    LOG.log(level, "volume published", extra=logs.pairs(pod="team/web", n=3, s=0.5, ok=True))

    found = KLOG.fullmatch(sink.getvalue())
    assert found is not None
    assert found[1] == letter
    assert found[5] == "test_log.py"
    assert found[7] == '"volume published"'
    assert found[8] == ' pod="team/web" n=3 s=0.5 ok=true'


@pytest.mark.parametrize(
    ("level", "word"),
    [
        (logging.DEBUG, "debug"),
        (logging.INFO, "info"),
        (logging.WARNING, "warn"),
        (logging.ERROR, "error"),
        (logging.CRITICAL, "critical"),
    ],
)
def test_json_lines(lines: Lines, level: int, word: str) -> None:
    sink = lines(as_json=True, verbosity=5)

    LOG.log(level, "volume published", extra=logs.pairs(pod="team/web", n=3, none=None))

    line = json.loads(sink.getvalue())
    assert list(line) == ["level", "timestamp", "caller", "message", "pod", "n"]
    assert line["level"] == word
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z", line["timestamp"])
    assert re.fullmatch(r"test_log\.py:\d+", line["caller"])
    assert (line["message"], line["pod"], line["n"]) == ("volume published", "team/web", 3)


@pytest.mark.parametrize("as_json", [False, True])
def test_one_record_is_one_line_whatever_it_holds(lines: Lines, as_json: bool) -> None:
    sink = lines(as_json=as_json)

    LOG.info("first", extra=logs.pairs(path='a"b\nE0101 "forged"\r\x00'))

    assert sink.getvalue().count("\n") == 1
    assert "\r" not in sink.getvalue()


@pytest.mark.parametrize("as_json", [False, True])
@pytest.mark.parametrize(("verbosity", "shown"), [(0, False), (4, False), (5, True), (10, True)])
def test_requests_show_from_verbosity_five(
    lines: Lines, as_json: bool, verbosity: int, shown: bool
) -> None:
    sink = lines(as_json=as_json, verbosity=verbosity)

    LOG.debug("request")

    assert ("request" in sink.getvalue()) is shown


@pytest.mark.parametrize("library", ["urllib3.connectionpool", "asyncio", "grpc._cython.cygrpc"])
def test_libraries_are_quiet_below_warnings(lines: Lines, library: str) -> None:
    sink = lines(as_json=False, verbosity=10)

    logs.get(library).info("headers and bodies")
    assert sink.getvalue() == ""
    logs.get(library).warning("trouble")
    assert '"trouble"' in sink.getvalue()


def test_setting_up_again_does_not_double_the_lines(lines: Lines) -> None:
    lines(as_json=False)
    sink = lines(as_json=True)

    LOG.info("once")

    assert sink.getvalue().count("once") == 1


# -- what must not be seen ---------------------------------------------------------------------


def test_a_sealed_value_opens_and_otherwise_hides() -> None:
    canary = secrets.token_hex()
    sealed = logs.Sealed(canary)

    assert sealed.open() == canary
    assert {str(sealed), repr(sealed), f"{sealed}", f"{[sealed]}", f"{sealed!s:s}"} == {
        "***stripped***",
        "[***stripped***]",
    }
    assert not hasattr(sealed, "__dict__")


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_a_sealed_value_does_not_pickle(protocol: int) -> None:
    with pytest.raises(TypeError, match="does not leave the process"):
        pickle.dumps(logs.Sealed("x"), protocol)


def test_a_sealed_value_is_no_json() -> None:
    with pytest.raises(TypeError):
        json.dumps(logs.Sealed("x"))


@pytest.mark.parametrize("as_json", [False, True])
def test_a_sealed_value_in_a_log_is_stripped(lines: Lines, as_json: bool) -> None:
    canary = secrets.token_hex()
    sink = lines(as_json=as_json)

    LOG.info("told", extra=logs.pairs(token=logs.Sealed(canary), all=[logs.Sealed(canary)]))

    assert canary not in sink.getvalue()
    assert "***stripped***" in sink.getvalue()


class _Library(Exception):
    """Stands for an exception of any library: its text is not under our control."""


def raised(error: BaseException) -> None:
    local = f"a local variable with {error}"
    assert local
    raise error


def logged(lines: Lines, error: Exception, *, as_json: bool) -> str:
    sink = lines(as_json=as_json, verbosity=10)
    try:
        raised(error)
    except Exception:
        LOG.exception("it failed")
    return sink.getvalue()


CANARY = secrets.token_hex()


@pytest.mark.parametrize("as_json", [False, True])
@pytest.mark.parametrize(
    "error",
    [
        _Library(CANARY),
        ValueError(f"bad value {CANARY}"),
        KeyError(CANARY),
        UnicodeDecodeError("utf-8", CANARY.encode(), 0, 1, "bad byte"),
        RuntimeError("outer", {"token": CANARY}),
        ExceptionGroup(CANARY, [ValueError(CANARY)]),
        pytest.param(OSError(CANARY), id="OSError that the system did not raise"),
        pytest.param(ConnectionError(f"to {CANARY}"), id="ConnectionError of a library"),
        pytest.param(TimeoutError(CANARY), id="TimeoutError of a library"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_an_exception_that_is_not_ours_shows_its_type_and_places_only(
    lines: Lines, error: Exception, as_json: bool
) -> None:
    text = logged(lines, error, as_json=as_json)

    assert CANARY not in text
    assert type(error).__name__ in text
    assert re.search(r"test_log\.py:\d+ raised < test_log\.py:\d+ logged", text)
    assert "local variable" not in text


@pytest.mark.parametrize("as_json", [False, True])
def test_a_cause_with_a_secret_stays_unseen(lines: Lines, as_json: bool) -> None:
    canary = secrets.token_hex()
    sink = lines(as_json=as_json, verbosity=10)
    try:
        try:
            raised(ValueError(canary))
        except ValueError as error:
            raise errors.ClassInvalid("parameters not set in team/db") from error
    except errors.DriverError:
        LOG.exception("it failed")

    assert canary not in sink.getvalue()
    assert "parameters not set in team/db" in sink.getvalue()


@pytest.mark.parametrize("as_json", [False, True])
def test_our_own_sentences_are_shown_without_places(lines: Lines, as_json: bool) -> None:
    text = logged(lines, errors.FileFailure("a/b", "No space"), as_json=as_json)

    assert "failed to write a/b: No space" in text
    assert "raised" not in text


@pytest.mark.parametrize("as_json", [False, True])
def test_the_operating_system_s_words_are_shown(lines: Lines, as_json: bool) -> None:
    text = logged(lines, FileNotFoundError(2, "No such file or directory", "/a"), as_json=as_json)

    assert "No such file or directory: '/a'" in text


def test_the_error_has_its_place_among_the_pairs(lines: Lines) -> None:
    line = json.loads(logged(lines, errors.Stopping(), as_json=True))
    assert line["error"] == "the driver is shutting down"
    assert "err" not in line

    text = logged(lines, errors.Stopping(), as_json=False)
    assert text.endswith(' "it failed" err="the driver is shutting down"\n')


def test_an_error_that_was_made_but_not_raised_has_no_places(lines: Lines) -> None:
    sink = lines(as_json=False)

    LOG.error("it failed", exc_info=ValueError(CANARY))

    assert sink.getvalue().endswith(' "it failed" err="ValueError"\n')


@pytest.mark.parametrize("as_json", [False, True])
def test_a_record_that_cannot_be_rendered_says_nothing_of_its_values(
    lines: Lines, as_json: bool
) -> None:
    canary = secrets.token_hex()
    sink = lines(as_json=as_json)

    LOG.info("count %d", canary)
    LOG.info("still logging")

    assert canary not in sink.getvalue()
    assert re.search(r"log record not rendered.*reason.*TypeError", sink.getvalue())
    assert "still logging" in sink.getvalue()


UNCAUGHT = """
import sys, threading, warnings
from secrets_store import log
log.setup(verbosity=0, as_json=AS_JSON)
log.catch_all()
secret = sys.argv[1]

class Odd:
    def __del__(self):
        raise ValueError(secret)

def fail():
    raise LookupError(secret)

thread = threading.Thread(target=fail)
thread.start()
thread.join()
quiet = threading.Thread(target=sys.exit)
quiet.start()
quiet.join()
Odd()
warnings.warn("old ways", UserWarning)
raise OSError(secret)
"""


@pytest.mark.parametrize("as_json", [False, True])
def test_what_nobody_catches_is_a_line_like_any_other(as_json: bool) -> None:
    secret = secrets.token_hex()

    ended = subprocess.run(
        [sys.executable, "-c", UNCAUGHT.replace("AS_JSON", str(as_json)), secret],
        capture_output=True,
        text=True,
        check=False,
        timeout=15,
    )

    assert ended.returncode == 1
    assert secret not in ended.stderr
    found = ended.stderr.splitlines(keepends=True)
    if not as_json:
        assert [line[:1] for line in found if KLOG.fullmatch(line)] == ["E", "E", "W", "F"]
    else:
        told = [json.loads(line) for line in found]
        assert [(x["level"], x["message"].partition(":")[0], x.get("error")) for x in told] == [
            ("error", "uncaught error in a thread", "LookupError"),
            ("error", "uncaught error where none can be raised", "ValueError"),
            ("warn", "<string>", None),
            ("critical", "uncaught error", "OSError"),
        ]
