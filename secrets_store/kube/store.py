"""What the watches have told, indexed for the driver. Lives on the event loop, without locks.

Each store takes a reflector's events through ``on_event``. ``connected`` says that every change
is being heard of; ``ready`` is set once that was so for the first time. A watch that is down
leaves the last knowledge of pods and status objects in place, and none of classes: a class
decides what a pod gets, so it is read again rather than believed.
"""

import abc
import asyncio
import contextlib
import dataclasses
from collections.abc import Callable, Iterator
from typing import Any, Generic, TypeVar

from secrets_store.kube import reflector
from secrets_store.model import provider_class

Json = dict[str, Any]
Key = tuple[str, str]
T = TypeVar("T")


@dataclasses.dataclass(frozen=True, slots=True)
class Wishes:
    """The annotations that users steer refreshing with, as written; empty when absent."""

    rotation_interval: str = ""
    refresh_requested_at: str = ""

    @classmethod
    def of(cls, metadata: Json) -> "Wishes":
        annotations = metadata.get("annotations") or {}
        interval = annotations.get(provider_class.ROTATION_INTERVAL, "")
        requested = annotations.get(provider_class.REFRESH_REQUESTED_AT, "")
        return cls(interval, requested) if interval or requested else NO_WISHES


NO_WISHES = Wishes()


@dataclasses.dataclass(frozen=True, slots=True)
class Owner:
    """One owner reference."""

    api_version: str
    kind: str
    name: str
    uid: str
    controller: bool


@dataclasses.dataclass(frozen=True, slots=True)
class Pod:
    """What is kept of a pod; ``terminating`` once it has a deletion timestamp."""

    uid: str
    namespace: str
    name: str
    terminating: bool
    owners: tuple[Owner, ...]
    wishes: Wishes

    @classmethod
    def from_dict(cls, obj: Json) -> "Pod":
        metadata = obj["metadata"]
        owners = tuple(
            Owner(
                api_version=owner.get("apiVersion", ""),
                kind=owner.get("kind", ""),
                name=owner.get("name", ""),
                uid=owner.get("uid", ""),
                controller=owner.get("controller") is True,
            )
            for owner in metadata.get("ownerReferences") or ()
        )
        return cls(
            uid=metadata["uid"],
            namespace=metadata.get("namespace", ""),
            name=metadata["name"],
            terminating=bool(metadata.get("deletionTimestamp")),
            owners=owners,
            wishes=Wishes.of(metadata),
        )


@dataclasses.dataclass(frozen=True, slots=True)
class Class:
    """What is kept of a SecretProviderClass."""

    namespace: str
    name: str
    uid: str
    resource_version: str
    generation: int
    wishes: Wishes

    @classmethod
    def from_dict(cls, obj: Json) -> "Class":
        metadata = obj["metadata"]
        return cls(
            namespace=metadata.get("namespace", ""),
            name=metadata["name"],
            uid=metadata.get("uid", ""),
            resource_version=metadata.get("resourceVersion", ""),
            generation=int(metadata.get("generation") or 0),
            wishes=Wishes.of(metadata),
        )


@dataclasses.dataclass(frozen=True, slots=True)
class Status:
    """What is kept of a SecretProviderClassPodStatus."""

    namespace: str
    name: str
    uid: str
    resource_version: str

    @classmethod
    def from_dict(cls, obj: Json) -> "Status":
        metadata = obj["metadata"]
        return cls(
            namespace=metadata.get("namespace", ""),
            name=metadata["name"],
            uid=metadata.get("uid", ""),
            resource_version=metadata.get("resourceVersion", ""),
        )


