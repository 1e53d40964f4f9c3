"""What was asked of the server, for tests that count requests.

Written on the server's thread, read and waited for from any other.
"""

import collections
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Entry:
    """One request. `code` is 0 if the connection ended before an answer.

    A watch is entered when it begins and has code 200 from then on.
    """

    verb: str
    group: str
    resource: str
    subresource: str
    namespace: str
    name: str
    user: str
    user_agent: str
    method: str
    path: str
    query: dict[str, str]
    accept: str
    content_type: str
    code: int
    duration_s: float


class RequestLog:
    """The requests since the last reset, oldest first; the oldest go when there are too many."""

    def __init__(self, limit: int = 100_000) -> None:
        self._entries: collections.deque[Entry] = collections.deque(maxlen=limit)
        self._changed = threading.Condition()

    def add(self, entry: Entry) -> None:
        with self._changed:
            self._entries.append(entry)
            self._changed.notify_all()

    def reset(self) -> None:
        with self._changed:
            self._entries.clear()

    def entries(self, **wanted: object) -> list[Entry]:
        """Return the entries whose attributes equal those given, e.g. verb="get".

        `user_agent` matches as a prefix, for agents carry versions.
        """
        with self._changed:
            return self._matching(wanted)

    def count(self, **wanted: object) -> int:
        return len(self.entries(**wanted))

    def counters(self) -> dict[tuple[str, str, str], int]:
        """Return how often each (verb, resource, user agent) was asked."""
        found: collections.Counter[tuple[str, str, str]] = collections.Counter()
        for entry in self.entries():
            resource = entry.resource
            if entry.subresource:
                resource = f"{resource}/{entry.subresource}"
            found[entry.verb, resource or entry.path, entry.user_agent] += 1
        return dict(found)

    def wait(self, at_least: int = 1, timeout_s: float = 5.0, **wanted: object) -> list[Entry]:
        """Wait until that many entries match; return them.

        Raises: TimeoutError: they did not come in time.
        """
        return self.wait_until(lambda found: len(found) >= at_least, timeout_s, **wanted)

    def wait_until(
        self, enough: Callable[[list[Entry]], bool], timeout_s: float, **wanted: object
    ) -> list[Entry]:
        """Wait until `enough` holds for the matching entries; return them. Raises: TimeoutError."""
        deadline_mono = time.monotonic() + timeout_s
        with self._changed:
            while not enough(found := self._matching(wanted)):
                left_s = deadline_mono - time.monotonic()
                if left_s <= 0 or not self._changed.wait(left_s):
                    raise TimeoutError(f"only {len(found)} requests matched {wanted}")
            return found

    def _matching(self, wanted: dict[str, object]) -> list[Entry]:
        agent = wanted.get("user_agent")
        exact = {key: value for key, value in wanted.items() if key != "user_agent"}
        return [
            entry
            for entry in self._entries
            if all(getattr(entry, key) == value for key, value in exact.items())
            and (agent is None or entry.user_agent.startswith(str(agent)))
        ]
