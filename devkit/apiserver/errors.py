"""Failures as the API server tells them: an HTTP code and a `metav1.Status` body.

Source: apimachinery `api/errors` (reasons, codes, the shape of messages and details).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from devkit.apiserver import objects


@dataclass(frozen=True, slots=True)
class Cause:
    """One entry of `Status.details.causes`: which field is wrong and how."""

    reason: str
    field: str
    message: str

    def __str__(self) -> str:
        return f"{self.field}: {self.message}" if self.field else self.message


def required(field: str, why: str = "") -> Cause:
    """Say that a field is missing."""
    return Cause("FieldValueRequired", field, f"Required value: {why}" if why else "Required value")


def invalid_value(field: str, value: Any, why: str) -> Cause:
    """Say that a field has a value it cannot have."""
    shown = objects.encode(value).decode() if value is not None else "null"
    return Cause("FieldValueInvalid", field, f"Invalid value: {shown}: {why}")


def forbidden_field(field: str, why: str) -> Cause:
    """Say that a field must not be set or changed."""
    return Cause("FieldValueForbidden", field, f"Forbidden: {why}")


def not_supported(field: str, value: Any, allowed: Sequence[str]) -> Cause:
    """Say that a field has none of the values it can have."""
    listed = ", ".join(f'"{item}"' for item in allowed)
    shown = objects.encode(value).decode()
    return Cause(
        "FieldValueNotSupported", field, f"Unsupported value: {shown}: supported values: {listed}"
    )


def too_long(field: str, why: str) -> Cause:
    """Say that a field is too long."""
    return Cause("FieldValueTooLong", field, f"Too long: {why}")


class StatusError(Exception):
    """A request ends with this HTTP code and Status.

    Args:
        code: HTTP code.
        reason: `Status.reason`, what clients branch on.
        message: `Status.message`.
        details: `Status.details`; None leaves it out.
        retry_after_s: sent as the Retry-After header and in the details.
    """

    def __init__(
        self,
        code: int,
        reason: str,
        message: str,
        details: objects.Object | None = None,
        retry_after_s: int | None = None,
    ) -> None:
        super().__init__(message)
        self.code = code
        self.reason = reason
        self.message = message
        self.details = details
        self.retry_after_s = retry_after_s
        # A list whose continue token has expired offers a new one here.
        self.list_metadata: objects.Object = {}

    def to_status(self) -> objects.Object:
        """Return the Status object of the answer's body."""
        status: objects.Object = {
            "kind": "Status",
            "apiVersion": "v1",
            "metadata": self.list_metadata,
            "status": "Failure",
            "message": self.message,
        }
        if self.reason:
            status["reason"] = self.reason
        details = None if self.details is None else dict(self.details)
        if self.retry_after_s is not None:
            details = {**(details or {}), "retryAfterSeconds": self.retry_after_s}
        if details is not None:
            status["details"] = details
        status["code"] = self.code
        return status


def _details(resource: str, group: str, name: str = "") -> objects.Object:
    details: objects.Object = {}
    if name:
        details["name"] = name
    if group:
        details["group"] = group
    if resource:
        details["kind"] = resource
    return details


def qualified(resource: str, group: str) -> str:
    """Return `pods` or `secretproviderclasses.secrets-store.csi.x-k8s.io`."""
    return f"{resource}.{group}" if group else resource


def not_found(resource: str, group: str, name: str) -> StatusError:
    """Return the 404 of an object that is not there."""
    return StatusError(
        404,
        "NotFound",
        f'{qualified(resource, group)} "{name}" not found',
        _details(resource, group, name),
    )


def no_such_path() -> StatusError:
    """Return the 404 of a path that is not served."""
    return StatusError(404, "NotFound", "the server could not find the requested resource", {})


def already_exists(resource: str, group: str, name: str) -> StatusError:
    """Return the 409 of a create."""
    return StatusError(
        409,
        "AlreadyExists",
        f'{qualified(resource, group)} "{name}" already exists',
        _details(resource, group, name),
    )


