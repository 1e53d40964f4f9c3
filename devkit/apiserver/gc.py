"""The garbage collector and the namespace controller, which a real cluster runs elsewhere.

Source: kubernetes `pkg/controller/garbagecollector`, `pkg/controller/namespace`.
"""

from collections.abc import Callable

from devkit.apiserver import objects, removal, resources, store

_Lookup = Callable[[str, str], resources.Resource | None]


class Collector:
    """Deletes dependants whose owners are gone and empties namespaces that are being deleted.

    Args:
        kept: the store.
        remover: deletes.
        find: resource by group and kind; None for kinds that are not served.
    """

    def __init__(self, kept: store.Store, remover: removal.Remover, find: _Lookup) -> None:
        self._store = kept
        self._remover = remover
        self._find = find

    def collect(self) -> int:
        """Work until nothing is left to do; return how many objects were deleted or changed."""
        total = 0
        while done := self._round():
            total += done
        return total

    def _round(self) -> int:
        done = 0
        for storage in self._store.storages():
            for entry in self._store.entries(storage):
                if self._is_current(storage, entry):
                    done += self._attend(storage, entry)
        return done + self._empty_namespaces()

    def _is_current(self, storage: str, entry: store.Entry) -> bool:
        return self._store.get(storage, *objects.key_of(entry.obj)) is entry

    def _attend(self, storage: str, entry: store.Entry) -> int:
        meta = entry.obj["metadata"]
        if "deletionTimestamp" in meta:
            return self._finish(storage, entry)
        owners = meta.get("ownerReferences") or []
        if not owners:
            return 0
        alive = [owner for owner in owners if self._is_alive(owner, entry.obj)]
        solid = [owner for owner in alive if not self._is_waiting(owner)]
        if solid:
            if len(solid) == len(owners):
                return 0
            # Somebody still needs it: only the references that lead nowhere go.
            self._set_owners(storage, entry, solid)
            return 1
        policy = "Foreground" if alive and self._has_dependants(entry.obj) else "Background"
        self._remover.begin(storage, entry, removal.Options(propagation=policy))
        return 1

    def _is_alive(self, owner: objects.Object, dependant: objects.Object) -> bool:
        """Whether an owner is there; kinds that are not served get the benefit of the doubt."""
        resource = self._find(objects.group_of(owner["apiVersion"]), owner["kind"])
        if resource is None:
            return True
        namespace = objects.namespace_of(dependant) if resource.namespaced else ""
        entry = self._store.get(resource.storage_key, namespace, owner["name"])
        return entry is not None and objects.uid_of(entry.obj) == owner["uid"]

    def _is_waiting(self, owner: objects.Object) -> bool:
        """Whether an owner is being deleted in the foreground and waits for this dependant."""
        entry = self._store.by_uid(owner["uid"])
        if entry is None or not owner.get("blockOwnerDeletion"):
            return False
        meta = entry.obj["metadata"]
        return "deletionTimestamp" in meta and removal.FOREGROUND in meta.get("finalizers", [])

    def _dependants(self, owner: objects.Object) -> list[tuple[str, store.Entry]]:
        uid = objects.uid_of(owner)
        return [
            (storage, entry)
            for storage in self._store.storages()
            for entry in self._store.entries(storage)
            if any(
                reference["uid"] == uid
                for reference in entry.obj["metadata"].get("ownerReferences") or ()
            )
        ]

    def _has_dependants(self, owner: objects.Object) -> bool:
        return bool(self._dependants(owner))

    def _finish(self, storage: str, entry: store.Entry) -> int:
        """Take the collector's own finalizers from an object when what they wait for is done."""
        finalizers = entry.obj["metadata"].get("finalizers", [])
        if removal.ORPHAN in finalizers:
            uid = objects.uid_of(entry.obj)
            for place, dependant in self._dependants(entry.obj):
                owners = [
                    owner
                    for owner in dependant.obj["metadata"]["ownerReferences"]
                    if owner["uid"] != uid
                ]
                self._set_owners(place, dependant, owners)
            return self._drop_finalizer(storage, entry, removal.ORPHAN)
        if removal.FOREGROUND in finalizers:
            blocking = [
                dependant
                for _, dependant in self._dependants(entry.obj)
                for owner in dependant.obj["metadata"]["ownerReferences"]
                if owner["uid"] == objects.uid_of(entry.obj) and owner.get("blockOwnerDeletion")
            ]
            if not blocking:
                return self._drop_finalizer(storage, entry, removal.FOREGROUND)
        return 0

    def _drop_finalizer(self, storage: str, entry: store.Entry, name: str) -> int:
        obj = objects.copy(entry.obj)
        left = [item for item in obj["metadata"]["finalizers"] if item != name]
        if left:
            obj["metadata"]["finalizers"] = left
        else:
            del obj["metadata"]["finalizers"]
        if self._remover.is_finished(storage, obj):
            self._remover.remove(storage, *objects.key_of(obj))
        else:
            self._store.put(storage, obj)
        return 1

    def _set_owners(self, storage: str, entry: store.Entry, owners: list[objects.Object]) -> None:
        obj = objects.copy(entry.obj)
        if owners:
            obj["metadata"]["ownerReferences"] = owners
        else:
            obj["metadata"].pop("ownerReferences", None)
        self._store.put(storage, obj)

    def _empty_namespaces(self) -> int:
        done = 0
        for entry in self._store.entries("namespaces"):
            if "deletionTimestamp" not in entry.obj["metadata"]:
                continue
            contents = [
                (storage, inner)
                for storage in self._store.storages()
                for inner in self._store.entries(storage, objects.name_of(entry.obj))
            ]
            for storage, inner in contents:
                if "deletionTimestamp" not in inner.obj["metadata"]:
                    self._remover.begin(storage, inner, removal.Options())
                    done += 1
            if not contents:
                self._remover.remove("namespaces", "", objects.name_of(entry.obj))
                done += 1
        return done
