"""The objects, their one global version counter, and the history of their changes.

Stored objects are never changed in place: a write puts a new dictionary, so that an entry may be
handed to readers and watches, which keep its rendered bytes. Only the server's loop thread comes
here.

Source: etcd's revisions and the API server's watch cache, as far as clients can see them.
"""

import collections
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

from devkit.apiserver import errors, objects

Key = tuple[str, str]


@dataclass(slots=True, eq=False)
class Entry:
    """One version of one stored object.

    Attributes:
        obj: the object in its storage version; never changed.
        version: the resourceVersion as a number.
        rendered: bytes of the forms asked for so far, by form and apiVersion.
    """

    obj: objects.Object
    version: int
    rendered: dict[Any, bytes] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Change:
    """One step of the history: an object appeared (old None), changed, or went (new None).

    `last` is the object as it was when it went, carrying the version of its deletion.
    """

    version: int
    storage: str
    key: Key
    old: Entry | None
    new: Entry | None
    last: Entry | None = None


Listener = Callable[[Change], None]


class Store:
    """All objects of the server.

    Args:
        history_limit: changes kept for watches and consistent lists; older ones are compacted.
    """

    def __init__(self, history_limit: int = 20_000) -> None:
        self.version = 1
        self.compacted = 0
        self._history: collections.deque[Change] = collections.deque()
        self._history_limit = history_limit
        self._objects: dict[str, dict[Key, Entry]] = {}
        self._listeners: dict[str, list[Listener]] = {}
        self._by_uid: dict[str, tuple[str, Key]] = {}
        # Called after every change of any storage.
        self.on_change: Callable[[], None] = lambda: None

    def get(self, storage: str, namespace: str, name: str) -> Entry | None:
        return self._objects.get(storage, {}).get((namespace, name))

    def by_uid(self, uid: str) -> Entry | None:
        """Return the object that has this uid now."""
        place = self._by_uid.get(uid)
        return self._objects[place[0]][place[1]] if place else None

    def all_of(self, storage: str) -> list[objects.Object]:
        """Return all objects of a storage as they are now, in no order."""
        return [entry.obj for entry in self._objects.get(storage, {}).values()]

    def storages(self) -> list[str]:
        return list(self._objects)

    def put(self, storage: str, obj: objects.Object) -> Entry:
        """Store a new version of an object; it must not be changed by the caller afterwards."""
        key = (objects.namespace_of(obj), objects.name_of(obj))
        self.version += 1
        obj["metadata"]["resourceVersion"] = str(self.version)
        kept = self._objects.setdefault(storage, {})
        old = kept.get(key)
        entry = Entry(obj, self.version)
        kept[key] = entry
        self._by_uid[objects.uid_of(obj)] = (storage, key)
        self._record(Change(self.version, storage, key, old, entry))
        return entry

    def remove(self, storage: str, namespace: str, name: str) -> Entry:
        """Remove an object; the returned last state carries the version of the deletion."""
        key = (namespace, name)
        old = self._objects[storage].pop(key)
        self._by_uid.pop(objects.uid_of(old.obj), None)
        self.version += 1
        last = dict(old.obj)
        last["metadata"] = {**old.obj["metadata"], "resourceVersion": str(self.version)}
        entry = Entry(last, self.version)
        self._record(Change(self.version, storage, key, old, None, entry))
        return entry

    def _record(self, change: Change) -> None:
        self._history.append(change)
        if len(self._history) > self._history_limit:
            self.compacted = self._history.popleft().version
        for listener in tuple(self._listeners.get(change.storage, ())):
            listener(change)
        self.on_change()

    def entries(self, storage: str, namespace: str = "", at: int | None = None) -> list[Entry]:
        """List a storage in key order.

        Args:
            storage: which resource.
            namespace: only this namespace; empty for all.
            at: the state at this version; None for now.
        Raises: errors.StatusError: 410 if `at` is compacted, 504 if it lies ahead.
        """
        kept = self._objects.get(storage, {})
        if at is not None and at != self.version:
            kept = self._rewound(storage, kept, at)
        # etcd sorts by the whole path, so "a-b/x" comes before "a/x".
        found = [
            (f"{key[0]}/{key[1]}", entry)
            for key, entry in kept.items()
            if not namespace or key[0] == namespace
        ]
        found.sort(key=lambda pair: pair[0])
        return [entry for _, entry in found]

    def _rewound(self, storage: str, kept: dict[Key, Entry], at: int) -> dict[Key, Entry]:
        if at > self.version:
            raise errors.too_large(at, self.version)
        if at < self.compacted:
            raise errors.too_old(at, self.compacted)
        kept = dict(kept)
        for change in reversed(self._history):
            if change.version <= at:
                break
            if change.storage != storage:
                continue
            if change.old is None:
                kept.pop(change.key, None)
            else:
                kept[change.key] = change.old
        return kept

    def changes_since(self, storage: str, version: int) -> Iterator[Change]:
        """Return the changes after a version, oldest first.

        Raises: errors.StatusError: 410 if some of them are compacted.
        """
        if version < self.compacted:
            raise errors.too_old(version, self.compacted)
        found = []
        for change in reversed(self._history):
            if change.version <= version:
                break
            if change.storage == storage:
                found.append(change)
        return reversed(found)

    def compact(self) -> None:
        """Forget all history: watches and list pages from before this moment are Gone."""
        self.compacted = self.version
        self._history.clear()

    def listen(self, storage: str, listener: Listener) -> Callable[[], None]:
        """Call `listener` at every change of a storage; return what ends that."""
        listeners = self._listeners.setdefault(storage, [])
        listeners.append(listener)
        return lambda: listeners.remove(listener) if listener in listeners else None
