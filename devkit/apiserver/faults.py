"""Faults that tests switch on: which requests fail, how, and how often."""

import threading
from dataclasses import dataclass, field
from typing import Any

from devkit.apiserver import errors, routes

_REASONS = {
    400: "BadRequest",
    401: "Unauthorized",
    403: "Forbidden",
    404: "NotFound",
    409: "Conflict",
    410: "Expired",
    422: "Invalid",
    429: "TooManyRequests",
    500: "InternalError",
    503: "ServiceUnavailable",
    504: "Timeout",
}


@dataclass(slots=True)
class Fault:
    """One fault. Empty conditions match everything.

    Attributes:
        verb: e.g. "get", "watch".
        resource: plural, with a slash and the subresource if that is meant.
        namespace, name: of the object asked for.
        count: how many requests it hits; None means all until it is removed.
        code: HTTP code of the answer; 0 leaves the request alone but for delay and drop.
        retry_after_s: sent as the Retry-After header.
        delay_s: waits before anything else.
        drop: closes the connection without an answer.
        drop_after: serves the request and closes the connection instead of answering.
        hits: how many requests it has hit.
    """

    verb: str = ""
    resource: str = ""
    namespace: str = ""
    name: str = ""
    count: int | None = None
    code: int = 0
    reason: str = ""
    message: str = ""
    retry_after_s: int | None = None
    delay_s: float = 0.0
    drop: bool = False
    drop_after: bool = False
    hits: int = field(default=0)

    def matches(self, route: routes.Route) -> bool:
        resource = route.resource or route.path
        if route.subresource:
            resource = f"{resource}/{route.subresource}"
        return (
            (self.count is None or self.hits < self.count)
            and self.verb in ("", route.verb)
            and self.resource in ("", resource)
            and self.namespace in ("", route.namespace)
            and self.name in ("", route.name)
        )

    def error(self) -> errors.StatusError | None:
        """Return the failure to answer with, None if the request is to be served."""
        if not self.code:
            return None
        reason = self.reason or _REASONS.get(self.code, "")
        message = self.message or f"injected fault {self.code}"
        return errors.StatusError(self.code, reason, message, retry_after_s=self.retry_after_s)


class Faults:
    """The faults switched on now. Set from any thread, asked on the server's."""

    def __init__(self) -> None:
        self._faults: list[Fault] = []
        self._lock = threading.Lock()

    def add(self, **fields: Any) -> Fault:
        """Switch a fault on; takes the attributes of `Fault`, returns it."""
        fault = Fault(**fields)
        with self._lock:
            self._faults.append(fault)
        return fault

    def remove(self, fault: Fault) -> None:
        with self._lock:
            self._faults.remove(fault)

    def clear(self) -> None:
        with self._lock:
            self._faults.clear()

    def take(self, route: routes.Route) -> Fault | None:
        """Return the first fault that hits this request, counted."""
        if not self._faults:
            return None
        with self._lock:
            for fault in self._faults:
                if fault.matches(route):
                    fault.hits += 1
                    return fault
        return None
