import base64
import json

import pytest

from devkit.apiserver import tokens

ACCOUNT = {"metadata": {"name": "sa", "namespace": "n", "uid": "account-uid"}}
POD = {"metadata": {"name": "p", "namespace": "n", "uid": "pod-uid"}}


class Clock:
    now_s = 1_000_000.0

    def __call__(self) -> float:
        return self.now_s


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def issuer(clock: Clock) -> tokens.Issuer:
    return tokens.Issuer("https://issuer.example.com", clock)


def test_what_is_issued_is_read_again(issuer: tokens.Issuer) -> None:
    token, expires_s = issuer.issue(ACCOUNT, ["a", "b"], 700, POD, {"name": "n1"})
    assert expires_s == 1_000_700
    assert issuer.check(token) == tokens.Claims(
        "n",
        "sa",
        "account-uid",
        ("a", "b"),
        "p",
        "pod-uid",
        "n1",
        1_000_700,
        issuer.check(token).token_id,
    )


def test_the_audience_is_the_issuer_by_default(issuer: tokens.Issuer) -> None:
    token, _ = issuer.issue(ACCOUNT, [], 700)
    claims = issuer.check(token)
    assert claims.audiences == ("https://issuer.example.com",)
    assert (claims.pod, claims.node) == ("", "")


def test_every_token_is_another(issuer: tokens.Issuer) -> None:
    one, two = issuer.issue(ACCOUNT, [], 700)[0], issuer.issue(ACCOUNT, [], 700)[0]
    assert issuer.check(one).token_id != issuer.check(two).token_id


def test_a_token_has_its_time(issuer: tokens.Issuer, clock: Clock) -> None:
    token, _ = issuer.issue(ACCOUNT, [], 700)
    clock.now_s += 699
    issuer.check(token)
    clock.now_s += 1
    with pytest.raises(tokens.Rejected, match="expired"):
        issuer.check(token)
    clock.now_s -= 701
    with pytest.raises(tokens.Rejected, match="not valid yet"):
        issuer.check(token)


def forged(token: str) -> list[str]:
    head, payload, signature = token.split(".")
    claims = json.loads(base64.urlsafe_b64decode(payload + "=="))
    claims["sub"] = "system:serviceaccount:n:other"
    raw = base64.urlsafe_b64encode(json.dumps(claims).encode()).rstrip(b"=").decode()
    return [
        "nonsense",
        "a.b.c",
        f"{head}.{raw}.{signature}",
        f"{head}.{payload}.{signature[:-8]}",
        f"{head}.{payload}.",
        f"{head}.{payload}",
    ]


def test_a_forged_token_is_rejected(issuer: tokens.Issuer) -> None:
    token, _ = issuer.issue(ACCOUNT, [], 700)
    for bad in forged(token):
        with pytest.raises(tokens.Rejected, match="invalid bearer token"):
            issuer.check(bad)


def test_another_issuer_is_a_stranger(issuer: tokens.Issuer) -> None:
    token, _ = tokens.Issuer("https://issuer.example.com").issue(ACCOUNT, [], 700)
    with pytest.raises(tokens.Rejected):
        issuer.check(token)


def test_the_public_key(issuer: tokens.Issuer) -> None:
    (key,) = issuer.jwks()["keys"]
    assert (key["kty"], key["crv"], key["alg"], key["use"]) == ("EC", "P-256", "ES256", "sig")
    token, _ = issuer.issue(ACCOUNT, [], 700)
    header = json.loads(base64.urlsafe_b64decode(token.split(".")[0] + "=="))
    assert header == {"alg": "ES256", "kid": key["kid"]}
    assert "d" not in key
