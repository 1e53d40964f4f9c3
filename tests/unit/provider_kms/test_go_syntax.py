import pytest
from hypothesis import given
from hypothesis import strategies as st

from provider_kms import go_syntax


def words(*argv: str) -> dict[str, str]:
    return go_syntax.words(
        argv,
        values={"endpoint", "kms-url", "health-port"},
        booleans={"allow", "version"},
        aliases={"host-url": "kms-url"},
    )


@pytest.mark.parametrize(
    ("argv", "found"),
    [
        (["-endpoint=/a"], {"endpoint": "/a"}),
        (["--endpoint=/a"], {"endpoint": "/a"}),
        (["-endpoint", "/a"], {"endpoint": "/a"}),
        (["--endpoint", "-x"], {"endpoint": "-x"}),
        (["-endpoint="], {"endpoint": ""}),
        (["-endpoint=a=b"], {"endpoint": "a=b"}),
        (["-endpoint=a", "-endpoint=b"], {"endpoint": "b"}),
        (["-host-url", "https://h"], {"kms-url": "https://h"}),
        (["-allow", "-health-port=1"], {"allow": "true", "health-port": "1"}),
        (["-allow=false"], {"allow": "false"}),
        (["-allow", "--"], {"allow": "true"}),
        ([], {}),
    ],
)
def test_flags_are_found(argv: list[str], found: dict[str, str]) -> None:
    assert words(*argv) == found


@pytest.mark.parametrize("argv", [["-h"], ["--help"], ["-endpoint=/a", "-help"]])
def test_help_is_wanted(argv: list[str]) -> None:
    with pytest.raises(go_syntax.HelpWanted):
        words(*argv)


@pytest.mark.parametrize(
    ("argv", "text"),
    [
        (["-nope"], "flag provided but not defined: -nope"),
        (["--nope=1"], "flag provided but not defined: -nope"),
        (["-endpoint"], "flag needs an argument: -endpoint"),
        (["-host-url"], "flag needs an argument: -host-url"),
        (["---endpoint=1"], "bad flag syntax: ---endpoint=1"),
        (["-=1"], "bad flag syntax: -=1"),
        (["-allow", "true"], "unexpected argument: true"),
        (["word"], "unexpected argument: word"),
        (["-"], "unexpected argument: -"),
        (["--", "word"], "unexpected argument: --"),
    ],
)
def test_faults_are_told(argv: list[str], text: str) -> None:
    with pytest.raises(go_syntax.SyntaxFault) as caught:
        words(*argv)
    assert str(caught.value).startswith(text)


@given(st.lists(st.text(max_size=12), max_size=6))
def test_any_command_line_is_read_or_refused(argv: list[str]) -> None:
    try:
        found = words(*argv)
    except (go_syntax.SyntaxFault, go_syntax.HelpWanted):
        return
    assert set(found) <= {"endpoint", "kms-url", "health-port", "allow", "version"}


@pytest.mark.parametrize("text", ["1", "t", "T", "true", "TRUE", "True"])
def test_true(text: str) -> None:
    assert go_syntax.boolean(text) is True


@pytest.mark.parametrize("text", ["0", "f", "F", "false", "FALSE", "False"])
def test_false(text: str) -> None:
    assert go_syntax.boolean(text) is False


@pytest.mark.parametrize("text", ["", "yes", "on", "tRUE", " true"])
def test_no_boolean(text: str) -> None:
    with pytest.raises(ValueError, match="invalid boolean"):
        go_syntax.boolean(text)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("0", 0.0),
        ("+0", 0.0),
        ("90s", 90.0),
        ("1h30m", 5400.0),
        ("1.5h", 5400.0),
        ("-2m", -120.0),
        ("+5ms", 0.005),
        ("10us", 1e-5),
        ("10µs", 1e-5),
        (".5s", 0.5),
        ("1.s", 1.0),
        ("1h1h", 7200.0),
    ],
)
def test_durations(text: str, seconds: float) -> None:
    assert go_syntax.duration(text) == pytest.approx(seconds)


@pytest.mark.parametrize("text", ["", "5", "1d", "s", "1 s", "1.2.3s", "--1s", ".s", "9999999h"])
def test_no_durations(text: str) -> None:
    with pytest.raises(ValueError, match="invalid duration"):
        go_syntax.duration(text)
