"""Get, list and watch.

Source: the Kubernetes API concepts page (resource versions, chunking, watch bookmarks), apiserver
`storage/cacher`.
"""

import asyncio
import base64
import json
import random
from collections.abc import Callable
from dataclasses import dataclass

from devkit.apiserver import calls, errors, http, objects, selectors, store, tables, views

_INITIAL_EVENTS_END = "k8s.io/initial-events-end"
# The server ends a watch without timeoutSeconds after half an hour to an hour.
_SHORTEST_WATCH_S = 1800
# A watch that allows bookmarks gets its last one this long before its time is up.
_LAST_BOOKMARK_S = 2


def selector_of(call: calls.Call) -> selectors.Selector:
    """Read the selectors of a call; a name in the path selects as metadata.name does."""
    found = selectors.parse(
        call.query.get("labelSelector", ""),
        call.query.get("fieldSelector", ""),
        call.resource.storage_key,
        lambda path: path in call.resource.selectable_fields,
    )
    if call.route.name:
        named = ("metadata.name", call.route.name, True)
        return selectors.Selector(found.labels, (*found.fields, named))
    return found


def _version(call: calls.Call) -> int | None:
    text = call.query.get("resourceVersion", "")
    if not text:
        return None
    if not text.isdigit():
        if call.route.verb == "watch":
            raise errors.StatusError(500, "", f'parsing "{text}": invalid syntax')
        raise errors.bad_request(f'invalid resourceVersion: "{text}"')
    return int(text)


def _invalid_options(causes: list[errors.Cause]) -> errors.StatusError:
    return errors.invalid("ListOptions", "meta.k8s.io", "", causes)


@dataclass(frozen=True, slots=True)
class _Page:
    """Where a list goes on: in the state at `version`, after the key `after`."""

    version: int
    after: str

    def encode(self) -> str:
        raw = {"v": "meta.k8s.io/v1", "rv": self.version, "start": f"{self.after}\u0000"}
        return base64.urlsafe_b64encode(objects.encode(raw)).decode().rstrip("=")

    @classmethod
    def decode(cls, token: str) -> "_Page":
        try:
            padded = token + "=" * (-len(token) % 4)
            raw = json.loads(base64.urlsafe_b64decode(padded))
            return cls(int(raw["rv"]), str(raw["start"]).removesuffix("\u0000"))
        except (ValueError, KeyError, TypeError) as error:
            raise errors.bad_request(f"continue key is not valid: {error}") from error


def _path(entry: store.Entry) -> str:
    return f"{objects.namespace_of(entry.obj)}/{objects.name_of(entry.obj)}"