class _Follower(abc.ABC, Generic[T]):
    """The part of a store that knows whether its watch is up."""

    def __init__(self) -> None:
        self.connected = False
        self.ready = asyncio.Event()

    def on_event(self, event: reflector.Event[T]) -> None:
        """Take one event of the reflector."""
        match event:
            case reflector.Added(item) | reflector.Modified(item):
                self._set(item)
            case reflector.Deleted(item):
                self._drop(item)
            case reflector.Replaced(items):
                self._replace(items)
            case reflector.Synced():
                self.connected = True
                self.ready.set()
            case reflector.Stale():
                self.connected = False
                self._doubt()

    @abc.abstractmethod
    def _set(self, item: T) -> None:
        """Take an object that is new or has changed."""

    @abc.abstractmethod
    def _drop(self, item: T) -> None:
        """Take an object that is gone."""

    @abc.abstractmethod
    def _replace(self, items: tuple[T, ...]) -> None:
        """Start anew."""

    @abc.abstractmethod
    def _doubt(self) -> None:
        """Take that the watch is down."""


class Pods(_Follower[Pod]):
    """This node's pods, by uid.

    Args:
        on_wish: Told a pod whose annotations of ours are new or have changed, and whether the pod
            was known without them.
    """

    def __init__(self, on_wish: Callable[[Pod, bool], None] = lambda pod, known: None) -> None:
        super().__init__()
        self._on_wish = on_wish
        self._pods: dict[str, Pod] = {}
        self._waiting: dict[str, list[asyncio.Future[str]]] = {}

    def get(self, uid: str) -> Pod | None:
        """Return a pod; None if it is not known, which does not mean that there is none."""
        return self._pods.get(uid)

    def uids(self) -> frozenset[str]:
        """Return all pods known."""
        return frozenset(self._pods)

    @contextlib.contextmanager
    def ending(self, uid: str) -> "Iterator[asyncio.Future[str]]":
        """Lend a future that gets a reason once the pod is being deleted or gone.

        A pod that is not known yet is waited for: kubelet may be faster than the watch.
        """
        future: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self._waiting.setdefault(uid, []).append(future)
        pod = self._pods.get(uid)
        if pod is not None and pod.terminating:
            future.set_result("the pod is being deleted")
        try:
            yield future
        finally:
            self._waiting[uid].remove(future)
            if not self._waiting[uid]:
                del self._waiting[uid]
            future.cancel()

    def _set(self, item: Pod) -> None:
        before = self._pods.get(item.uid)
        self._pods[item.uid] = item
        if item.terminating:
            self._end(item.uid, "the pod is being deleted")
        if item.wishes != (before.wishes if before else NO_WISHES):
            self._on_wish(item, before is not None)

    def _drop(self, item: Pod) -> None:
        self._pods.pop(item.uid, None)
        self._end(item.uid, "the pod is gone")

    def _replace(self, items: tuple[Pod, ...]) -> None:
        for uid in self._pods.keys() - {item.uid for item in items}:
            self._drop(self._pods[uid])
        for item in items:
            self._set(item)

    def _doubt(self) -> None:
        # A pod's end is only ever learned, never guessed; what is known stays useful.
        pass

    def _end(self, uid: str, reason: str) -> None:
        for future in self._waiting.get(uid, ()):
            if not future.done():
                future.set_result(reason)


@dataclasses.dataclass(slots=True)
class _InUse:
    """One class in use: what the watch, or a read, last said, and the object last read.

    ``seen`` stays for comparison when it is no longer sure; only ``sure`` makes it count.
    """

    seen: Class | None = None
    sure: bool = False
    obj: Json | None = None


