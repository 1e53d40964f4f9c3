import pytest
from hypothesis import given
from hypothesis import strategies as st

from secrets_store import goflags

FLAGS = {
    flag.name: flag
    for flag in (
        goflags.Flag("endpoint", "string", "unix://tmp/csi.sock", "where to listen"),
        goflags.Flag("nodeid", "string", "", "name of the node"),
        goflags.Flag("verbose", "bool", False, "say more"),
        goflags.Flag("quiet", "bool", True, "say less"),
        goflags.Flag("port", "int", 6065, "a port"),
        goflags.Flag("zero", "int", 0, "nothing"),
        goflags.Flag("interval", "duration", 120.0, "time between two checks"),
        goflags.Flag("pause", "duration", 0.0, "time of rest"),
    )
}


@pytest.mark.parametrize(
    ("arguments", "values"),
    [
        ([], {}),
        (["-endpoint=/a"], {"endpoint": "/a"}),
        (["--endpoint=/a"], {"endpoint": "/a"}),
        (["-endpoint", "/a"], {"endpoint": "/a"}),
        (["--endpoint", "/a"], {"endpoint": "/a"}),
        (["-endpoint="], {"endpoint": ""}),
        (["-endpoint", ""], {"endpoint": ""}),
        (["-endpoint=a=b=c"], {"endpoint": "a=b=c"}),
        (["-endpoint=two words\n"], {"endpoint": "two words\n"}),
        pytest.param(["-endpoint", "-x"], {"endpoint": "-x"}, id="a value with a dash"),
        pytest.param(["-endpoint", "--"], {"endpoint": "--"}, id="a value of dashes"),
        pytest.param(["-port", "-5"], {"port": -5}, id="a negative value"),
        pytest.param(["-port=1", "-port=2"], {"port": 2}, id="the last of two"),
        (["-verbose"], {"verbose": True}),
        (["--verbose", "-port=1"], {"verbose": True, "port": 1}),
        (["-quiet=false"], {"quiet": False}),
        (["-interval=1h30m"], {"interval": 5400.0}),
        (["-interval", "500ms"], {"interval": 0.5}),
    ],
)
def test_both_spellings(arguments: list[str], values: dict[str, goflags.Value]) -> None:
    assert goflags.parse(arguments, FLAGS) == values


@pytest.mark.parametrize(
    "rest",
    [
        ["word", "-port=1"],
        ["true", "-port=1"],
        ["false"],
        ["-", "-port=1"],
        ["", "-port=1"],
        ["--", "-port=1"],
        ["--", "-nope"],
        ["word", "-nope", "---", "-h"],
    ],
)
def test_the_first_word_that_is_no_flag_ends_the_parsing(rest: list[str]) -> None:
    assert goflags.parse(["-verbose", *rest], FLAGS) == {"verbose": True}


@pytest.mark.parametrize("text", ["1", "t", "T", "true", "TRUE", "True"])
def test_true(text: str) -> None:
    assert goflags.parse([f"-verbose={text}"], FLAGS) == {"verbose": True}


