import base64
import json
import secrets

import pytest

from devkit.kms import jwt

KEY = secrets.token_bytes(32)


def part(document):
    return base64.urlsafe_b64encode(json.dumps(document).encode()).rstrip(b"=").decode()


def test_round_trip():
    claims = {"sub": "ü", "exp": 1, "aud": ["a", "b"], "n": {"x": None}}
    assert jwt.decode(jwt.encode(claims, KEY), KEY) == claims


def test_is_what_rfc_7515_says():
    header, payload, signature = jwt.encode({"a": 1}, KEY).split(".")
    assert json.loads(base64.urlsafe_b64decode(header + "==")) == {"alg": "HS256", "typ": "JWT"}
    assert json.loads(base64.urlsafe_b64decode(payload + "==")) == {"a": 1}
    assert len(base64.urlsafe_b64decode(signature + "=")) == 32


def test_another_key_is_refused():
    with pytest.raises(jwt.Malformed):
        jwt.decode(jwt.encode({}, KEY), secrets.token_bytes(32))


def test_changed_claims_are_refused():
    header, _, signature = jwt.encode({"sub": "a"}, KEY).split(".")
    with pytest.raises(jwt.Malformed):
        jwt.decode(f"{header}.{part({'sub': 'b'})}.{signature}", KEY)


@pytest.mark.parametrize(
    "token",
    [
        "",
        "a",
        "a.b",
        "a.b.c",
        "a.b.c.d",
        "é.b.c",
        f"{part({'alg': 'none'})}.{part({})}.",
        f"{part([])}.x.y",
    ],
)
def test_what_is_no_token_is_refused_without_repeating_it(token):
    with pytest.raises(jwt.Malformed) as caught:
        jwt.decode(token, KEY)
    assert token not in str(caught.value) or len(token) < 2
