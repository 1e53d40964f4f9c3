import asyncio
from typing import Any

import pytest

from secrets_store.kube import reflector, store
from secrets_store.model import provider_class

Added, Modified, Deleted = reflector.Added, reflector.Modified, reflector.Deleted
Replaced, Synced, Stale = reflector.Replaced, reflector.Synced, reflector.Stale


def meta(name: str, **more: Any) -> dict[str, Any]:
    return {"metadata": {"name": name, "namespace": "web", "uid": f"uid-{name}", **more}}


def pod(name: str, **more: Any) -> store.Pod:
    return store.Pod.from_dict(meta(name, **more))


def refresh(at: str) -> dict[str, str]:
    return {provider_class.REFRESH_REQUESTED_AT: at}


class TestProjections:
    def test_pod(self) -> None:
        owner = {
            "apiVersion": "apps/v1",
            "kind": "ReplicaSet",
            "name": "r",
            "uid": "u",
            "controller": True,
            "blockOwnerDeletion": True,
        }
        found = pod(
            "a",
            ownerReferences=[owner],
            deletionTimestamp="2026-01-01T00:00:00Z",
            annotations={provider_class.ROTATION_INTERVAL: "5m", **refresh("now"), "other": "x"},
        )
        assert found == store.Pod(
            uid="uid-a",
            namespace="web",
            name="a",
            terminating=True,
            owners=(store.Owner("apps/v1", "ReplicaSet", "r", "u", True),),
            wishes=store.Wishes("5m", "now"),
        )

    def test_pod_with_nothing(self) -> None:
        found = pod("a", annotations=None, ownerReferences=None)
        assert (found.terminating, found.owners) == (False, ())
        assert found.wishes is store.NO_WISHES

    def test_class(self) -> None:
        found = store.Class.from_dict(meta("c", resourceVersion="7", generation=3))
        assert found == store.Class("web", "c", "uid-c", "7", 3, store.NO_WISHES)

    def test_status(self) -> None:
        found = store.Status.from_dict(meta("s", resourceVersion="7"))
        assert found == store.Status("web", "s", "uid-s", "7")


class TestPods:
    def test_connection(self) -> None:
        pods = store.Pods()
        assert not pods.connected
        assert not pods.ready.is_set()
        seen = []
        for event in (Synced(), Stale("x"), Synced()):
            pods.on_event(event)
            seen.append((pods.connected, pods.ready.is_set()))
        assert seen == [(True, True), (False, True), (True, True)]

    def test_index(self) -> None:
        pods = store.Pods()
        pods.on_event(Replaced((pod("a"), pod("b"))))
        pods.on_event(Added(pod("c")))
        pods.on_event(Deleted(pod("b")))
        assert pods.uids() == {"uid-a", "uid-c"}
        assert pods.get("uid-a") == pod("a")
        assert pods.get("uid-b") is None
        pods.on_event(Replaced((pod("d"),)))
        assert pods.uids() == {"uid-d"}
        pods.on_event(Stale("x"))
        assert pods.uids() == {"uid-d"}

    def test_wishes_are_told_when_they_change(self) -> None:
        told: list[tuple[store.Pod, bool]] = []
        pods = store.Pods(lambda pod, known: told.append((pod, known)))
        first, second = pod("a", annotations=refresh("1")), pod("a", annotations=refresh("2"))
        for event in (Added(pod("a")), Added(pod("b")), Modified(first), Modified(first)):
            pods.on_event(event)
        assert told == [(first, True)]
        pods.on_event(Replaced((second, pod("b"))))
        pods.on_event(Modified(pod("a")))
        assert told == [(first, True), (second, True), (pod("a"), True)]
        newcomer = pod("c", annotations=refresh("3"))
        pods.on_event(Added(newcomer))
        assert told[3:] == [(newcomer, False)]

    @pytest.mark.parametrize(
        ("event", "reason"),
        [
            (Modified(pod("a", deletionTimestamp="x")), "the pod is being deleted"),
            (Deleted(pod("a")), "the pod is gone"),
            (Replaced(()), "the pod is gone"),
            (Replaced((pod("a", deletionTimestamp="x"),)), "the pod is being deleted"),
        ],
    )
    async def test_ending(self, event: reflector.Event[store.Pod], reason: str) -> None:
        pods = store.Pods()
        pods.on_event(Added(pod("a")))
        with pods.ending("uid-a") as one, pods.ending("uid-a") as two, pods.ending("uid-b") as b:
            pods.on_event(Modified(pod("a")))
            assert not one.done()
            pods.on_event(event)
            assert await one == await two == reason
            assert not b.done()
            pods.on_event(Deleted(pod("a")))
        assert not pods._waiting

    async def test_ending_of_a_pod_already_known_to_end(self) -> None:
        pods = store.Pods()
        pods.on_event(Added(pod("a", deletionTimestamp="x")))
        with pods.ending("uid-a") as ending:
            assert ending.done()

    async def test_ending_of_a_pod_not_known_yet(self) -> None:
        pods = store.Pods()
        pods.on_event(Replaced(()))
        with pods.ending("uid-a") as ending:
            pods.on_event(Replaced(()))
            assert not ending.done(), "kubelet is faster than the watch"
            pods.on_event(Added(pod("a")))
            assert not ending.done()
            pods.on_event(Deleted(pod("a")))
            assert ending.done()

    async def test_ending_leaves_no_future_behind(self) -> None:
        pods = store.Pods()
        with pods.ending("uid-a") as ending:
            waiter = asyncio.ensure_future(asyncio.wait({ending}))
            await asyncio.sleep(0)
        await waiter
        assert ending.cancelled()