class Reader:
    """Answers reads from the store.

    Args:
        kept: the store.
        bookmark_interval_s: time between bookmarks of a watch that allows them.
        columns: tells how a resource's objects look in a table.
    """

    def __init__(
        self, kept: store.Store, bookmark_interval_s: float, columns: tables.ColumnSource
    ) -> None:
        self._store = kept
        self._bookmark_interval_s = bookmark_interval_s
        self._columns = columns

    def get(self, call: calls.Call, form: views.Form) -> bytes:
        """Return the bytes of one object. Raises: errors.StatusError: 404 or 504."""
        wanted = _version(call)
        if wanted is not None and wanted > self._store.version:
            raise errors.too_large(wanted, self._store.version)
        namespace = call.route.namespace if call.resource.namespaced else ""
        entry = self._store.get(call.resource.storage_key, namespace, call.route.name)
        if entry is None:
            raise call.not_found()
        if form.kind == views.TABLE:
            return tables.render([entry], call, form, self._columns, {})
        return views.render(entry, call.resource, form)

    def list_all(self, call: calls.Call, form: views.Form) -> bytes:
        """Return the bytes of a list. Raises: errors.StatusError: 400, 410 or 504."""
        entries, meta = self.select(call)
        if form.kind == views.TABLE:
            return tables.render(entries, call, form, self._columns, meta)
        return views.render_list(entries, call.resource, form, meta)

    def select(self, call: calls.Call) -> tuple[list[store.Entry], objects.Object]:
        """Return the entries a list chooses and the list's metadata.

        Raises: errors.StatusError: 400, 410 or 504.
        """
        selector = selector_of(call)
        limit_text = call.query.get("limit", "") or "0"
        if not limit_text.isdigit():
            raise errors.bad_request(f'invalid limit: "{limit_text}"')
        limit = int(limit_text)
        version, after = self._state_asked(call, limit)
        if call.query.get("resourceVersion") == "0" and not call.query.get("continue"):
            # Any version will do, so the watch cache answers, which knows no pages.
            limit = 0
        at = version if version is not None else self._store.version
        namespace = call.route.namespace if call.resource.namespaced else ""
        try:
            entries = self._store.entries(call.resource.storage_key, namespace, at)
        except errors.StatusError as error:
            raise self._with_new_token(error, after) from error
        if after:
            entries = [entry for entry in entries if _path(entry) > after]
        found = [entry for entry in entries if selector.matches(entry.obj)]
        meta: objects.Object = {"resourceVersion": str(at)}
        if limit and len(found) > limit:
            meta["continue"] = _Page(at, _path(found[limit - 1])).encode()
            if selector.is_empty:
                meta["remainingItemCount"] = len(found) - limit
            found = found[:limit]
        return found, meta

    def _state_asked(self, call: calls.Call, limit: int) -> tuple[int | None, str]:
        """Return the version to list at (None: now) and the key to go on after."""
        version, match = _version(call), call.query.get("resourceVersionMatch", "")
        if match and version is None:
            raise _invalid_options(
                [
                    errors.forbidden_field(
                        "resourceVersionMatch", "is forbidden unless resourceVersion is provided"
                    )
                ],
            )
        if match not in ("", "Exact", "NotOlderThan"):
            raise _invalid_options(
                [errors.not_supported("resourceVersionMatch", match, ["Exact", "NotOlderThan"])],
            )
        if token := call.query.get("continue", ""):
            if version:
                raise errors.bad_request(
                    "specifying resource version is not allowed when using continue"
                )
            page = _Page.decode(token)
            return (None if page.version < 0 else page.version), page.after
        if version and (match == "Exact" or (limit and not match)):
            return version, ""
        if version and version > self._store.version:
            raise errors.too_large(version, self._store.version)
        return None, ""

    def _with_new_token(self, error: errors.StatusError, after: str) -> errors.StatusError:
        if error.code != 410 or not after:
            return error
        told = errors.expired(
            "The provided continue parameter is too old to display a consistent list result. "
            "Start a new list, or go on with the token given here, which mixes versions."
        )
        told.list_metadata = {"continue": _Page(-1, after).encode()}
        return told

    def watch(self, call: calls.Call, form: views.Form, exchange: http.Exchange) -> "Watch":
        """Begin a watch on an exchange. Raises: errors.StatusError: 400."""
        watch = Watch(self._store, call, form, exchange, self._columns)
        watch.begin(self._bookmark_interval_s)
        return watch


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
        self._selector = selector_of(call)
        self._namespace = call.route.namespace if call.resource.namespaced else ""
        self._bookmarks = call.query.get("allowWatchBookmarks", "") in ("true", "1")
        self._columns_told = False
        self._timers: list[asyncio.TimerHandle] = []
        self._stop_listening: Callable[[], None] | None = None
        self.on_ended: Callable[[], None] | None = None

    def begin(self, bookmark_interval_s: float) -> None:
        """Send what is there and what has happened since; then follow."""
        version = _version(self._call)
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
            raise _invalid_options(
                [
                    errors.forbidden_field(
                        "resourceVersionMatch",
                        "sendInitialEvents requires setting resourceVersionMatch to NotOlderThan",
                    )
                ],
            )
        if match and not initial:
            raise _invalid_options(
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
