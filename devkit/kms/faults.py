"""Faults: what a KMS, or the network before it, can do wrong, on demand.

A fault holds for one route or for all, for a number of requests or until it is taken back. Each
request takes the first fault that fits it. Any thread may add and remove faults.

Faults that replace the answer (`status`, `html`, `redirect`, `retry_after`, `reset`) keep the
request from being looked at; the others (`delay`, `slow`, `truncated`) change how the true answer
comes.
"""

import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from devkit.kms import errors, messages

ANY_ROUTE = "*"


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """What goes wrong; the functions of this module make the usual ones.

    Args:
        name: how the request log calls it.
        delay_s: pause before the request is looked at.
        status: answer with it instead; None leaves the answer alone.
        headers: of that answer; lower case.
        body: of that answer; None is an error body of the API with a fresh request id.
        error: the `error` member of such a body.
        delivery: how the answer is sent.
    """

    name: str
    delay_s: float = 0.0
    status: int | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes | None = field(default=None, repr=False)
    error: str = "InternalServerError"
    delivery: messages.Delivery = field(default_factory=messages.Delivery)

    def response(self) -> messages.Response | None:
        """Make the answer that takes the true one's place, or None."""
        if self.delivery.reset:
            return messages.Response(status=0, delivery=self.delivery)
        if self.status is None:
            return None
        headers, body = self.headers, self.body
        if body is None:
            refused = errors.Refused(self.status, self.error, "A fault was asked for")
            plain = messages.json_response(self.status, refused.body(), headers, None)
            headers, body = plain.headers, plain.body
        return messages.Response(
            status=self.status, headers=headers, body=body, delivery=self.delivery
        )


def status(
    status: int,
    *,
    error: str = "InternalServerError",
    headers: Mapping[str, str] | None = None,
    body: bytes | None = None,
) -> Fault:
    """Answer with a status; without `body` in the API's own form."""
    return Fault(
        name=f"status {status}", status=status, error=error, headers=headers or {}, body=body
    )


def retry_after(wait: str, status: int = 429) -> Fault:
    """Answer 429 (or 503) with `retry-after`: seconds or a date, as it is to be sent."""
    return Fault(
        name=f"retry after {wait}",
        status=status,
        error="RateLimitExceeded" if status == 429 else "ServiceUnavailable",
        headers={"retry-after": wait},
    )


def html(status: int = 200) -> Fault:
    """Answer with a page, as a proxy or the standalone KMS does."""
    page = messages.html_response()
    return Fault(name="html", status=status, headers=page.headers, body=page.body)


def redirect(location: str, status: int = 302) -> Fault:
    """Send the client elsewhere."""
    return Fault(
        name="redirect",
        status=status,
        headers={"location": location},
        body=b"",
    )


def delay(delay_s: float) -> Fault:
    """Look at the request only after a pause."""
    return Fault(name="delay", delay_s=delay_s)


def slow(chunk_bytes: int, interval_s: float) -> Fault:
    """Send headers at once and the body piece by piece, with a pause before each."""
    return Fault(
        name="slow body",
        delivery=messages.Delivery(chunk_bytes=chunk_bytes, chunk_interval_s=interval_s),
    )


def truncated(after_bytes: int) -> Fault:
    """Announce the whole body, send its beginning, close the connection."""
    return Fault(
        name="truncated body", delivery=messages.Delivery(truncate_after_bytes=after_bytes)
    )


def reset() -> Fault:
    """Reset the connection instead of answering."""
    return Fault(name="reset", delivery=messages.Delivery(reset=True))


@dataclass(slots=True, eq=False)
class Planned:
    """A fault and where it holds.

    Args:
        route: a route's name, e.g. `GET /api/status`, or `*` for every request.
        where: only requests whose path and query contain this text, as sent.
        left: how many requests more; None is without end.
    """

    fault: Fault
    route: str = ANY_ROUTE
    where: str = ""
    left: int | None = 1

    def fits(self, route: str, target: str) -> bool:
        return self.route in (ANY_ROUTE, route) and self.where in target


class Faults:
    """The faults of one server, in the order they were added."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._planned: list[Planned] = []
        self._seeded: list[Planned] = []

    def add(
        self, fault: Fault, route: str = ANY_ROUTE, *, where: str = "", times: int | None = 1
    ) -> Planned:
        """Let a fault happen, `times` times or, if None, until it is removed."""
        planned = Planned(fault, route, where, times)
        with self._lock:
            self._planned.append(planned)
        return planned

    def remove(self, planned: Planned) -> None:
        """Take a fault back; one that is used up already is no error."""
        with self._lock:
            self._planned = [each for each in self._planned if each is not planned]

    def clear(self) -> None:
        """Take all faults back."""
        with self._lock:
            self._planned = []

    def seed(self, planned: Sequence[Planned]) -> None:
        """Put the faults of a seed in the place of those of the seed before."""
        with self._lock:
            old = self._seeded
            self._planned = [
                each for each in self._planned if not any(each is one for one in old)
            ] + [*planned]
            self._seeded = [*planned]

    def take(self, route: str, target: str) -> Fault | None:
        """Use the first fault that fits a request, or return None."""
        with self._lock:
            for planned in self._planned:
                if planned.fits(route, target):
                    if planned.left is not None:
                        planned.left -= 1
                        if planned.left <= 0:
                            self._planned.remove(planned)
                    return planned.fault
        return None
