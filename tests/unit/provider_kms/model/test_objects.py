import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from provider_kms import errors
from provider_kms.model import objects, pattern

ONE = {"secretPath": "/app", "secretKey": "KEY", "fileName": "file"}


def parse(*entries: Any) -> objects.Objects:
    return objects.parse(json.dumps(list(entries)))


def test_the_three_fields() -> None:
    assert parse(ONE).entries == (objects.Entry(path="/app", file="file", key="KEY"),)


@pytest.mark.parametrize(
    ("path", "found"), [("", "/"), ("/", "/"), ("/a/", "/a"), (" /a/b ", "/a/b"), ("//", "/")]
)
def test_folders(path: str, found: str) -> None:
    assert parse(ONE | {"secretPath": path}).entries[0].path == found


def test_yaml_as_people_write_it() -> None:
    text = """
    # comment
    - secretPath: "/"
      secretKey: DB_PASSWORD
      fileName: db/password
    - {secretKey: no, fileName: 007}
    """

    assert [(e.path, e.key, e.file) for e in objects.parse(text).entries] == [
        ("/", "DB_PASSWORD", "db/password"),
        ("/", "no", "007"),
    ]


def test_all_fields_of_one_secret() -> None:
    fields = {"mode": "0440", "encoding": "base64", "jsonPath": "a.b[0]", "optional": "true"}

    assert parse(ONE | fields).entries[0] == objects.Entry(
        path="/app",
        file="file",
        key="KEY",
        mode=0o440,
        encoding="base64",
        json_steps=("a", "b", 0),
        optional=True,
    )


@pytest.mark.parametrize(("mode", "bits"), [("0400", 0o400), ("400", 0o400), ("0777", 0o777)])
def test_modes(mode: str, bits: int) -> None:
    assert parse(ONE | {"mode": mode}).entries[0].mode == bits


@pytest.mark.parametrize(
    ("fields", "entry"),
    [
        ({"keys": "*"}, objects.Entry(path="/", file="{key}", keys=pattern.Pattern("*"))),
        (
            {"keys": "*", "recursive": "true"},
            objects.Entry(path="/", file="{path}/{key}", keys=pattern.Pattern("*"), recursive=True),
        ),
        (
            {"keys": "A*", "format": "json", "fileName": "all.json", "mode": "0400"},
            objects.Entry(
                path="/", file="all.json", keys=pattern.Pattern("A*"), bundle="json", mode=0o400
            ),
        ),
    ],
)
def test_many_keys(fields: dict[str, str], entry: objects.Entry) -> None:
    assert parse(fields).entries == (entry,)


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        (ONE | {"secretKey": ""}, "secretKey"),
        (ONE | {"secretKey": "  "}, "secretKey"),
        (ONE | {"secretKey": ".."}, "secretKey"),
        (ONE | {"secretKey": ["a"]}, "secretKey"),
        (ONE | {"secretPath": "app"}, "secretPath"),
        (ONE | {"secretPath": "/a/../b"}, "secretPath"),
        (ONE | {"secretPath": {"a": "b"}}, "secretPath"),
        (ONE | {"fileName": ""}, "fileName"),
        (ONE | {"fileName": "../x"}, "fileName"),
        (ONE | {"mode": "0999"}, "mode"),
        (ONE | {"mode": "4755"}, "mode"),
        (ONE | {"mode": "7"}, "mode"),
        (ONE | {"encoding": "rot13"}, "encoding"),
        (ONE | {"jsonPath": "a..b"}, "jsonPath"),
        (ONE | {"optional": "yes"}, "optional"),
        (ONE | {"recursive": "true"}, "recursive"),
        (ONE | {"format": "json"}, "format"),
        (ONE | {"keys": "*"}, "secretKey"),
        ({"keys": "*", "jsonPath": "a"}, "jsonPath"),
        ({"keys": "/(/"}, "keys"),
        ({"keys": "*", "recursive": "1"}, "recursive"),
        ({"keys": "*", "format": "xml"}, "format"),
        ({"keys": "*", "format": "json"}, "fileName"),
        ({"keys": "*", "format": "json", "fileName": "f", "encoding": "hex"}, "encoding"),
        ({"keys": "*", "fileName": "fixed"}, "fileName"),
        ({"keys": "*", "fileName": "{key}/{name}"}, "fileName"),
        ({"keys": "*", "fileName": "../{key}"}, "fileName"),
        ({"keys": "*", "fileName": "{key}/"}, "fileName"),
    ],
)
def test_faults_are_named(fields: dict[str, Any], field: str) -> None:
    with pytest.raises(errors.InvalidRequest) as caught:
        parse(ONE | {"fileName": "first"}, fields)
    assert str(caught.value).startswith(f"secrets[2].{field}: ")