@pytest.mark.parametrize("text", ["0", "f", "F", "false", "FALSE", "False"])
def test_false(text: str) -> None:
    assert goflags.parse([f"-quiet={text}"], FLAGS) == {"quiet": False}


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("0", 0),
        ("-0", 0),
        ("+7", 7),
        ("4194304", 4194304),
        ("0x10", 16),
        ("0X1f", 31),
        ("-0x1F", -31),
        ("017", 15),
        ("-017", -15),
        ("00", 0),
        ("0o17", 15),
        ("0O17", 15),
        ("0b101", 5),
        ("0B101", 5),
        ("1_000", 1000),
        ("0x_ff", 255),
        ("0_17", 15),
        ("9223372036854775807", 2**63 - 1),
        ("-9223372036854775808", -(2**63)),
    ],
)
def test_integers(text: str, number: int) -> None:
    assert goflags.parse([f"-port={text}"], FLAGS) == {"port": number}


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["-nope"], "flag provided but not defined: -nope"),
        (["--nope=1"], "flag provided but not defined: -nope"),
        (["-Verbose"], "flag provided but not defined: -Verbose"),
        pytest.param(["-verb"], "flag provided but not defined: -verb", id="an abbreviation"),
        (["-endpoint"], "flag needs an argument: -endpoint"),
        (["-verbose", "--port"], "flag needs an argument: -port"),
        (["---port=1"], "bad flag syntax: ---port=1"),
        (["---"], "bad flag syntax: ---"),
        (["-=1"], "bad flag syntax: -=1"),
        (["--=1"], "bad flag syntax: --=1"),
        (["-verbose="], 'invalid boolean value "" for -verbose: parse error'),
        (["-verbose=yes"], 'invalid boolean value "yes" for -verbose: parse error'),
        (["-verbose=tRUE"], 'invalid boolean value "tRUE" for -verbose: parse error'),
        (["-interval=120"], 'invalid value "120" for flag -interval: parse error'),
        (["-interval=2 m"], 'invalid value "2 m" for flag -interval: parse error'),
        *(
            ([f"-port={text}"], f'invalid value "{text}" for flag -port: parse error')
            for text in (
                "",
                "x",
                "-",
                "+-1",
                "--1",
                "1.5",
                "1e3",
                "08",
                "0x",
                "0xg",
                "0b2",
                "_1",
                "1_",
                "1__0",
                " 1",
                "1 ",
                "٥",
                "−5",
                "9" * 5000,
            )
        ),
        (["-port=1\n"], r'invalid value "1\n" for flag -port: parse error'),
        (['-port="1"'], r'invalid value "\"1\"" for flag -port: parse error'),
        *(
            ([f"-port={text}"], f'invalid value "{text}" for flag -port: value out of range')
            for text in ("9223372036854775808", "-9223372036854775809", "0x10000000000000000")
        ),
    ],
)
def test_faults_are_told_in_go_s_words(arguments: list[str], told: str) -> None:
    with pytest.raises(goflags.UsageError) as caught:
        goflags.parse(arguments, FLAGS)

    assert str(caught.value) == told


@pytest.mark.parametrize(
    "arguments", [["-h"], ["--h"], ["-help"], ["--help"], ["-help=x"], ["-port=1", "-h", "-nope"]]
)
def test_help_is_wanted(arguments: list[str]) -> None:
    with pytest.raises(goflags.HelpWanted):
        goflags.parse(arguments, FLAGS)


def test_the_first_fault_counts() -> None:
    with pytest.raises(goflags.UsageError):
        goflags.parse(["-port=x", "-h"], FLAGS)


@pytest.mark.parametrize("name", ["h", "help"])
def test_a_flag_of_that_name_is_no_wish_for_help(name: str) -> None:
    flags = {name: goflags.Flag(name, "string", "", "")}

    assert goflags.parse([f"-{name}=x"], flags) == {name: "x"}


WORDS = st.sampled_from(["-port", "--verbose", "-interval=", "-", "--", "7", "2m", "true", "-x"])


@given(st.lists(WORDS | st.text(max_size=12), max_size=6))
def test_any_command_line_is_read_or_refused(arguments: list[str]) -> None:
    try:
        values = goflags.parse(arguments, FLAGS)
    except (goflags.UsageError, goflags.HelpWanted):
        return
    assert values.keys() <= FLAGS.keys()
    assert all(type(value) is type(FLAGS[name].default) for name, value in values.items())


def test_the_usage_names_every_flag_and_default() -> None:
    assert goflags.usage("driver", FLAGS) == (
        "Usage of driver:\n"
        "  -endpoint string\n"
        '    \twhere to listen (default "unix://tmp/csi.sock")\n'
        "  -interval duration\n"
        "    \ttime between two checks (default 2m0s)\n"
        "  -nodeid string\n"
        "    \tname of the node\n"
        "  -pause duration\n"
        "    \ttime of rest\n"
        "  -port int\n"
        "    \ta port (default 6065)\n"
        "  -quiet\n"
        "    \tsay less (default true)\n"
        "  -verbose\n"
        "    \tsay more\n"
        "  -zero int\n"
        "    \tnothing\n"
    )
