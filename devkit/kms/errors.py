"""The refusals of the API: status, `error` word, message, and the JSON body they become.

Source: kms-http-api §2.10. A refusal is raised anywhere below the dispatcher and turned into a
body there, so that no code in between has to know what a body looks like.
"""

import secrets
import string
from collections.abc import Sequence

JSON = dict[str, object]

_ALPHANUMERICS = string.ascii_letters + string.digits


def request_id() -> str:
    """Make the id that error bodies carry: `req-` and 14 alphanumerics."""
    return "req-" + "".join(secrets.choice(_ALPHANUMERICS) for _ in range(14))


class Refused(Exception):
    """A request the KMS answers with an error body.

    Args:
        status: HTTP status, 400 or above.
        error: the `error` member; an identifier, in a few places prose.
        message: the `message` member; a list of issues for 422, else text.
        details: the `details` member; absent when None.
    """

    def __init__(
        self,
        status: int,
        error: str,
        message: str | Sequence[JSON],
        details: Sequence[object] | None = None,
    ) -> None:
        super().__init__(status, error, message)
        self.status = status
        self.error = error
        self.message = message
        self.details = details

    def body(self) -> JSON:
        """Build the error body with a fresh request id."""
        body: JSON = {
            "reqId": request_id(),
            "statusCode": self.status,
            "message": self.message,
            "error": self.error,
        }
        if self.details is not None:
            body["details"] = self.details
        return body


class RouteMissing(Exception):
    """No route has this method and path; the web framework answers, not the application."""

    def __init__(self, method: str, path: str) -> None:
        super().__init__(method, path)
        self.method = method
        self.path = path

    def body(self) -> JSON:
        """Build the framework's 404 body, which has no request id."""
        return {
            "message": f"Route {self.method}:{self.path} not found",
            "error": "Not Found",
            "statusCode": 404,
        }


def bad_request(message: str, error: str = "BadRequest") -> Refused:
    """Refuse with 400."""
    return Refused(400, error, message)


def unauthorized(message: str, error: str = "UnauthorizedError") -> Refused:
    """Refuse with 401."""
    return Refused(401, error, message)


def forbidden(message: str, error: str = "ForbiddenError") -> Refused:
    """Refuse with 403."""
    return Refused(403, error, message)


def not_found(message: str, error: str = "NotFound") -> Refused:
    """Refuse with 404."""
    return Refused(404, error, message)


def internal() -> Refused:
    """Refuse with the 500 that says nothing."""
    return Refused(500, "InternalServerError", "Something went wrong")
