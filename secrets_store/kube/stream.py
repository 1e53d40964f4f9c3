"""One watch: a connection of its own, read line by line in the thread that iterates."""

import http.client
import json
import socket
import types
from collections.abc import Callable, Iterator
from typing import Any

import urllib3
import urllib3.connection
import urllib3.exceptions

from secrets_store import errors
from secrets_store.kube import faults, transport

HEADERS_S = 10.0
"""An API server answers a watch at once, long before the first event."""
READ_SIZE = 16384
REFUSAL_SIZE = 65536

_BROKEN = (urllib3.exceptions.HTTPError, http.client.HTTPException, OSError)

Event = tuple[str, dict[str, Any]]


class Watch:
    """Iterate over ``(type, object)`` of a watch; ``ERROR`` events are raised.

    Entering opens it, leaving closes the connection. ``close`` may be called from any thread and
    ends the iteration at once; the iteration also ends when the server ends the watch.

    Args:
        connection: Not yet open, used by nobody else.
        target: Path and query.
        headers: Called when the request is made.
        silence_s: So long no byte may come.
        observe: Told the status, or ``<error>``.
        refused: Told the token that the server did not believe.
    """

    def __init__(
        self,
        connection: urllib3.connection.HTTPConnection,
        target: str,
        headers: Callable[[], dict[str, str]],
        *,
        silence_s: float,
        observe: Callable[[str], None],
        refused: Callable[[str], object],
    ) -> None:
        self._connection, self._target, self._headers = connection, target, headers
        self._silence_s, self._observe, self._refused = silence_s, observe, refused
        self._socket: socket.socket | None = None
        self._response: urllib3.BaseHTTPResponse | None = None
        self._closed = False

    def __enter__(self) -> "Watch":
        """Connect and wait for the answer's head.

        Raises: errors.ApiError: refused or not reachable; Gone if the version is too old.
        """
        headers = self._headers()
        try:
            status = self._open(headers)
            refusal = b"" if status == 200 else self._refusal()
        except _BROKEN as error:
            _, name = faults.classify(error)
        else:
            if status == 200:
                return self
            self._release()
            if status == 401:
                self._refused(headers.get("Authorization", "").removeprefix("Bearer "))
            raise faults.from_answer(status, refusal, self._retry_after_s)
        self._observe("<error>")
        self._release()
        raise errors.Unavailable(f"API server: {name}", reason=name)

    def _open(self, headers: dict[str, str]) -> int:
        connection = self._connection
        connection.connect()
        # Kept apart: the connection forgets its socket when the answer is the last one on it.
        self._socket = connection.sock
        if self._closed:
            raise ConnectionResetError
        connection.timeout = HEADERS_S
        connection.request("GET", self._target, headers=headers, preload_content=False)
        self._response = response = connection.getresponse()
        self._retry_after_s = faults.retry_after_s(response.headers)
        self._observe(str(response.status))
        if self._socket is not None and response.status == 200:
            self._socket.settimeout(self._silence_s)
        return response.status

    def _refusal(self) -> bytes:
        assert self._response is not None
        return self._response.read(REFUSAL_SIZE)

    def __iter__(self) -> Iterator[Event]:
        """Yield events until the watch ends.

        Raises: errors.ApiError: Gone and others from ERROR events; Unavailable when it breaks.
        """
        pending = bytearray()
        while chunk := self._read():
            searched = len(pending)
            pending += chunk
            begin = 0
            while (end := pending.find(b"\n", max(begin, searched))) >= 0:
                if end > begin:
                    # Not kept in a name: it would stay in memory while the watch is silent.
                    yield _parsed(bytes(pending[begin:end]))
                begin = end + 1
                if self._closed:
                    return
            del pending[:begin]
        if pending.strip() and not self._closed:
            raise errors.Unavailable("API server: watch event cut short")

    def _read(self) -> bytes:
        assert self._response is not None, "a watch is entered before it is iterated"
        try:
            return b"" if self._closed else self._response.read1(READ_SIZE)
        except _BROKEN as error:
            _, name = faults.classify(error)
        if self._closed:
            return b""
        raise errors.Unavailable(f"API server: {name}", reason=name)

    def bound_silence(self, seconds: float) -> None:
        """Let the next byte come within so long, and each after it; for the iterating thread."""
        if self._socket is not None:
            self._socket.settimeout(seconds)

    def close(self) -> None:
        """End the iteration, also one that is blocked in a read in another thread."""
        self._closed = True
        transport.shut(self._socket)

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: types.TracebackType | None,
    ) -> None:
        self.close()
        self._release()

    def _release(self) -> None:
        if self._response is not None:
            self._response.close()
        self._connection.close()


def _parsed(line: bytes) -> Event:
    try:
        event = json.loads(line)
        kind, document = event["type"], event["object"]
    except (ValueError, TypeError, KeyError):
        kind, document = "", {}
    if not isinstance(kind, str) or not isinstance(document, dict) or not kind:
        # Not chained: the parser's error holds the text.
        raise errors.Unavailable("API server: watch event is not JSON")
    if kind == "ERROR":
        raise faults.from_status(document)
    return kind, document
