import dataclasses
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from provider_kms import errors, sealed
from provider_kms.model import files, secret
from provider_kms.model.request import Request
from tests.unit.provider_kms.model.test_request import parse

ROOT = secret.Folder("P", "prod", "/")
APP = secret.Folder("P", "prod", "/app")
SALT = b"salt"


def request(*entries: dict[str, Any], **more: Any) -> Request:
    return parse(secrets=json.dumps(list(entries)), **more)


def one(key: str, value: str | bytes | None, path: str = "/", version: int = 1) -> secret.Secret:
    contents = value.encode() if isinstance(value, str) else value
    hidden = None if contents is None else sealed.Sealed(contents)
    return secret.Secret(f"id-{key}", key, path, version, hidden)


def merged(*secrets: secret.Secret) -> files.Merged:
    return {("", each.key): each for each in secrets}


class TestNeeds:
    def test_are_grouped_by_folder(self) -> None:
        wanted = request(
            {"secretKey": "A", "fileName": "a"},
            {"secretPath": "/app", "secretKey": "B", "fileName": "b", "optional": "true"},
            {"secretKey": "A", "fileName": "a2", "optional": "true"},
            {"secretKey": "C", "fileName": "c", "optional": "true"},
        )

        assert files.needs(wanted) == {
            ROOT: files.Needs({"A": False, "C": True}, everything=False, optional=False),
            APP: files.Needs({"B": True}, everything=False, optional=True),
        }
        assert list(files.needs(wanted)) == [ROOT, APP]

    def test_of_patterns(self) -> None:
        wanted = request({"keys": "*"}, {"keys": "*", "recursive": "true"})

        assert files.needs(wanted) == {
            ROOT: files.Needs({}, everything=True, optional=False),
            dataclasses.replace(ROOT, recursive=True): files.Needs(
                {}, everything=True, optional=False
            ),
        }


class TestBuild:
    def test_in_the_order_of_the_entries(self) -> None:
        wanted = request(
            {"secretPath": "/app", "secretKey": "B", "fileName": "z", "mode": "0400"},
            {"secretKey": "A", "fileName": "a"},
            {"secretKey": "A", "fileName": "b"},
        )
        found = {ROOT: merged(one("A", "1")), APP: merged(one("B", "2\n", "/other", 7))}

        volume = files.build(wanted, found, SALT)

        assert volume.files == (
            files.File("z", 0o400, b"2\n"),
            files.File("a", 0o644, b"1"),
            files.File("b", 0o644, b"1"),
        )
        assert volume.versions == (
            ("z", "id-B-/other-B-7"),
            ("a", "id-A-/-A-1"),
            ("b", "id-A-/-A-1"),
        )

    def test_an_optional_one_that_is_missing(self) -> None:
        wanted = request({"secretKey": "A", "fileName": "a", "optional": "true"})

        assert files.build(wanted, {ROOT: {}}, SALT) == files.Volume((), (("a", "absent"),))

    def test_a_hidden_value(self) -> None:
        wanted = request({"secretKey": "A", "fileName": "a"})

        with pytest.raises(errors.ValueHidden, match='key "A"'):
            files.build(wanted, {ROOT: merged(one("A", None))}, SALT)

    def test_a_hidden_value_among_many(self) -> None:
        wanted = request({"keys": "*"})

        with pytest.raises(errors.ValueHidden, match='key "B"'):
            files.build(wanted, {ROOT: merged(one("A", "x"), one("B", None))}, SALT)

    @pytest.mark.parametrize("key", ["..", "..x", "a/../b", "", "x" * 256])
    def test_a_key_that_makes_no_file_name(self, key: str) -> None:
        wanted = request({"keys": "*"})

        with pytest.raises(errors.FileRejected):
            files.build(wanted, {ROOT: merged(one(key, "x"))}, SALT)

    def test_a_key_that_meets_another_entrys_file(self) -> None:
        wanted = request({"secretKey": "A", "fileName": "B"}, {"keys": "B"})

        with pytest.raises(errors.FileRejected, match='file "B"'):
            files.build(wanted, {ROOT: merged(one("A", "x"), one("B", "y"))}, SALT)

    def test_an_optional_bundle_without_secrets(self) -> None:
        wanted = request({"keys": "X*", "format": "json", "fileName": "f", "optional": "true"})

        assert files.build(wanted, {ROOT: merged(one("A", "x"))}, SALT) == files.Volume(
            (), (("f", "absent"),)
        )

    def test_a_dotenv_name_that_is_none(self) -> None:
        wanted = request({"keys": "*", "format": "dotenv", "fileName": ".env"})

        with pytest.raises(errors.ValueUnusable, match='key "a-b"'):
            files.build(wanted, {ROOT: merged(one("a-b", "x"))}, SALT)

    def test_a_bundle_with_a_key_in_two_folders(self) -> None:
        wanted = request({"keys": "*", "recursive": "true", "format": "json", "fileName": "f"})
        folder = dataclasses.replace(ROOT, recursive=True)
        found = {("", "A"): one("A", "1"), ("x", "A"): one("A", "2", "/x")}

        with pytest.raises(errors.FileRejected, match='key "A" is in two folders'):
            files.build(wanted, {folder: found}, SALT)