STALE = (
    "the object has been modified; please apply your changes to the latest version and try again"
)


def conflict(resource: str, group: str, name: str, why: str = STALE) -> StatusError:
    """Return the 409 of a write that was overtaken or whose precondition fails."""
    return StatusError(
        409,
        "Conflict",
        f'Operation cannot be fulfilled on {qualified(resource, group)} "{name}": {why}',
        _details(resource, group, name),
    )


def bad_request(message: str) -> StatusError:
    """Return the 400 of a request that makes no sense."""
    return StatusError(400, "BadRequest", message)


def unauthorized() -> StatusError:
    """Return the 401 of a bad token."""
    return StatusError(401, "Unauthorized", "Unauthorized")


def forbidden(resource: str, group: str, name: str, why: str) -> StatusError:
    """Return the 403 of an authorizer or of admission."""
    subject = qualified(resource, group) if resource else ""
    quoted = f' "{name}"' if name else ""
    return StatusError(
        403,
        "Forbidden",
        f"{subject}{quoted} is forbidden: {why}" if subject else f"forbidden: {why}",
        _details(resource, group, name),
    )


def invalid(kind: str, group: str, name: str, causes: Sequence[Cause]) -> StatusError:
    """Return the 422 that validation ends with; `causes` must not be empty."""
    told = [str(cause) for cause in causes]
    text = told[0] if len(told) == 1 else f"[{', '.join(told)}]"
    details = _details(kind, group, name)
    details["causes"] = [
        {"reason": cause.reason, "message": cause.message, "field": cause.field} for cause in causes
    ]
    return StatusError(
        422, "Invalid", f'{qualified(kind, group)} "{name}" is invalid: {text}', details
    )


def unprocessable(message: str) -> StatusError:
    """Return the 422 of a patch that does not fit."""
    return StatusError(422, "Invalid", message, {})


def expired(message: str) -> StatusError:
    """Return the 410 of a version that is compacted."""
    return StatusError(410, "Expired", message)


def too_old(asked: int, oldest: int) -> StatusError:
    """Return the 410 of a watch or list from before the compaction."""
    return expired(f"too old resource version: {asked} ({oldest})")


def too_large(asked: int, current: int) -> StatusError:
    """Return the 504 of a version that lies ahead."""
    return StatusError(
        504,
        "Timeout",
        f"Too large resource version: {asked}, current: {current}",
        {
            "causes": [
                {"reason": "ResourceVersionTooLarge", "message": "Too large resource version"}
            ]
        },
        retry_after_s=1,
    )


def method_not_allowed() -> StatusError:
    """Return the 405 of a verb the resource does not have."""
    return StatusError(
        405,
        "MethodNotAllowed",
        "the server does not allow this method on the requested resource",
        {},
    )


def not_acceptable(types: Sequence[str]) -> StatusError:
    """Return the 406 of an Accept header that names nothing we can write."""
    return StatusError(
        406,
        "NotAcceptable",
        f"only the following media types are accepted: {', '.join(types)}",
    )


def unsupported_media_type(types: Sequence[str]) -> StatusError:
    """Return the 415 of a body in a form we cannot read."""
    return StatusError(
        415,
        "UnsupportedMediaType",
        "the body of the request was in an unknown format - accepted media types include: "
        f"{', '.join(types)}",
    )


def body_too_large(limit_bytes: int) -> StatusError:
    """Return the 413 of a body that is too large."""
    return StatusError(
        413, "RequestEntityTooLarge", f"Request entity too large: limit is {limit_bytes}"
    )


def internal(message: str) -> StatusError:
    """Return the 500 of a failure inside the server."""
    return StatusError(
        500,
        "InternalError",
        f"Internal error occurred: {message}",
        {"causes": [{"message": message}]},
    )


def too_many_requests(retry_after_s: int) -> StatusError:
    """Return the 429 that asks for patience."""
    return StatusError(
        429,
        "TooManyRequests",
        "the server has received too many requests and has asked us to try again later",
        {},
        retry_after_s,
    )
