"""From a request to an answer: the order in which the KMS looks at things.

Runs on the server's event loop; the world's lock is held only while something is looked up.

Source: kms-http-api §0 (HTML outside /api), §1.5 and §2.9 (order of faults), §2.10 (bodies).
"""

import logging

from devkit.kms import errors, http, identities, log, routes

_log = logging.getLogger(__name__)


class Application:
    """Answers requests.

    Args:
        context: what the handlers work with.
        requests: where each request is noted.
    """

    def __init__(self, context: routes.Context, requests: log.RequestLog) -> None:
        self._context = context
        self._requests = requests

    async def answer(self, request: http.Request) -> http.Response:
        """Answer one request; never raises."""
        record = log.Record(
            method=request.method,
            path=request.path,
            query=request.target.partition("?")[2],
            user_agent=request.headers.get("user-agent", ""),
        )
        try:
            route, parameters = routes.find(request)
        except (errors.RouteMissing, UnicodeDecodeError) as e:
            self._requests.begin(record)
            response = self._no_route(request, e)
        else:
            record.route = route.name
            self._requests.begin(record)
            response = await self._routed(request, route, parameters, record)
        self._requests.finish(record, response.status)
        return response

    async def _routed(
        self,
        request: http.Request,
        route: routes.Route,
        parameters: dict[str, str],
        record: log.Record,
    ) -> http.Response:
        status, headers = 200, dict[str, str]()
        try:
            identity = self._identify(request)
            if identity is not None:
                record.identity = identity.id
            elif route.protected:
                raise errors.unauthorized("An access token is needed")
            document = await route.handler(
                self._context, routes.Call(request, parameters, identity)
            )
        except errors.Refused as e:
            status, document = e.status, e.body()
        except Exception:
            _log.exception("%s failed", route.name)
            status = 500
            document = errors.Refused(500, "InternalServerError", "Something went wrong").body()
        return http.json_response(status, document, headers, request.headers.get("if-none-match"))

    def _identify(self, request: http.Request) -> identities.Identity | None:
        """Judge the credentials of a request, whether its route asks for any or not."""
        if "x-api-key" in request.headers:
            raise errors.bad_request("API keys are no longer supported")
        authorization = request.headers.get("authorization")
        if not authorization:
            return None
        with self._context.world.lock:
            return self._context.tokens.authenticate(authorization, request.address)

    def _no_route(
        self, request: http.Request, cause: errors.RouteMissing | UnicodeDecodeError
    ) -> http.Response:
        none_match = request.headers.get("if-none-match")
        if isinstance(cause, UnicodeDecodeError):
            document: errors.JSON = {
                "message": "The path is not a valid URL component",
                "error": "Bad Request",
                "statusCode": 400,
            }
            return http.json_response(400, document, {}, none_match)
        inside = request.path == "/api" or request.path.startswith("/api/")
        if request.method in ("GET", "HEAD") and not inside:
            return http.html_response()
        return http.json_response(404, cause.body(), {}, none_match)
