import json

import pytest

from devkit.apiserver import documents, errors, http, store, tokens
from devkit.apiserver.kinds import catalog


@pytest.fixture
def found(kept: store.Store) -> documents.Documents:
    issuer = tokens.Issuer("https://issuer.example.com")
    return documents.Documents(catalog.Catalog(kept), issuer, lambda: "https://127.0.0.1:1")


def ask(found: documents.Documents, path: str, accept: str = "*/*") -> http.Response | None:
    return found.answer(http.Request("GET", path, {}, {"accept": accept}))


@pytest.mark.parametrize("path", ["/healthz", "/readyz", "/livez", "/livez/ping"])
def test_health(found: documents.Documents, path: str) -> None:
    answer = ask(found, path)
    assert answer is not None
    assert answer.body == b"ok"


def test_the_version_is_marked(found: documents.Documents) -> None:
    answer = ask(found, "/version/")
    assert answer is not None
    version = json.loads(answer.body)
    assert version["gitVersion"].endswith("-devkit")
    assert version["gitVersion"].startswith(f"v{version['major']}.{version['minor']}.")


def test_keys(found: documents.Documents) -> None:
    answer = ask(found, "/.well-known/openid-configuration")
    assert answer is not None
    provider = json.loads(answer.body)
    assert provider["issuer"] == "https://issuer.example.com"
    assert provider["jwks_uri"] == "https://127.0.0.1:1/openid/v1/jwks"
    keys = ask(found, "/openid/v1/jwks", "application/jwk-set+json")
    assert keys is not None
    assert json.loads(keys.body)["keys"]
    with pytest.raises(errors.StatusError) as caught:
        ask(found, "/openid/v1/jwks", "application/json")
    assert caught.value.code == 406


def test_others_are_asked_next(found: documents.Documents) -> None:
    for path in ("/api", "/openapi/v3"):
        assert ask(found, path) is not None
    assert ask(found, "/odd") is None
