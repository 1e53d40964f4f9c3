import time
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from provider_kms.model import document


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("[a, b]", ["a", "b"]),
        (
            "{a: 0123, b: yes, c: 1e3, d: 2026-01-01}",
            {"a": "0123", "b": "yes", "c": "1e3", "d": "2026-01-01"},
        ),
        (
            "{a: ~, b: null, c: , d: NULL, e: '~', f: \"null\", g: nUll}",
            {"a": "", "b": "", "c": "", "d": "", "e": "~", "f": "null", "g": "nUll"},
        ),
        ("{a: 1, a: 2}", {"a": "2"}),
        ("", ""),
        ("# nothing", ""),
        ("- &x {a: 1}\n- *x", [{"a": "1"}, {"a": "1"}]),
        ("- &x {a: 1, b: 2}\n- {<<: *x, b: 3}", [{"a": "1", "b": "2"}, {"b": "3", "a": "1"}]),
        (
            "- &x {a: 1}\n- &y {a: 2, b: 2}\n- {<<: [*x, *y]}",
            [{"a": "1"}, {"a": "2", "b": "2"}, {"a": "1", "b": "2"}],
        ),
        ("{'<<': x}", {"<<": "x"}),
        ("a: |\n  two\n  lines\n", {"a": "two\nlines\n"}),
        ('[{"a": "\\u00e9"}]', [{"a": "é"}]),
    ],
)
def test_scalars_keep_their_text(text: str, found: Any) -> None:
    assert document.load(text) == found


@pytest.mark.parametrize(
    "text",
    [
        "{a: 1",
        "- a\nb",
        "--- a\n--- b",
        "{[a]: b}",
        "{<<: x}",
        "*x",
        "\x00",
        "[" * 50 + "]" * 50,
        "[" * 100_000,
        "x" * (document.LARGEST_CHARACTERS + 1),
    ],
    ids=range(10),
)
def test_malformed(text: str) -> None:
    with pytest.raises(document.Malformed):
        document.load(text)


def test_a_billion_of_nothing() -> None:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 10)]

    with pytest.raises(document.Malformed):
        document.load("\n".join(lines))


def test_many_merges_cost_no_more_than_many_words() -> None:
    text = f"<<: [{', '.join(f'{{k{number}: v}}' for number in range(30_000))}]"
    began = time.process_time()

    found = document.load(text)

    assert len(found) == 30_000
    assert time.process_time() - began < 4


@given(st.text(max_size=80))
def test_any_text_is_read_or_refused(text: str) -> None:
    try:
        found = document.load(text)
    except document.Malformed:
        return
    assert isinstance(found, str | list | dict)


@given(
    st.recursive(
        st.text(max_size=8),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner),
        max_leaves=8,
    )
)
def test_what_yaml_writes_comes_back(node: Any) -> None:
    text = yaml.safe_dump(node, default_style='"', allow_unicode=False)

    assert document.load(text) == node
