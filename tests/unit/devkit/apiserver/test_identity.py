import secrets

import pytest

from devkit.apiserver import calls, http, identity, store, tokens

ISSUER = "https://issuer.example.com"


@pytest.fixture
def issuer() -> tokens.Issuer:
    return tokens.Issuer(ISSUER)


@pytest.fixture
def authenticator(issuer: tokens.Issuer, kept: store.Store) -> identity.Authenticator:
    return identity.Authenticator(issuer, kept)


@pytest.fixture
def account(kept: store.Store) -> store.Entry:
    meta = {"name": "sa", "namespace": "n", "uid": "account-uid"}
    return kept.put("serviceaccounts", {"metadata": meta})


def asking(token: str = "", **headers: str) -> http.Request:
    known = {name.replace("_", "-"): value for name, value in headers.items()}
    if token:
        known["authorization"] = f"Bearer {token}"
    return http.Request("GET", "/", {}, known)


def test_nobody(authenticator: identity.Authenticator) -> None:
    assert authenticator.authenticate(asking()) is identity.ANONYMOUS
    assert authenticator.authenticate(asking(authorization="Basic x")) is identity.ANONYMOUS


def test_a_known_user(authenticator: identity.Authenticator) -> None:
    user, token = calls.User("jane", groups=("team",)), secrets.token_hex(8)
    authenticator.add(token, user)
    assert authenticator.authenticate(asking(token)) is user
    assert authenticator.authenticate(asking(token + "x")) is None
    assert authenticator.review(token, ("any",)) == (user, ("any",))


def test_a_service_account(
    authenticator: identity.Authenticator, issuer: tokens.Issuer, account: store.Entry
) -> None:
    token, _ = issuer.issue(account.obj, [], 700)
    user = authenticator.authenticate(asking(token))
    assert user is not None
    assert (user.name, user.uid) == ("system:serviceaccount:n:sa", "account-uid")
    assert user.groups == (
        "system:serviceaccounts",
        "system:serviceaccounts:n",
        "system:authenticated",
    )


def test_audiences_must_have_something_in_common(
    authenticator: identity.Authenticator, issuer: tokens.Issuer, account: store.Entry
) -> None:
    token, _ = issuer.issue(account.obj, ["a", "b"], 700)
    assert authenticator.authenticate(asking(token)) is None
    assert authenticator.review(token, ("b", "c"))[1] == ("b",)
    with pytest.raises(tokens.Rejected, match="audiences"):
        authenticator.review(token, ("c",))


def test_a_token_ends_with_what_it_is_bound_to(
    authenticator: identity.Authenticator,
    issuer: tokens.Issuer,
    kept: store.Store,
    account: store.Entry,
) -> None:
    pod = kept.put("pods", {"metadata": {"name": "p", "namespace": "n", "uid": "pod-uid"}})
    token, _ = issuer.issue(account.obj, [], 700, pod.obj, {"name": "n1"})
    user = authenticator.authenticate(asking(token))
    assert user is not None
    assert user.extra["authentication.kubernetes.io/pod-name"] == ["p"]
    assert user.extra["authentication.kubernetes.io/node-name"] == ["n1"]
    kept.remove("pods", "n", "p")
    kept.put("pods", {"metadata": {"name": "p", "namespace": "n", "uid": "another"}})
    assert authenticator.authenticate(asking(token)) is None


@pytest.mark.parametrize(
    ("headers", "name", "groups"),
    [
        ({"impersonate_user": "joe"}, "joe", ("system:authenticated",)),
        (
            {"impersonate_user": "joe", "impersonate_group": "a, b"},
            "joe",
            ("a", "b", "system:authenticated"),
        ),
        ({"impersonate_user": "system:anonymous"}, "system:anonymous", ()),
        (
            {"impersonate_user": "system:serviceaccount:n:sa"},
            "system:serviceaccount:n:sa",
            ("system:serviceaccounts", "system:serviceaccounts:n", "system:authenticated"),
        ),
    ],
)
def test_administrators_may_act_as_others(
    authenticator: identity.Authenticator,
    headers: dict[str, str],
    name: str,
    groups: tuple[str, ...],
) -> None:
    admin, other = secrets.token_hex(8), secrets.token_hex(8)
    authenticator.add(admin, calls.ADMIN)
    authenticator.add(other, calls.User("jane"))
    user = authenticator.authenticate(asking(admin, **headers))
    assert user is not None
    assert (user.name, user.groups) == (name, groups)
    assert authenticator.authenticate(asking(other, **headers)) == calls.User("jane")
