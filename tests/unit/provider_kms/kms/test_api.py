import json
import urllib.parse
from collections.abc import Iterable
from typing import Any

import pytest

from provider_kms import backend, budget, errors, sealed
from provider_kms.http1 import client
from provider_kms.kms import api
from provider_kms.model import site
from provider_kms.model.secret import Folder
from tests.unit.provider_kms import store

FOLDER = Folder("P", "prod", "/app")
SECRET = {
    "id": "s1",
    "secretKey": "KEY",
    "secretValue": "v",
    "secretPath": "/app",
    "version": 1,
}
LIMITS = budget.Budget(9)


class Calls:
    """Answers every call with one response and keeps what was asked."""

    def __init__(self, status: int = 200, body: Any = None, **headers: str) -> None:
        self.response = client.Response(status, headers, json.dumps(body).encode())
        self.requests: list[client.Request] = []
        self.routes: list[str] = []
        self.hidden: list[str] = []

    async def __call__(
        self,
        route: str,
        account: backend.Account,
        request: client.Request,
        limits: budget.Budget,
        hide: Iterable[str],
    ) -> client.Response:
        self.routes.append(route)
        self.requests.append(request)
        self.hidden += hide
        return self.response


def target(calls: Calls) -> tuple[str, dict[str, str]]:
    path, _, query = calls.requests[0].target.partition("?")
    return path, dict(urllib.parse.parse_qsl(query))


def session(**changes: Any) -> backend.Session:
    return backend.Session(store.account(**changes), sealed.Sealed("T1"), 300.0)


def made(calls: Calls) -> api.Api:
    return api.Api(calls)  # type: ignore[arg-type]


async def test_a_login_sends_identity_and_token_and_no_bearer() -> None:
    calls = Calls(body={"accessToken": "T1", "expiresIn": 300})

    found = await made(calls).login(store.account(), sealed.Sealed("J"), LIMITS)

    request = calls.requests[0]
    assert (request.method, request.target) == ("POST", "/api/v1/auth/kubernetes-auth/login")
    assert json.loads(request.body) == {"identityId": "I", "jwt": "J"}
    assert "Authorization" not in request.headers
    assert (found.token.open(), found.lifetime_s) == ("T1", 300.0)
    assert calls.hidden == ["J"]


async def test_universal_auth_sends_client_and_secret() -> None:
    calls = Calls(body={"accessToken": "T1", "expiresIn": 300})
    account = store.account(method="universal-auth", identity="c")

    await made(calls).login(account, sealed.Sealed("s"), LIMITS)

    assert calls.requests[0].target == "/api/v1/auth/universal-auth/login"
    assert json.loads(calls.requests[0].body) == {"clientId": "c", "clientSecret": "s"}


async def test_the_base_path_is_kept() -> None:
    calls = Calls(body={"accessToken": "T1", "expiresIn": 300})
    where = site.Site("https", "h", 443, "/kms/api")

    await made(calls).login(store.account(site=where), sealed.Sealed("J"), LIMITS)

    assert calls.requests[0].target == "/kms/api/v1/auth/kubernetes-auth/login"


async def test_a_single_read_as_the_fact_sheet_has_it() -> None:
    calls = Calls(body={"secret": SECRET}, etag='"e"')

    found = await made(calls).get(session(), FOLDER, "KEY", "", LIMITS)

    assert target(calls) == (
        "/api/v3/secrets/raw/KEY",
        {
            "workspaceId": "P",
            "environment": "prod",
            "secretPath": "/app",
            "type": "shared",
            "include_imports": "true",
            "expandSecretReferences": "false",
        },
    )
    assert calls.requests[0].headers["Authorization"] == "Bearer T1"
    assert "If-None-Match" not in calls.requests[0].headers
    assert found.etag == '"e"'


async def test_v4_names_both_spellings() -> None:
    calls = Calls(body={"secrets": []})

    await made(calls).list(session(api_version="v4"), FOLDER, "", LIMITS)

    assert target(calls) == (
        "/api/v4/secrets",
        {
            "projectId": "P",
            "environment": "prod",
            "secretPath": "/app",
            "includeImports": "true",
            "include_imports": "true",
            "expandSecretReferences": "false",
        },
    )


async def test_options_of_a_list() -> None:
    calls = Calls(body={"secrets": []})
    folder = Folder("P", "prod", "/", recursive=True, expand=True)

    await made(calls).list(session(), folder, "", LIMITS)

    assert target(calls)[1]["recursive"] == "true"
    assert target(calls)[1]["expandSecretReferences"] == "true"
    assert calls.routes == ["list"]