@pytest.mark.parametrize(
    ("encoding", "value", "contents"),
    [
        ("base64", "AAEC", b"\0\1\2"),
        ("base64", "AA\nEC\n", b"\0\1\2"),
        ("base64", "", b""),
        ("hex", "00ff", b"\0\xff"),
        ("hex", "00 FF\n", b"\0\xff"),
        ("utf-8", "é", "é".encode()),
    ],
)
def test_decoding(encoding: str, value: str, contents: bytes) -> None:
    wanted = request({"secretKey": "A", "fileName": "a", "encoding": encoding})

    volume = files.build(wanted, {ROOT: merged(one("A", value))}, SALT)

    assert volume.files[0].contents == contents


@pytest.mark.parametrize(
    ("encoding", "value"),
    [
        ("base64", "A"),
        ("base64", "A*EC"),
        ("base64", "é"),
        ("hex", "0"),
        ("hex", "zz"),
        ("hex", "é"),
    ],
)
def test_no_decoding(encoding: str, value: str) -> None:
    wanted = request({"secretKey": "A", "fileName": "a", "encoding": encoding})

    with pytest.raises(errors.ValueUnusable, match=f"the value is not {encoding}") as caught:
        files.build(wanted, {ROOT: merged(one("A", value))}, SALT)
    assert caught.value.__cause__ is None


@given(
    st.dictionaries(st.from_regex(r"[A-Z_][A-Z0-9_]{0,5}", fullmatch=True), st.text(), min_size=1)
)
def test_bundles_hold_what_went_in(values: dict[str, str]) -> None:
    values = {key: value.replace("\0", "") for key, value in values.items()}
    found = {ROOT: merged(*(one(key, value) for key, value in values.items()))}
    env = request({"keys": "*", "format": "dotenv", "fileName": "f"})
    as_json = request({"keys": "*", "format": "json", "fileName": "f"})

    lines = files.build(env, found, SALT).files[0].contents.decode()

    assert json.loads(files.build(as_json, found, SALT).files[0].contents) == values
    assert _read_dotenv(lines) == values


def _read_dotenv(text: str) -> dict[str, str]:
    """Read what dotenv readers agree on: single quotes literally, double ones with escapes."""
    found = {}
    escapes = {"n": "\n", "r": "\r"}
    while text:
        key, _, text = text.partition("=")
        quote, text = text[0], text[1:]
        value = ""
        while text[0] != quote:
            if quote == '"' and text[0] == "\\":
                value += escapes.get(text[1], text[1])
                text = text[2:]
            else:
                value += text[0]
                text = text[1:]
        assert text[1] == "\n"
        found[key], text = value, text[2:]
    return found


def test_expanded_values_mark_their_version() -> None:
    wanted = request({"secretKey": "A", "fileName": "a"}, expandReferences="true")
    folder = dataclasses.replace(ROOT, expand=True)

    def version(value: str, salt: bytes) -> str:
        return files.build(wanted, {folder: merged(one("A", value))}, salt).versions[0][1]

    assert version("x", SALT) == version("x", SALT)
    assert version("x", SALT) != version("y", SALT)
    assert version("x", SALT) != version("x", b"pepper")
    assert version("x", SALT).startswith("id-A-/-A-1-")


def test_closed_and_offline() -> None:
    wanted = request(
        {"secretKey": "A", "fileName": "a"}, {"secretKey": "A", "fileName": "b", "mode": "0400"}
    )

    closed = files.closed(wanted)

    assert closed.files == (files.File("a", 0o644, b""), files.File("b", 0o400, b""))
    assert closed.versions == (("a", "read-window-closed"), ("b", "read-window-closed"))
    assert files.Volume((), (("a", "v"),)).offline().versions == (("a", "v-offline"),)
    assert closed.size_bytes() > 0
    assert "hush" not in repr(files.File("a", 0, b"hush"))