@pytest.mark.parametrize(
    "text",
    ["", "  ", "[]", "{}", "word", "~", "[word]", "[[]]", "{a: [", "- a: 1\n b", "[" * 99_999],
    ids=range(11),
)
def test_no_list_of_entries(text: str) -> None:
    with pytest.raises(errors.InvalidRequest, match=r"^secrets"):
        objects.parse(text)


def test_too_many_entries() -> None:
    with pytest.raises(errors.InvalidRequest, match="2000"):
        parse(*(ONE | {"fileName": f"f{n}"} for n in range(2001)))


@pytest.mark.parametrize(
    "second",
    [
        ONE | {"secretKey": "OTHER"},
        ONE | {"secretPath": "/"},
        ONE | {"mode": "0400"},
        ONE | {"fileName": "file/below"},
        {"keys": "*", "format": "json", "fileName": "file"},
    ],
)
def test_one_name_for_two_files(second: dict[str, Any]) -> None:
    with pytest.raises(errors.InvalidRequest, match='fileName "file" is used twice'):
        parse(ONE, second)


def test_the_same_entry_twice_is_one() -> None:
    found = parse(ONE, ONE)

    assert len(found.entries) == 1
    assert found.warnings == ("secrets has an entry twice",)


def test_unknown_fields_are_told() -> None:
    found = parse(ONE | {"secretkey": "x", "Optional": "true"})

    assert found.warnings == (
        "secrets: unknown field 'Optional'",
        "secrets: unknown field 'secretkey'",
    )


@pytest.mark.parametrize(
    ("template", "path", "name"),
    [
        ("{key}", "x", "K"),
        ("{path}/{key}", "", "K"),
        ("{path}/{key}", "x/y", "x/y/K"),
        ("a/{path}/{key}.txt", "", "a/K.txt"),
        ("a/{path}/{key}.txt", "x", "a/x/K.txt"),
        ("{key}-{path}", "x", "K-x"),
    ],
)
def test_templates(template: str, path: str, name: str) -> None:
    assert objects.expand(template, path, "K") == name


FIELDS = [
    "secretPath",
    "secretKey",
    "fileName",
    "keys",
    "recursive",
    "mode",
    "encoding",
    "jsonPath",
    "format",
    "optional",
    "other",
]
VALUES = st.one_of(
    st.text(max_size=10),
    st.sampled_from(
        ["true", "false", "/", "/a", "*", "/a+/", "0400", "hex", "json", "{key}", "..", ""]
    ),
    st.lists(st.text(max_size=3), max_size=2),
    st.none(),
    st.integers(),
)


@given(st.lists(st.dictionaries(st.sampled_from(FIELDS), VALUES, max_size=6), max_size=4))
def test_any_entries_are_read_or_refused(entries: list[dict[str, Any]]) -> None:
    try:
        found = parse(*entries)
    except errors.InvalidRequest as error:
        text = str(error)
    else:
        text = "secrets"
        assert found.entries
        assert all(bool(entry.key) != (entry.keys is not None) for entry in found.entries)
    assert text.startswith("secrets")


@pytest.mark.parametrize("keys", ["/[ab]{99}[ab]{99}[ab]{90}%d/", "/(){999}(){999}(){990}%d/"])
def test_patterns_have_a_size_together(keys: str) -> None:
    with pytest.raises(errors.InvalidRequest, match="too large together"):
        parse(*({"keys": keys % n, "format": "json", "fileName": f"file-{n}"} for n in range(2000)))


def test_many_usual_patterns_are_not_too_large() -> None:
    found = parse(
        *({"keys": f"PREFIX_{n}_*", "format": "json", "fileName": f"f-{n}"} for n in range(500))
    )

    assert len(found.entries) == 500


@pytest.mark.parametrize("count", [10, 1500])
def test_a_class_that_is_mounted_again_is_not_read_again(count: int) -> None:
    text = json.dumps([{"secretKey": f"K{n}", "fileName": f"file-{n}"} for n in range(count)])

    assert objects.parse(text) is objects.parse(text)


@given(st.text(max_size=120))
def test_any_text_is_read_or_refused(text: str) -> None:
    try:
        assert objects.parse(text).entries
    except errors.InvalidRequest as error:
        told = str(error)
    else:
        told = "secrets"
    assert told.startswith("secrets")
