"""What was asked: a record per request and counters per route.

Records hold names of routes, paths and queries (which name secrets but never hold their values),
never bodies, headers or tokens. Written by the server's thread, read from any.
"""

import collections
import dataclasses
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

_KEPT = 100_000


@dataclass(slots=True)
class Record:
    """One request.

    Args:
        route: name of the route, e.g. `GET /api/v3/secrets/raw/{secretName}`; "" for none.
        identity: id of the identity whose token was accepted, or "".
        status: of the answer; 0 while it is worked on and for a connection that was reset.
        abandoned: the client closed the connection (or the server stopped) before the answer.
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
    abandoned: bool = False


class RequestLog:
    """The records of one server, oldest first.

    Args:
        listener: called by the server's thread with each record that is complete.
        kept: how many records are kept; the oldest go first.
    """

    def __init__(self, listener: Callable[[Record], None] | None = None, kept: int = _KEPT) -> None:
        self._listener = listener
        # The condition's lock is an RLock, so that conditions may call the log's own methods.
        self._changed = threading.Condition()
        self._records: collections.deque[Record] = collections.deque(maxlen=kept)
        self._counts: collections.Counter[str] = collections.Counter()
        self._in_flight = 0
        self._most_in_flight = 0

    def begin(self, record: Record) -> None:
        """Note the arrival of a request."""
        record.started_at = time.time()
        with self._changed:
            self._records.append(record)
            self._counts[record.route] += 1
            self._in_flight += 1
            self._most_in_flight = max(self._most_in_flight, self._in_flight)
            self._changed.notify_all()

    def finish(self, record: Record, status: int, *, abandoned: bool = False) -> None:
        """Note how a request was answered, or that nobody waits for the answer any more."""
        with self._changed:
            record.status, record.abandoned = status, abandoned
            record.duration_s = time.time() - record.started_at
            self._in_flight -= 1
            self._changed.notify_all()
        if self._listener is not None:
            self._listener(record)

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

    def in_flight(self) -> int:
        """Return how many requests are being worked on."""
        with self._changed:
            return self._in_flight

    def most_in_flight(self) -> int:
        """Return how many requests were worked on at once, at most."""
        with self._changed:
            return self._most_in_flight

    def clear(self) -> None:
        """Forget records and counters; requests being worked on still count as in flight."""
        with self._changed:
            self._records.clear()
            self._counts.clear()
            self._most_in_flight = self._in_flight

    def wait_for(self, route: str | None, count: int, timeout_s: float = 5.0) -> None:
        """Wait until a route (None: any) has been asked so often.

        Raises: TimeoutError: it was not, in time.
        """
        self.wait_until(lambda: self.count(route) >= count, timeout_s)

    def wait_until(self, holds: Callable[[], bool], timeout_s: float = 5.0) -> None:
        """Wait until a condition on this log holds; it is looked at with every change.

        Raises: TimeoutError: it did not come to hold, in time.
        """
        with self._changed:
            if not self._changed.wait_for(holds, timeout_s):
                raise TimeoutError("the requests waited for did not come")
