import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from secrets_store.model import duration


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("0", 0.0),
        ("-0", 0.0),
        ("+0", 0.0),
        ("0s", 0.0),
        ("5s", 5.0),
        ("+5s", 5.0),
        ("-2m", -120.0),
        ("120s", 120.0),
        ("1h30m", 5400.0),
        ("1h0m0.5s", 3600.5),
        ("1.5h", 5400.0),
        ("1.s", 1.0),
        (".5s", 0.5),
        ("5s.5s", 5.5),
        ("3m3m", 360.0),
        ("30s1h", 3630.0),
        ("500ms", 0.5),
        ("10us", 1e-5),
        ("10µs", 1e-5),
        ("10μs", 1e-5),
        ("7ns", 7e-9),
        ("8784h", 366 * 86400.0),
        ("2562047h47m16.854775807s", 9223372036.854775807),
        ("0000001s", 1.0),
        ("0.100000000000000000000h", 360.0),
    ],
)
def test_go_durations(text: str, seconds: float) -> None:
    assert duration.parse(text) == pytest.approx(seconds)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "-",
        "+",
        ".",
        "s",
        ".s",
        "-.s",
        "3",
        "00",
        "-5",
        "3.5",
        "1d",
        "1w",
        "5 s",
        " 5s",
        "5s ",
        "5s\n",
        "1h 30m",
        "1m-30s",
        "-+5s",
        "--5s",
        "1e3s",
        "1_000s",
        "0x10s",
        "1..5s",
        "5S",
        "5sm",
        "1h30",
        "٥s",
        "infs",
        "nans",
        "never",
        pytest.param("2562048h", id="over 2^63 ns"),
        pytest.param("9223372037s", id="over 2^63 ns in seconds"),
        pytest.param("-9223372037s", id="under -2^63 ns"),
        pytest.param("9" * 400 + "s", id="over all floats"),
    ],
)
def test_what_go_refuses(text: str) -> None:
    with pytest.raises(ValueError, match="invalid duration"):
        duration.parse(text)


def test_the_error_quotes_no_more_than_a_little() -> None:
    with pytest.raises(ValueError, match="invalid duration") as caught:
        duration.parse("x" * 10_000)

    assert len(str(caught.value)) < 100


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.0, "0s"),
        (0.001, "1ms"),
        (0.5, "500ms"),
        (1.0, "1s"),
        (1.5, "1.5s"),
        (59.0, "59s"),
        (60.0, "1m0s"),
        (120.0, "2m0s"),
        (3600.0, "1h0m0s"),
        (5400.5, "1h30m0.5s"),
    ],
)
def test_rendered_as_go_does(seconds: float, text: str) -> None:
    assert duration.render(seconds) == text


@given(st.integers(0, 10**9))
def test_what_is_rendered_reads_back(milliseconds: int) -> None:
    read = duration.parse(duration.render(milliseconds / 1000))

    assert math.isclose(read, milliseconds / 1000)


@given(st.text(max_size=30))
def test_any_text_is_a_finite_number_of_seconds_or_refused(text: str) -> None:
    try:
        seconds = duration.parse(text)
    except ValueError:
        return
    assert math.isfinite(seconds)
