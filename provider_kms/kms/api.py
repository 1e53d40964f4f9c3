"""The KMS's HTTP API, generation A, as a `backend.Backend`.

Paths, parameters and their spellings are the server's: `workspaceId` and `include_imports` in v3,
`projectId` and `includeImports` in v4. v3 is the default: every build has it, and its single read
passes no approval gate. Values that the server defaults differently between builds are always
sent.

Source: public server code, generation A; see the table in docs/provider.md.
"""

import json
import urllib.parse
from collections.abc import Callable, Iterable
from typing import Any, TypeVar

from provider_kms import budget, compute, errors, sealed
from provider_kms.backend import Account, Read, Session
from provider_kms.http1 import client
from provider_kms.kms import answers, caller
from provider_kms.model.request import UNIVERSAL
from provider_kms.model.secret import Folder, Listing, Secret

T = TypeVar("T")

LARGE_BODY_BYTES = 256 * 1024
_LOGIN = "/v1/auth/kubernetes-auth/login"
_UNIVERSAL_LOGIN = "/v1/auth/universal-auth/login"


class Api:
    """The KMS behind a `caller.Caller`, which knows connections, retries and limits."""

    def __init__(self, call: caller.Caller) -> None:
        self._call = call

    async def login(
        self, account: Account, proof: sealed.Sealed[str], limits: budget.Budget
    ) -> Session:
        """Log in; see `backend.Backend.login`."""
        if account.method == UNIVERSAL:
            path, body = _UNIVERSAL_LOGIN, {"clientId": account.identity}
            body["clientSecret"] = proof.open()
        else:
            path, body = _LOGIN, {"identityId": account.identity, "jwt": proof.open()}
        # No Authorization header: the server looks at it before it routes the request.
        request = client.Request(
            "POST",
            account.site.base + path,
            {"Accept": "application/json", "Content-Type": "application/json"},
            json.dumps(body).encode(),
        )
        route = caller.LOGIN if account.method != UNIVERSAL else caller.UNIVERSAL_LOGIN
        hide = (proof.open(),)
        response = await self._call(route, account, request, limits, hide)
        if response.status != 200:
            raise _login_refusal(account, response, hide)
        token, lifetime_s = await _read(account, lambda: answers.login(response.body), response)
        return Session(account, token, lifetime_s)

    async def get(
        self, session: Session, folder: Folder, key: str, etag: str, limits: budget.Budget
    ) -> Read[Secret]:
        """Read one secret; see `backend.Backend.get`."""
        target = _target(session.account, folder, key)
        response = await self._read(caller.GET, session, target, etag, limits)
        if response.status != 200:
            return _unchanged_or_raise(session, folder, key, etag, response)
        account = session.account
        secret = await _read(account, lambda: answers.one(response.body, folder, key), response)
        return Read(secret, _etag(response))

    async def list(
        self, session: Session, folder: Folder, etag: str, limits: budget.Budget
    ) -> Read[Listing]:
        """Read a folder; see `backend.Backend.list`."""
        target = _target(session.account, folder, None)
        response = await self._read(caller.LIST, session, target, etag, limits)
        if response.status != 200:
            return _unchanged_or_raise(session, folder, None, etag, response)
        account = session.account
        listing = await _read(account, lambda: answers.many(response.body, folder), response)
        return Read(listing, _etag(response))

    async def _read(
        self, route: str, session: Session, target: str, etag: str, limits: budget.Budget
    ) -> client.Response:
        headers = {
            "Accept": "application/json",
            "Authorization": f"Bearer {session.token.open()}",
        }
        if etag:
            headers["If-None-Match"] = etag
        request = client.Request("GET", target, headers)
        hide = (session.token.open(),)
        return await self._call(route, session.account, request, limits, hide)


def _target(account: Account, folder: Folder, key: str | None) -> str:
    """Return path and query of a read; key None stands for the whole folder."""
    v3 = account.api_version == "v3"
    query = {
        "workspaceId" if v3 else "projectId": folder.project,
        "environment": folder.environment,
        "secretPath": folder.path,
        "include_imports" if v3 else "includeImports": "true",
        "expandSecretReferences": "true" if folder.expand else "false",
    }
    if not v3:
        # The first v4 builds knew the v3 spelling only, and defaulted to no imports.
        query["include_imports"] = "true"
    if key is not None:
        query["type"] = "shared"
    elif folder.recursive:
        query["recursive"] = "true"
    routes = "/v3/secrets/raw" if v3 else "/v4/secrets"
    # A key may hold what means something in a URL; unescaped it would ask another question.
    name = "" if key is None else f"/{urllib.parse.quote(key, safe='')}"
    return f"{account.site.base}{routes}{name}?{urllib.parse.urlencode(query)}"


def _etag(response: client.Response) -> str:
    """Return the answer's ETag if it can be sent back in a header, else ""."""
    etag = response.headers.get("etag", "")
    return etag if len(etag) <= 256 and etag.isascii() and etag.isprintable() else ""


async def _read(account: Account, decode: Callable[[], T], response: client.Response) -> T:
    try:
        if len(response.body) > LARGE_BODY_BYTES:
            # Other Mounts should not wait while a large answer is taken apart.
            return await compute.aside(decode)
        return decode()
    except answers.Malformed as error:
        kind = response.headers.get("content-type", "no content type").partition(";")[0]
        problem = f"{response.status} {errors.shorten(kind, 64)}, {error}"
        raise errors.NotKmsAnswer(str(account.site), problem) from None


def _unchanged_or_raise(
    session: Session, folder: Folder, key: str | None, etag: str, response: client.Response
) -> Read[Any]:
    if response.status == 304 and etag:
        return Read(None, etag)
    raise _read_refusal(session, folder, key, response)


def _stranger(account: Account, response: client.Response) -> errors.NotKmsAnswer:
    problem = f"status {response.status} without the KMS's error body"
    if response.status in (301, 302, 303, 307, 308):
        host = errors.shorten(_host(response.headers.get("location", "")), 100)
        problem = f"it redirects to {host}; redirects are not followed"
    return errors.NotKmsAnswer(str(account.site), problem)


def _host(url: str) -> str:
    try:
        return urllib.parse.urlsplit(url).hostname or "elsewhere"
    except ValueError:
        return "elsewhere"


def _login_refusal(
    account: Account, response: client.Response, hide: Iterable[str]
) -> errors.ProviderError:
    answer = answers.refusal(response.status, response.body, hide)
    if answer is None:
        return _stranger(account, response)
    kind: type[errors.LoginRefused] = errors.LoginInvalid
    if response.status == 404:
        kind = errors.IdentityMissing
    elif response.status == 401 and answer.error.startswith("Kubernetes"):
        # The cluster's token review refused the token; otherwise the KMS refused its holder.
        kind = errors.PodTokenRefused
    elif response.status in (401, 403):
        kind = errors.LoginRefused
    return kind(account.identity, account.audience, answer)


def _read_refusal(
    session: Session, folder: Folder, key: str | None, response: client.Response
) -> errors.ProviderError:
    answer = answers.refusal(response.status, response.body, (session.token.open(),))
    if answer is None:
        return _stranger(session.account, response)
    kind: type[errors.ReadFailed] = errors.RequestRefused
    # An expired token is 403 TokenError, a revoked one 401, whatever the documentation says.
    if response.status == 401 or (response.status == 403 and answer.error == "TokenError"):
        kind = errors.AccessTokenRefused
    elif response.status == 403:
        kind = errors.ReadRefused
    elif response.status == 404:
        kind = errors.SecretMissing
    return kind(folder.place(key), answer)
