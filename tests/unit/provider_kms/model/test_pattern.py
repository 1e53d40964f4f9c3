import re
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from provider_kms.model import pattern


@pytest.mark.parametrize(
    ("text", "name", "fits"),
    [
        ("*", "", True),
        ("*", "ANY\nTHING", True),
        ("DB_*", "DB_URL", True),
        ("DB_*", "DB_", True),
        ("DB_*", "XDB_URL", False),
        ("*_KEY", "API_KEY", True),
        ("*_KEY", "API_KEYS", False),
        ("A*B*C", "AxxBxxBC", True),
        ("A*B*C", "AxxC", False),
        ("a.c", "abc", False),
        ("a.c", "a.c", True),
        ("EXACT", "EXACT", True),
        ("/", "/", True),
    ],
)
def test_globs(text: str, name: str, fits: bool) -> None:
    assert pattern.Pattern(text).matches(name) is fits


EXPRESSIONS = [
    "",
    "abc",
    "a.c",
    "a*",
    "a+",
    "a?",
    "a|b",
    "a|",
    "(a|b)c",
    "(?:ab)*",
    "(a*)*",
    "(a+)+b",
    "a{2}",
    "a{2,}",
    "a{1,3}",
    "a{0}",
    "a{0,2}b",
    "[abc]",
    "[a-c]+",
    "[^a-c]",
    "[]a]",
    "[^]a]",
    "[a-]",
    "[a\\-c]",
    "\\d+",
    "\\w+",
    "\\s",
    "[\\d_]+",
    "[\\w-]*",
    "\\.",
    "\\\\",
    "\\/",
    "(a|b|)(c|)",
    "^abc$",
    "abc$",
    "(ab|a)(bc|c)",
    "x(a|(b|c)d)*y",
    "[.]",
    "[*+?]",
    "(a{1,2}){2}",
    "()*",
    "[\\.\\]]",
    "[ -~]",
    "a\\$",
]
NAMES = st.text(alphabet="abcdxy019_-.]\\*+?$/ \n", max_size=8)


@pytest.mark.parametrize("text", EXPRESSIONS)
@settings(max_examples=60)
@given(name=NAMES)
def test_agrees_with_the_standard_library(text: str, name: str) -> None:
    # Anchors stand at the ends only, where a full match has them anyway.
    expected = re.fullmatch(
        text.removeprefix("^").removesuffix("$") if text[-2:] != "\\$" else text, name
    )

    assert pattern.Pattern(f"/{text}/").matches(name) is (expected is not None)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "x" * 257,
        "/(/",
        "/)/",
        "/a)/",
        "/[/",
        "/[a/",
        "/[z-a]/",
        "/[[:alpha:]]/",
        "/*/",
        "/a**/",
        "/a{/",
        "/a{x}/",
        "/a{2,1}/",
        "/a{1000}/",
        "/{2}/",
        "/a{,2}/",
        "/\\b/",
        "/\\1/",
        "/\\/",
        "/a$b/",
        "/a^/",
        "/(?=a)/",
        "/(?P<n>a)/",
        "/a+?/",
        "/a{300}/",
        "/((a{99}){99}){99}/",
        "/(((){999}){999}){999}/",
        "/" + "(" * 30 + ")" * 30 + "/",
    ],
)
def test_no_patterns(text: str) -> None:
    with pytest.raises(ValueError) as caught:  # noqa: PT011
        pattern.Pattern(text)
    assert str(caught.value)


@given(st.text(alphabet="ab*+?(){}[]|.^$\\-,/0129", max_size=20), NAMES)
def test_any_text_is_read_or_refused(text: str, name: str) -> None:
    try:
        made = pattern.Pattern(text)
    except ValueError:
        return
    assert made.matches(name) in (True, False)


@pytest.mark.parametrize(
    "text", ["/(a+)+b/", "/(a|a)*b/", "/(a|aa)+$/", "/a?a?a?a?a?a?a?a?a?a?a{9}b/"]
)
def test_no_pattern_explodes(text: str) -> None:
    made = pattern.Pattern(text)
    began = time.process_time()

    made.matches("a" * 255 + "c")

    assert time.process_time() - began < 1.0


def test_equal_by_text() -> None:
    assert pattern.Pattern("A*") == pattern.Pattern("A*")
    assert pattern.Pattern("A*") != pattern.Pattern("B*")
    assert len({pattern.Pattern("A*"), pattern.Pattern("A*")}) == 1
    assert repr(pattern.Pattern("A*")) == "Pattern('A*')"
