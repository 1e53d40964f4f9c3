"""What was asked: a record per request and counters per route.

Records hold names of routes, paths and queries (which name secrets but never hold their values),
never bodies, headers or tokens. Written by the server's thread, read from any.
"""

import collections
import dataclasses
import threading
import time
from dataclasses import dataclass

_KEPT = 100_000


@dataclass(slots=True)
class Record:
    """One request.

    Args:
        route: name of the route, e.g. `GET /api/v3/secrets/raw/{secretName}`; "" for none.
        identity: id of the identity whose token was accepted, or "".
        status: of the answer; 0 while it is worked on and for a connection that was reset.
        started_at: seconds since the epoch.
        duration_s: until the answer began to be sent; 0 while it is worked on.
        fault: name of the injected fault, or "".
    """

    method: str
    path: str
    query: str
    route: str = ""
    identity: str = ""
    user_agent: str = ""
    status: int = 0
    started_at: float = 0.0
    duration_s: float = 0.0
    fault: str = ""


class RequestLog:
    """The records of one server, oldest first; the last 100,000 are kept."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._records: collections.deque[Record] = collections.deque(maxlen=_KEPT)
        self._counts: collections.Counter[str] = collections.Counter()

    def begin(self, record: Record) -> None:
        """Note the arrival of a request."""
        record.started_at = time.time()
        with self._changed:
            self._records.append(record)
            self._counts[record.route] += 1
            self._changed.notify_all()

    def finish(self, record: Record, status: int) -> None:
        """Note how a request was answered."""
        with self._changed:
            record.status = status
            record.duration_s = time.time() - record.started_at
            self._changed.notify_all()

    def records(self, route: str | None = None) -> list[Record]:
        """Return copies of the records, of one route or of all."""
        with self._changed:
            return [
                dataclasses.replace(record)
                for record in self._records
                if route is None or record.route == route
            ]

    def count(self, route: str | None = None) -> int:
        """Return how many requests have arrived on a route, or in all."""
        with self._changed:
            return self._counts.total() if route is None else self._counts[route]

    def counts(self) -> dict[str, int]:
        """Return the counters of all routes that were asked."""
        with self._changed:
            return dict(self._counts)

    def clear(self) -> None:
        """Forget records and counters."""
        with self._changed:
            self._records.clear()
            self._counts.clear()

    def wait_for(self, route: str | None, count: int, timeout_s: float = 5.0) -> None:
        """Wait until a route has been asked so often.

        Raises: TimeoutError: it was not, in time.
        """
        with self._changed:
            reached = self._changed.wait_for(
                lambda: (self._counts.total() if route is None else self._counts[route]) >= count,
                timeout_s,
            )
        if not reached:
            raise TimeoutError(f"{route or 'the server'} was asked less than {count} times")