def a_class(version: str, generation: int = 1, **more: Any) -> dict[str, Any]:
    return meta("c", resourceVersion=version, generation=generation, **more)


def heard(version: str, generation: int = 1, **more: Any) -> store.Class:
    return store.Class.from_dict(a_class(version, generation, **more))


class TestClasses:
    @pytest.fixture
    def told(self) -> list[tuple[str, str]]:
        return []

    @pytest.fixture
    def classes(self, told: list[tuple[str, str]]) -> store.Classes:
        made = store.Classes(lambda namespace, name: told.append((namespace, name)))
        made.on_event(Replaced(()))
        made.on_event(Synced())
        made.remember("web", "c")
        return made

    def test_current_while_the_watch_is_silent(self, classes: store.Classes) -> None:
        assert classes.cached("web", "c") is None
        assert classes.current_generation("web", "c") is None
        classes.put(a_class("5", 2))
        assert classes.cached("web", "c") == a_class("5", 2)
        assert classes.current_generation("web", "c") == 2

    def test_not_current_without_a_watch(self) -> None:
        classes = store.Classes()
        classes.remember("web", "c")
        classes.put(a_class("5"))
        assert classes.cached("web", "c") is None
        assert classes.current_generation("web", "c") is None
        classes.on_event(Replaced(()))
        classes.on_event(Synced())
        assert classes.cached("web", "c") is None, "read before the watch began"
        classes.put(a_class("5"))
        assert classes.cached("web", "c")

    def test_read_between_list_and_watch_is_current(self) -> None:
        classes = store.Classes()
        classes.remember("web", "c")
        classes.on_event(Replaced(()))
        classes.put(a_class("5"))
        classes.on_event(Synced())
        assert classes.cached("web", "c")

    def test_change_outdates_the_object_and_is_told(
        self, classes: store.Classes, told: list[Any]
    ) -> None:
        classes.put(a_class("5", 2))
        classes.on_event(Modified(heard("6", 3)))
        assert told == [("web", "c")]
        assert classes.cached("web", "c") is None
        assert classes.current_generation("web", "c") == 3
        classes.put(a_class("6", 3))
        assert classes.cached("web", "c") == a_class("6", 3)

    def test_annotation_outdates_the_object_though_the_generation_stays(
        self, classes: store.Classes, told: list[Any]
    ) -> None:
        classes.put(a_class("5"))
        classes.on_event(Modified(heard("6", annotations=refresh("now"))))
        assert told == [("web", "c")]
        assert classes.cached("web", "c") is None

    def test_one_that_is_made_anew_is_told(self, classes: store.Classes, told: list[Any]) -> None:
        classes.put(a_class("5"))
        classes.on_event(Deleted(heard("6")))
        classes.on_event(Added(heard("7")))
        assert told == [("web", "c")] * 2

    def test_change_of_something_else_is_not_told(
        self, classes: store.Classes, told: list[Any]
    ) -> None:
        classes.put(a_class("5"))
        classes.on_event(Modified(heard("6", labels={"a": "b"})))
        assert told == []
        assert classes.cached("web", "c") is None

    def test_read_older_than_what_was_heard_is_not_current(self, classes: store.Classes) -> None:
        classes.on_event(Modified(heard("6", 3)))
        classes.put(a_class("5", 2))
        assert classes.cached("web", "c") is None
        assert classes.current_generation("web", "c") == 3

    def test_read_newer_than_what_was_heard_becomes_current(self, classes: store.Classes) -> None:
        classes.on_event(Modified(heard("6", 3)))
        classes.put(a_class("7", 4))
        assert classes.cached("web", "c") is None
        classes.on_event(Modified(heard("7", 4)))
        assert classes.cached("web", "c") == a_class("7", 4)

    def test_deletion(self, classes: store.Classes, told: list[Any]) -> None:
        classes.put(a_class("5"))
        classes.on_event(Deleted(heard("6")))
        assert told == [("web", "c")]
        assert classes.cached("web", "c") is None
        assert classes.current_generation("web", "c") is None

    def test_made_anew_is_a_change(self, classes: store.Classes, told: list[Any]) -> None:
        classes.put(a_class("5"))
        classes.on_event(Modified(heard("9", 1, uid="another")))
        assert told == [("web", "c")]

    def test_others_are_not_kept(self, classes: store.Classes, told: list[Any]) -> None:
        other = store.Class.from_dict(meta("other", resourceVersion="1", generation=1))
        for event in (Added(other), Modified(other), Deleted(other)):
            classes.on_event(event)
        classes.put(meta("other", resourceVersion="1", generation=1))
        assert told == []
        assert classes.cached("web", "other") is None
        assert classes.current_generation("web", "other") is None

    def test_forgotten(self, classes: store.Classes) -> None:
        classes.put(a_class("5"))
        classes.forget("web", "c")
        classes.forget("web", "c")
        assert classes.cached("web", "c") is None

    def test_remembering_again_keeps_what_is_known(self, classes: store.Classes) -> None:
        classes.put(a_class("5"))
        classes.remember("web", "c")
        assert classes.cached("web", "c")

    def test_gap_makes_everything_doubtful(self, classes: store.Classes, told: list[Any]) -> None:
        classes.put(a_class("5", 2))
        classes.on_event(Stale("x"))
        assert classes.cached("web", "c") is None
        assert classes.current_generation("web", "c") is None
        classes.on_event(Synced())
        assert classes.cached("web", "c") is None
        assert classes.current_generation("web", "c") is None, "its event may be on the way"
        assert told == []

    def test_change_during_a_gap_is_told_when_it_is_heard(
        self, classes: store.Classes, told: list[Any]
    ) -> None:
        classes.put(a_class("5", 2))
        classes.on_event(Stale("x"))
        classes.on_event(Synced())
        classes.on_event(Modified(heard("6", 3)))
        assert told == [("web", "c")]

    def test_starting_anew_asks_to_look_again(
        self, classes: store.Classes, told: list[Any]
    ) -> None:
        classes.remember("web", "never read")
        classes.put(a_class("5", 2))
        classes.on_event(Stale("x"))
        classes.on_event(Replaced(()))
        classes.on_event(Synced())
        assert told == [("web", "c")]
        assert classes.current_generation("web", "c") is None


