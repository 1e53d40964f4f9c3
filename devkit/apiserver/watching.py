"""Watches: the state or the past, and then every change as it happens.

Source: the Kubernetes API concepts page (watch bookmarks, streaming lists), apiserver
`storage/cacher`.
"""

import asyncio
import random
from collections.abc import Callable

from devkit.apiserver import calls, errors, http, listoptions, objects, store, tables, views

_INITIAL_EVENTS_END = "k8s.io/initial-events-end"
# The server ends a watch without timeoutSeconds after half an hour to an hour.
_SHORTEST_WATCH_S = 1800
# A watch that allows bookmarks gets its last one this long before its time is up.
_LAST_BOOKMARK_S = 2


class Watch:
    """One stream of changes; ends with its time, its client or `cut`."""

    def __init__(
        self,
        kept: store.Store,
        call: calls.Call,
        form: views.Form,
        exchange: http.Exchange,
        columns: tables.ColumnSource,
    ) -> None:
        self._store = kept
        self._call = call
        self._form = form
        self._exchange = exchange
        self._columns = columns
        self._selector = listoptions.selector_of(call)
        self._namespace = call.route.namespace if call.resource.namespaced else ""
        self._bookmarks = call.query.get("allowWatchBookmarks", "") in ("true", "1")
        self._columns_told = False
        self._timers: list[asyncio.TimerHandle] = []
        self._stop_listening: Callable[[], None] | None = None
        self.on_ended: Callable[[], None] | None = None

    def begin(self, bookmark_interval_s: float) -> None:
        """Send what is there and what has happened since; then follow."""
        version = listoptions.version_of(self._call)
        initial = self._call.query.get("sendInitialEvents", "")
        self._check_initial(initial)
        timeout_s = self._timeout_s()
        self._exchange.on_closed = self._release
        self._exchange.start_stream("application/json", [])
        if version and initial != "true":
            if not self._replay(version):
                return
        elif initial != "false":
            self._send_all(marked=initial == "true" and self._bookmarks)
        self._stop_listening = self._store.listen(self._call.resource.storage_key, self._on_change)
        loop = asyncio.get_running_loop()
        self._timers.append(loop.call_later(timeout_s, self.finish))
        if self._bookmarks:
            self._schedule_bookmark(loop, bookmark_interval_s)
            if timeout_s > _LAST_BOOKMARK_S:
                last = loop.call_later(timeout_s - _LAST_BOOKMARK_S, self._send_bookmark)
                self._timers.insert(0, last)

    def _check_initial(self, initial: str) -> None:
        match = self._call.query.get("resourceVersionMatch", "")
        if initial and match != "NotOlderThan":
            raise listoptions.invalid(
                [
                    errors.forbidden_field(
                        "resourceVersionMatch",
                        "sendInitialEvents requires setting resourceVersionMatch to NotOlderThan",
                    )
                ],
            )
        if match and not initial:
            raise listoptions.invalid(
                [
                    errors.forbidden_field(
                        "resourceVersionMatch",
                        "resourceVersionMatch is forbidden for watch unless sendInitialEvents is "
                        "provided",
                    )
                ],
            )

    def _timeout_s(self) -> float:
        text = self._call.query.get("timeoutSeconds", "") or "0"
        if not text.isdigit():
            raise errors.bad_request(f'invalid timeoutSeconds: "{text}"')
        return int(text) or _SHORTEST_WATCH_S * (1 + random.random())

    def _replay(self, version: int) -> bool:
        """Send the changes since a version; False if they are Gone, which ends the watch."""
        try:
            changes = list(self._store.changes_since(self._call.resource.storage_key, version))
        except errors.StatusError as gone:
            self._send(b"ERROR", objects.encode(gone.to_status()))
            self._exchange.finish_stream()
            return False
        for change in changes:
            self._on_change(change)
        return True

    def _send_all(self, *, marked: bool) -> None:
        for entry in self._store.entries(self._call.resource.storage_key, self._namespace):
            if self._selector.matches(entry.obj):
                self._send_entry(b"ADDED", entry)
        if marked:
            self._send_bookmark({_INITIAL_EVENTS_END: "true"})

    def _on_change(self, change: store.Change) -> None:
        if self._namespace and change.key[0] != self._namespace:
            return
        matched = change.old is not None and self._selector.matches(change.old.obj)
        matches = change.new is not None and self._selector.matches(change.new.obj)
        if matches and change.new is not None:
            self._send_entry(b"MODIFIED" if matched else b"ADDED", change.new)
        elif matched and change.old is not None:
            gone = change.last or self._aged(change.old, change.version)
            self._send_entry(b"DELETED", gone)

    def _aged(self, old: store.Entry, version: int) -> store.Entry:
        """An object that no longer matches is told as it last matched, with the new version."""
        obj = {**old.obj, "metadata": {**old.obj["metadata"], "resourceVersion": str(version)}}
        return store.Entry(obj, version)

    def _send_entry(self, kind: bytes, entry: store.Entry) -> None:
        if self._form.kind == views.TABLE:
            rows = tables.render(
                [entry], self._call, self._form, self._columns, {}, headed=not self._columns_told
            )
            self._columns_told = True
            self._send(kind, rows)
        else:
            self._send(kind, views.render(entry, self._call.resource, self._form))

    def _send(self, kind: bytes, body: bytes) -> None:
        self._exchange.write(b'{"type":"%b","object":%b}\n' % (kind, body))

    def _send_bookmark(self, annotations: dict[str, str] | None = None) -> None:
        meta: objects.Object = {"resourceVersion": str(self._store.version)}
        if annotations:
            meta["annotations"] = annotations
        resource = self._call.resource
        obj: objects.Object = {"kind": resource.kind, "apiVersion": resource.api_version}
        obj["metadata"] = meta
        if self._form.kind == views.METADATA:
            obj = views.metadata_only(obj, self._form)
        elif self._form.kind == views.TABLE:
            obj = {
                "kind": views.TABLE,
                "apiVersion": self._form.api_version,
                "metadata": meta,
                "columnDefinitions": None,
                "rows": [],
            }
        self._send(b"BOOKMARK", objects.encode(obj))

    def _schedule_bookmark(self, loop: asyncio.AbstractEventLoop, interval_s: float) -> None:
        def fire() -> None:
            self._timers.pop()
            self._send_bookmark()
            self._schedule_bookmark(loop, interval_s)

        self._timers.append(loop.call_later(interval_s, fire))

    def send_bookmark_now(self) -> None:
        """Send a bookmark outside its time, if the watch allows bookmarks."""
        if self._bookmarks:
            self._send_bookmark()

    def finish(self) -> None:
        """End the stream in good order."""
        if not self._exchange.answered:
            self._release()
            self._exchange.finish_stream()

    def cut(self) -> None:
        """End the stream by dropping its connection."""
        self._exchange.abort()

    def _release(self) -> None:
        for timer in self._timers:
            timer.cancel()
        self._timers.clear()
        if self._stop_listening is not None:
            self._stop_listening()
        if self.on_ended is not None:
            self.on_ended()
