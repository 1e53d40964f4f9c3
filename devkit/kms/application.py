"""From a request to an answer: the order in which the KMS looks at things.

Runs on the server's event loop; the world's lock is held only while something is looked up.

Source: kms-http-api §0 (HTML outside /api), §1.5 and §2.9 (order of faults), §2.10 (bodies).
"""

import asyncio
import dataclasses
import logging

from devkit.kms import errors, faults, identities, limits, log, messages, routes

_log = logging.getLogger(__name__)

# A request's route and path parameters, or why it has none.
Found = tuple[routes.Route, dict[str, str]] | errors.RouteMissing | UnicodeDecodeError


class Application:
    """Answers requests.

    Args:
        context: what the handlers work with.
        requests: where each request is noted.
        planned: what is to go wrong.
        delay_s: added to every answer, besides the world's own setting.
    """

    def __init__(
        self,
        context: routes.Context,
        requests: log.RequestLog,
        planned: faults.Faults,
        delay_s: float,
    ) -> None:
        self._context = context
        self._requests = requests
        self._planned = planned
        self._delay_s = delay_s
        self._limiter = limits.Limiter(context.world)

    async def answer(self, request: messages.Request) -> messages.Response:
        """Answer one request; raises nothing but CancelledError, when the client has gone."""
        record = log.Record(
            method=request.method,
            path=request.path,
            query=request.target.partition("?")[2],
            user_agent=request.headers.get("user-agent", ""),
        )
        found: Found
        try:
            found = routes.find(request)
            record.route = found[0].name
        except (errors.RouteMissing, UnicodeDecodeError) as e:
            found = e
        self._requests.begin(record)
        try:
            response = await self._delivered(request, found, record)
        except asyncio.CancelledError:
            self._requests.finish(record, 0, abandoned=True)
            raise
        self._requests.finish(record, response.status)
        return response

    async def _delivered(
        self, request: messages.Request, found: Found, record: log.Record
    ) -> messages.Response:
        """Answer as the planned faults will have it."""
        fault = self._planned.take(record.route, request.target)
        delay_s = self._delay_s + self._context.world.settings.delay_s
        if fault is not None:
            record.fault = fault.name
            delay_s += fault.delay_s
        if delay_s > 0:
            await asyncio.sleep(delay_s)
        response = fault.response() if fault is not None else None
        if response is None:
            response = await self._true_answer(request, found, record)
        if fault is not None:
            response = dataclasses.replace(response, delivery=fault.delivery)
        return response

    async def _true_answer(
        self, request: messages.Request, found: Found, record: log.Record
    ) -> messages.Response:
        if not isinstance(found, tuple):
            return _no_route(request, found)
        route, parameters = found
        status, headers = 200, dict[str, str]()
        try:
            identity = self._identify(request)
            if identity is not None:
                record.identity = identity.id
            elif route.protected:
                raise errors.unauthorized("An access token is needed")
            if route.bucket is not None:
                self._limiter.count(request.address, route.bucket, headers)
            if self._context.world.settings.maintenance and request.method not in ("GET", "HEAD"):
                raise errors.internal()
            call = routes.Call(request, parameters, identity)
            document = await route.handler(self._context, call)
        except errors.Refused as e:
            status, document = e.status, e.body()
        except Exception:
            _log.exception("%s failed", route.name)
            status, document = 500, errors.internal().body()
        return messages.json_response(
            status, document, headers, request.headers.get("if-none-match")
        )

    def _identify(self, request: messages.Request) -> identities.Identity | None:
        """Judge the credentials of a request, whether its route asks for any or not."""
        if "x-api-key" in request.headers:
            raise errors.bad_request("API keys are no longer supported")
        authorization = request.headers.get("authorization")
        if not authorization:
            return None
        with self._context.world.lock:
            return self._context.tokens.authenticate(authorization, request.address)


def _no_route(
    request: messages.Request, cause: errors.RouteMissing | UnicodeDecodeError
) -> messages.Response:
    none_match = request.headers.get("if-none-match")
    if isinstance(cause, UnicodeDecodeError):
        document: errors.JSON = {
            "message": "The path is not a valid URL component",
            "error": "Bad Request",
            "statusCode": 400,
        }
        return messages.json_response(400, document, {}, none_match)
    inside = request.path == "/api" or request.path.startswith("/api/")
    if request.method in ("GET", "HEAD") and not inside:
        return messages.html_response()
    return messages.json_response(404, cause.body(), {}, none_match)
