import base64
import json
import secrets

import pytest
from hypothesis import given
from hypothesis import strategies as st

from provider_kms import errors
from provider_kms.model import token


def jwt(claims: object) -> str:
    body = base64.urlsafe_b64encode(json.dumps(claims).encode()).rstrip(b"=").decode()
    return f"eyJhbGciOiJIUzI1NiJ9.{body}.c2ln"


def test_tokens_by_audience() -> None:
    found = token.parse_all(
        '{"kms": {"token": "a", "expirationTimestamp": ""}, "": {"token": "b"}}'
    )

    assert {audience: one.open() for audience, one in found.items()} == {"kms": "a", "": "b"}


@pytest.mark.parametrize("text", ["", "{}", '{"kms": {}}', '{"kms": {"token": ""}}'])
def test_no_tokens(text: str) -> None:
    assert token.parse_all(text) == {}


@pytest.mark.parametrize(
    "text",
    [
        "marker",
        "[]",
        "1",
        "null",
        '{"kms": "marker"}',
        '{"kms": {"token": 1}}',
        '{"kms": {"token": "two words"}}',
        '{"kms": {"token": "line\\nmarker"}}',
        '{"kms": {"token": "\\u00e9"}}',
        "[" * 100_000,
        '{"kms": null}',
    ],
    ids=range(11),
)
def test_malformed(text: str) -> None:
    with pytest.raises(errors.InvalidRequest) as caught:
        token.parse_all(text)
    assert "marker" not in str(caught.value)
    assert token.ATTRIBUTE in str(caught.value)


def test_a_token_is_not_seen() -> None:
    marker = secrets.token_hex(8)

    found = token.parse_all(json.dumps({"kms": {"token": marker}}))

    assert marker not in repr(found)


def test_subject() -> None:
    name = "system:serviceaccount:shop:front"

    assert token.subject(jwt({"sub": name})) == name


@pytest.mark.parametrize(
    "text", ["opaque", "a.b", "a.b.c", "a.!!.c", jwt([]), jwt({}), jwt({"sub": 1}), "..", "a.e30.c"]
)
def test_no_subject(text: str) -> None:
    assert token.subject(text) is None


@given(st.text(max_size=40))
def test_any_text_has_a_subject_or_none(text: str) -> None:
    assert token.subject(text) is None or "." in text