@pytest.mark.parametrize(
    ("key", "segment"),
    [("a/b", "a%2Fb"), ("a?b#c%d", "a%3Fb%23c%25d"), ("é ", "%C3%A9%20"), ("..", "..")],
)
async def test_keys_are_escaped(key: str, segment: str) -> None:
    calls = Calls(body={"secret": SECRET | {"secretKey": key}})

    await made(calls).get(session(), FOLDER, key, "", LIMITS)

    assert calls.requests[0].target.partition("?")[0] == f"/api/v3/secrets/raw/{segment}"


async def test_unchanged() -> None:
    calls = Calls(304, etag='"e"')

    found = await made(calls).list(session(), FOLDER, '"e"', LIMITS)

    assert calls.requests[0].headers["If-None-Match"] == '"e"'
    assert found == backend.Read(None, '"e"')


async def test_unchanged_without_having_asked() -> None:
    with pytest.raises(errors.NotKmsAnswer, match="304"):
        await made(Calls(304)).list(session(), FOLDER, "", LIMITS)


@pytest.mark.parametrize("etag", ["é", "a\tb", "x" * 300])
async def test_an_etag_that_cannot_be_sent_back_is_none(etag: str) -> None:
    calls = Calls(body={"secrets": []}, etag=etag)

    assert (await made(calls).list(session(), FOLDER, "", LIMITS)).etag == ""


@pytest.mark.parametrize(
    ("status", "error", "kind"),
    [
        (401, "UnauthorizedError", errors.LoginRefused),
        (401, "KubernetesTokenReviewError", errors.PodTokenRefused),
        (403, "TokenError", errors.LoginRefused),
        (404, "NotFound", errors.IdentityMissing),
        (400, "BadRequest", errors.LoginInvalid),
        (422, "ValidationFailure", errors.LoginInvalid),
        (409, "Conflict", errors.LoginInvalid),
    ],
)
async def test_refused_logins(status: int, error: str, kind: type[errors.ProviderError]) -> None:
    calls = Calls(status, {"error": error, "reqId": "req-1"})

    with pytest.raises(errors.LoginRefused) as caught:
        await made(calls).login(store.account(), sealed.Sealed("J"), LIMITS)
    assert type(caught.value) is kind
    assert caught.value.request_id == "req-1"


@pytest.mark.parametrize(
    ("status", "error", "kind"),
    [
        (401, "UnauthorizedError", errors.AccessTokenRefused),
        (403, "TokenError", errors.AccessTokenRefused),
        (403, "PermissionDenied", errors.ReadRefused),
        (404, "GetSecretByName", errors.SecretMissing),
        (400, "BadRequest", errors.RequestRefused),
        (422, "ValidationFailure", errors.RequestRefused),
        (410, "Gone", errors.RequestRefused),
    ],
)
async def test_refused_reads(status: int, error: str, kind: type[errors.ProviderError]) -> None:
    calls = Calls(status, {"error": error, "reqId": "req-1"})

    with pytest.raises(errors.ReadFailed) as caught:
        await made(calls).get(session(), FOLDER, "KEY", "", LIMITS)
    assert type(caught.value) is kind
    assert caught.value.place == errors.Place("prod", "/app", "KEY")


@pytest.mark.parametrize("status", [204, 301, 403, 404])
async def test_strangers(status: int) -> None:
    calls = Calls(status, {}, location="https://user:pw@evil.example/x?token=y")

    with pytest.raises(errors.NotKmsAnswer) as caught:
        await made(calls).get(session(), FOLDER, "KEY", "", LIMITS)
    assert "pw" not in str(caught.value)
    assert "token" not in str(caught.value)


async def test_malformed_answers_tell_their_kind() -> None:
    calls = Calls(200, [], **{"content-type": "text/html; charset=utf-8"})

    with pytest.raises(errors.NotKmsAnswer, match="200 text/html, its body is not a JSON object"):
        await made(calls).get(session(), FOLDER, "KEY", "", LIMITS)


async def test_a_large_answer_is_read_all_the_same() -> None:
    calls = Calls(body={"secret": SECRET | {"secretValue": "x" * api.LARGE_BODY_BYTES}})

    found = await made(calls).get(session(), FOLDER, "KEY", "", LIMITS)

    assert found.value is not None
    assert found.value.value is not None
    assert len(found.value.value.open()) == api.LARGE_BODY_BYTES