class Classes(_Follower[Class]):
    """The classes in use on this node; others are forgotten as soon as they are heard of.

    A cached object is current if it has the very version that the watch has last told, because
    an annotation does not change the generation.

    Args:
        on_change: Told namespace and name of a class in use that is new, has another generation
            or other annotations of ours, is deleted, or may have changed while nobody listened.
    """

    def __init__(
        self, on_change: Callable[[str, str], None] = lambda namespace, name: None
    ) -> None:
        super().__init__()
        self._on_change = on_change
        self._in_use: dict[Key, _InUse] = {}

    def remember(self, namespace: str, name: str) -> None:
        """Keep track of a class from now on; to be called before it is read."""
        self._in_use.setdefault((namespace, name), _InUse())

    def forget(self, namespace: str, name: str) -> None:
        """Let go of a class that no volume uses any more."""
        self._in_use.pop((namespace, name), None)

    def current_generation(self, namespace: str, name: str) -> int | None:
        """Return a class's generation; None if it is not known for sure."""
        found = self._in_use.get((namespace, name))
        if found is None or not (self.connected and found.sure and found.seen):
            return None
        return found.seen.generation

    def cached(self, namespace: str, name: str) -> Json | None:
        """Return the object last put, if it is still what the API server has."""
        found = self._in_use.get((namespace, name))
        if found is None or not (self.connected and found.sure and found.seen and found.obj):
            return None
        version = found.obj["metadata"].get("resourceVersion")
        return found.obj if version == found.seen.resource_version else None

    def last_read(self, namespace: str, name: str) -> Json | None:
        """Return the object last put, however old; for times when nobody can be asked."""
        found = self._in_use.get((namespace, name))
        return found.obj if found is not None else None

    def put(self, obj: Json) -> None:
        """Keep an object that was just read; nothing is kept of a class not in use.

        If the watch has already told of another version, it stays the judge: either its event
        for this one is still to come, or this one is already old.
        """
        facts = Class.from_dict(obj)
        found = self._in_use.get((facts.namespace, facts.name))
        if found is None:
            return
        found.obj = obj
        if not found.sure:
            found.seen, found.sure = facts, True

    def _set(self, item: Class) -> None:
        found = self._in_use.get((item.namespace, item.name))
        if found is None:
            return
        before, found.seen, found.sure = found.seen, item, True
        # Not known before: new, or back after it was deleted, for which its volumes wait.
        if before is None or _facts(before) != _facts(item):
            self._on_change(item.namespace, item.name)

    def _drop(self, item: Class) -> None:
        found = self._in_use.get((item.namespace, item.name))
        if found is not None:
            found.seen, found.sure, found.obj = None, False, None
            self._on_change(item.namespace, item.name)

    def _replace(self, items: tuple[Class, ...]) -> None:
        # What happened between the old watch and the new one, nobody will tell.
        self._doubt()
        for (namespace, name), found in list(self._in_use.items()):
            if found.seen is not None:
                self._on_change(namespace, name)

    def _doubt(self) -> None:
        for found in self._in_use.values():
            found.sure = False


def _facts(item: Class) -> tuple[str, int, Wishes]:
    return item.uid, item.generation, item.wishes


class Statuses(_Follower[Status]):
    """This node's SecretProviderClassPodStatuses.

    Args:
        on_change: Told namespace and name of an object that is new, changed or gone, by whomever.
    """

    def __init__(
        self, on_change: Callable[[str, str], None] = lambda namespace, name: None
    ) -> None:
        super().__init__()
        self._on_change = on_change
        self._known: dict[Key, Status] = {}

    def version(self, namespace: str, name: str) -> str | None:
        """Return an object's resourceVersion; None if it is unknown or the watch is down."""
        found = self._known.get((namespace, name))
        return found.resource_version if found is not None and self.connected else None

    def get(self, namespace: str, name: str) -> Status | None:
        """Return what was last heard of an object, even if the watch is down."""
        return self._known.get((namespace, name))

    def all(self) -> tuple[Status, ...]:
        """Return all objects known."""
        return tuple(self._known.values())

    def _set(self, item: Status) -> None:
        before = self._known.get((item.namespace, item.name))
        self._known[item.namespace, item.name] = item
        if before != item:
            self._on_change(item.namespace, item.name)

    def _drop(self, item: Status) -> None:
        if self._known.pop((item.namespace, item.name), None) is not None:
            self._on_change(item.namespace, item.name)

    def _replace(self, items: tuple[Status, ...]) -> None:
        kept = {(item.namespace, item.name) for item in items}
        for key in self._known.keys() - kept:
            self._drop(self._known[key])
        for item in items:
            self._set(item)

    def _doubt(self) -> None:
        # `version` looks at `connected`; the rest is for those who want the last word heard.
        pass