class TestStatuses:
    def status(self, name: str, version: str) -> store.Status:
        return store.Status.from_dict(meta(name, resourceVersion=version))

    def test_versions_and_changes(self) -> None:
        told: list[str] = []
        statuses = store.Statuses(lambda namespace, name: told.append(name))
        statuses.on_event(Replaced((self.status("a", "1"), self.status("b", "2"))))
        assert statuses.version("web", "a") is None, "the watch is not up"
        statuses.on_event(Synced())
        assert statuses.version("web", "a") == "1"
        statuses.on_event(Modified(self.status("a", "3")))
        statuses.on_event(Modified(self.status("a", "3")))
        statuses.on_event(Deleted(self.status("b", "4")))
        statuses.on_event(Deleted(self.status("b", "4")))
        assert told == ["a", "b", "a", "b"]
        assert statuses.version("web", "a") == "3"
        assert statuses.version("web", "b") is None
        statuses.on_event(Replaced((self.status("a", "3"), self.status("c", "5"))))
        assert told[4:] == ["c"]
        statuses.on_event(Replaced((self.status("c", "5"),)))
        assert told[5:] == ["a"]
        assert statuses.all() == (self.status("c", "5"),)

    def test_watch_that_is_down(self) -> None:
        statuses = store.Statuses()
        statuses.on_event(Synced())
        statuses.on_event(Added(self.status("a", "1")))
        statuses.on_event(Stale("x"))
        assert statuses.version("web", "a") is None
        assert statuses.get("web", "a") == self.status("a", "1")
