"""The routes: templates, rate-limit buckets, and what each does.

Source: kms-http-api §0.1, §1, §2.1 to §2.3.
"""

import urllib.parse
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass

from devkit.kms import errors, identities, login, messages, model, reading, review, schema, tokens


@dataclass(frozen=True, slots=True)
class Context:
    """What handlers work with; one per server."""

    world: model.World
    tokens: tokens.Tokens
    reviewer: review.Reviewer


@dataclass(frozen=True, slots=True)
class Call:
    """One request on its way into a handler; `identity` is there where the route needs one."""

    request: messages.Request
    parameters: Mapping[str, str]
    identity: identities.Identity | None

    def reader(self) -> identities.Identity:
        assert self.identity is not None
        return self.identity


Handler = Callable[[Context, Call], Awaitable[errors.JSON]]


@dataclass(frozen=True, slots=True)
class Route:
    """A route.

    Args:
        name: method and template, e.g. `GET /api/status`: how logs, counters and faults call it.
        bucket: rate-limit bucket; None is exempt.
        protected: needs an access token.
    """

    name: str
    handler: Handler
    bucket: str | None
    protected: bool

    @property
    def key(self) -> tuple[str, str, int]:
        """Method, template up to its parameter, and number of segments."""
        method, _, template = self.name.partition(" ")
        return method, template.partition("{")[0], template.count("/")


def find(request: messages.Request) -> tuple[Route, dict[str, str]]:
    """Find a request's route and path parameters, which are percent-decoded.

    Raises:
        errors.RouteMissing: there is none.
        UnicodeDecodeError: the path's percent-encoding is no UTF-8.
    """
    path = request.path
    # The framework answers HEAD on every GET route.
    method = "GET" if request.method == "HEAD" else request.method
    route = _BY_KEY.get((method, path, path.count("/")))
    if route is not None:
        return route, {}
    folder, _, last = path.rpartition("/")
    route = _BY_KEY.get((method, folder + "/", path.count("/")))
    if route is None:
        raise errors.RouteMissing(request.method, request.target)
    return route, {"secretName": urllib.parse.unquote(last, errors="strict")}


async def _status(context: Context, _: Call) -> errors.JSON:
    return {
        "date": model.iso_time(context.world.clock()),
        "message": "Ok",
        "emailConfigured": False,
        "redisConfigured": False,
    }


async def _kubernetes_login(context: Context, call: Call) -> errors.JSON:
    body = schema.body(call.request.body, ("identityId", "jwt"), ("organizationSlug",))
    return await login.kubernetes(
        context.world,
        context.tokens,
        context.reviewer,
        body["identityId"],
        body["jwt"],
        body.get("organizationSlug"),
    )


async def _universal_login(context: Context, call: Call) -> errors.JSON:
    body = schema.body(call.request.body, ("clientId", "clientSecret"))
    return login.universal(context.world, context.tokens, body["clientId"], body["clientSecret"])


async def _renew(context: Context, call: Call) -> errors.JSON:
    body = schema.body(call.request.body, ("accessToken",))
    with context.world.lock:
        return context.tokens.renew(body["accessToken"])


async def _revoke(context: Context, call: Call) -> errors.JSON:
    body = schema.body(call.request.body, ("accessToken",))
    with context.world.lock:
        context.tokens.revoke(body["accessToken"])
    return {"message": "The access token is revoked"}


_BOTH: Mapping[str, schema.Parser] = {
    "environment": schema.trimmed,
    "secretPath": schema.trimmed,
    "viewSecretValue": schema.boolean,
    "expandSecretReferences": schema.boolean,
}
_SINGLE: Mapping[str, schema.Parser] = {
    "version": schema.number,
    "type": schema.one_of("shared", "personal"),
}
_LIST: Mapping[str, schema.Parser] = {
    "recursive": schema.boolean,
    "tagSlugs": schema.text,
    "metadataFilter": schema.metadata_filter,
}
_V3: Mapping[str, schema.Parser] = {
    "workspaceId": schema.trimmed,
    "workspaceSlug": schema.trimmed,
    "include_imports": schema.boolean,
}
_V4: Mapping[str, schema.Parser] = {"projectId": schema.trimmed, "includeImports": schema.boolean}


async def _single_v3(context: Context, call: Call) -> errors.JSON:
    query = schema.query(call.request.query, {**_BOTH, **_SINGLE, **_V3})
    return _single(context, call, query, default=False)


async def _single_v4(context: Context, call: Call) -> errors.JSON:
    query = schema.query(call.request.query, {**_BOTH, **_SINGLE, **_V4}, required=("projectId",))
    return _single(context, call, query, default=True)


async def _list_v3(context: Context, call: Call) -> errors.JSON:
    query = schema.query(call.request.query, {**_BOTH, **_LIST, **_V3})
    return _list(context, call, query, default=False)


async def _list_v4(context: Context, call: Call) -> errors.JSON:
    parsers = {**_BOTH, **_LIST, **_V4, "includePersonalOverrides": schema.boolean}
    return _list(context, call, schema.query(call.request.query, parsers), default=True)


def _single(context: Context, call: Call, query: errors.JSON, *, default: bool) -> errors.JSON:
    with context.world.lock:
        reader = reading.Reader(context.world, call.reader(), _place(query), "GetSecretByName")
        key = call.parameters["secretName"].strip()
        return {"secret": reader.single(key, _options(query, default=default))}


def _list(context: Context, call: Call, query: errors.JSON, *, default: bool) -> errors.JSON:
    with context.world.lock:
        reader = reading.Reader(context.world, call.reader(), _place(query), "SecretPathNotFound")
        return reader.listing(_options(query, default=default))


def _place(query: errors.JSON) -> reading.Place:
    def text(*names: str) -> str | None:
        return next((str(query[name]) for name in names if name in query), None)

    return reading.Place(
        project_id=text("workspaceId", "projectId"),
        project_slug=text("workspaceSlug"),
        environment=text("environment"),
        path=text("secretPath") or "/",
    )


def _options(query: errors.JSON, *, default: bool) -> reading.Options:
    """Build the options; `default` is what v3 and v4 differ in for imports and expansion."""
    tags = str(query.get("tagSlugs", ""))
    version, metadata = query.get("version"), query.get("metadataFilter", ())
    assert version is None or isinstance(version, float)
    assert isinstance(metadata, tuple)
    return reading.Options(
        view_value=bool(query.get("viewSecretValue", True)),
        expand=bool(query.get("expandSecretReferences", default)),
        include_imports=bool(query.get("include_imports", query.get("includeImports", default))),
        recursive=bool(query.get("recursive", False)),
        tags=tuple(slug for slug in (each.strip() for each in tags.split(",")) if slug),
        metadata=metadata,
        version=version,
        personal=query.get("type") == "personal",
    )


ROUTES = (
    Route("GET /api/status", _status, None, False),
    Route("POST /api/v1/auth/kubernetes-auth/login", _kubernetes_login, "write", False),
    Route("POST /api/v1/auth/universal-auth/login", _universal_login, "write", False),
    Route("POST /api/v1/auth/token/renew", _renew, "write", False),
    Route("POST /api/v1/auth/token/revoke", _revoke, "write", False),
    Route("GET /api/v3/secrets/raw", _list_v3, "secrets", True),
    Route("GET /api/v3/secrets/raw/{secretName}", _single_v3, "secrets", True),
    Route("GET /api/v4/secrets", _list_v4, "secrets", True),
    Route("GET /api/v4/secrets/{secretName}", _single_v4, "secrets", True),
)

_BY_KEY = {route.key: route for route in ROUTES}
