"""Get and list, and the beginning of watches.

Source: the Kubernetes API concepts page (resource versions, chunking).
"""

import base64
import json
from dataclasses import dataclass

from devkit.apiserver import (
    calls,
    errors,
    http,
    listoptions,
    objects,
    store,
    tables,
    views,
    watching,
)


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
        wanted = listoptions.version_of(call)
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
        selector = listoptions.selector_of(call)
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
        version, match = listoptions.version_of(call), call.query.get("resourceVersionMatch", "")
        if match and version is None:
            raise listoptions.invalid(
                [
                    errors.forbidden_field(
                        "resourceVersionMatch", "is forbidden unless resourceVersion is provided"
                    )
                ],
            )
        if match not in ("", "Exact", "NotOlderThan"):
            raise listoptions.invalid(
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

    def watch(self, call: calls.Call, form: views.Form, exchange: http.Exchange) -> watching.Watch:
        """Begin a watch on an exchange. Raises: errors.StatusError: 400."""
        watch = watching.Watch(self._store, call, form, exchange, self._columns)
        watch.begin(self._bookmark_interval_s)
        return watch
