"""Watches: what is told, in which form, and how they begin and end."""

import concurrent.futures
import itertools
import queue
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from devkit.apiserver import client, cluster

MERGE = "application/merge-patch+json"
METADATA = "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1"
Event = tuple[str, dict[str, Any]]


@pytest.fixture
def past(api: cluster.Cluster) -> tuple[str, str]:
    """A history in the namespace's Secrets; the versions before it and in the middle."""
    path = api.at("secrets")

    def version() -> str:
        found = api.client.request("GET", path).obj
        return str(found["metadata"]["resourceVersion"])

    def label(name: str, value: str) -> None:
        body = {"metadata": {"labels": {"l": value}}}
        api.client.request("PATCH", f"{path}/{name}", body, content_type=MERGE).decoded()

    before = version()
    api.client.request("POST", path, {"metadata": {"name": "a", "labels": {"l": "1"}}})
    api.client.request("POST", path, {"metadata": {"name": "b"}})
    middle = version()
    label("a", "2")
    label("b", "1")
    label("b", "1")
    api.client.request("DELETE", f"{path}/a")
    return before, middle


def watch(api: cluster.Cluster, query: str, accept: str = "application/json") -> list[Event]:
    path = f"{api.at('secrets')}?watch=1&timeoutSeconds=1&{query}"
    return list(api.client.watch(path, accept=accept))


def brief(events: list[Event]) -> list[tuple[str, str, str]]:
    return [
        (kind, obj["metadata"]["name"], obj["metadata"].get("labels", {}).get("l", ""))
        for kind, obj in events
    ]


def test_changes_since_a_version(api: cluster.Cluster, past: tuple[str, str]) -> None:
    events = watch(api, f"resourceVersion={past[0]}")
    assert brief(events) == [
        ("ADDED", "a", "1"),
        ("ADDED", "b", ""),
        ("MODIFIED", "a", "2"),
        ("MODIFIED", "b", "1"),
        ("DELETED", "a", "2"),
    ]
    versions = [int(obj["metadata"]["resourceVersion"]) for _, obj in events]
    assert versions == sorted(set(versions))
    assert all(obj["kind"] == "Secret" for _, obj in events)


def test_changes_since_the_middle(api: cluster.Cluster, past: tuple[str, str]) -> None:
    assert brief(watch(api, f"resourceVersion={past[1]}")) == [
        ("MODIFIED", "a", "2"),
        ("MODIFIED", "b", "1"),
        ("DELETED", "a", "2"),
    ]


@pytest.mark.usefixtures("past")
@pytest.mark.parametrize("query", ["", "resourceVersion=0"])
def test_without_a_version_the_state_comes_first(api: cluster.Cluster, query: str) -> None:
    assert brief(watch(api, query)) == [("ADDED", "b", "1")]


def test_coming_into_a_selection_and_leaving_it(
    api: cluster.Cluster, past: tuple[str, str]
) -> None:
    events = watch(api, f"resourceVersion={past[0]}&labelSelector=l%3D1")
    assert brief(events) == [("ADDED", "a", "1"), ("DELETED", "a", "1"), ("ADDED", "b", "1")]


def test_one_object_by_field(api: cluster.Cluster, past: tuple[str, str]) -> None:
    events = watch(api, f"resourceVersion={past[0]}&fieldSelector=metadata.name%3Db")
    assert brief(events) == [("ADDED", "b", ""), ("MODIFIED", "b", "1")]


def test_the_old_path_of_watches(api: cluster.Cluster, past: tuple[str, str]) -> None:
    path = f"/api/v1/watch/namespaces/{api.namespace}/secrets"
    query = f"timeoutSeconds=1&resourceVersion={past[0]}"
    assert len(list(api.client.watch(f"{path}?{query}"))) == 5
    assert len(list(api.client.watch(f"{path}/b?{query}"))) == 2


def test_metadata_only(api: cluster.Cluster, past: tuple[str, str]) -> None:
    events = watch(api, f"resourceVersion={past[1]}", METADATA)
    assert [kind for kind, _ in events] == ["MODIFIED", "MODIFIED", "DELETED"]
    for _, obj in events:
        assert obj.keys() == {"kind", "apiVersion", "metadata"}
        assert (obj["kind"], obj["apiVersion"]) == ("PartialObjectMetadata", "meta.k8s.io/v1")


def test_a_removed_finalizer_is_not_told_apart(api: cluster.Cluster) -> None:
    path = api.at("secrets")
    body = {"metadata": {"name": "a", "finalizers": ["example.com/x"]}}
    start = api.client.request("POST", path, body).obj["metadata"]["resourceVersion"]
    api.client.request("DELETE", f"{path}/a")
    none = {"metadata": {"finalizers": None}}
    api.client.request("PATCH", f"{path}/a", none, content_type=MERGE)
    events = watch(api, f"resourceVersion={start}")
    assert [kind for kind, _ in events] == ["MODIFIED", "DELETED"]
    assert events[1][1]["metadata"]["finalizers"] == ["example.com/x"]


def test_the_state_can_be_marked_complete(api: cluster.Cluster) -> None:
    api.client.request("POST", api.at("secrets"), {"metadata": {"name": "a"}})
    query = "sendInitialEvents=true&resourceVersionMatch=NotOlderThan&allowWatchBookmarks=true"
    events = watch(api, query)
    assert [kind for kind, _ in events] == ["ADDED", "BOOKMARK"]
    assert events[1][1]["metadata"]["annotations"] == {"k8s.io/initial-events-end": "true"}


@pytest.mark.parametrize(
    ("query", "code"),
    [
        ("resourceVersion=x", 500),
        ("sendInitialEvents=true", 422),
        ("resourceVersion=1&resourceVersionMatch=Exact", 422),
        ("labelSelector=a%3D%3D%3Db", 400),
    ],
)
def test_bad_watch_options_are_refused(api: cluster.Cluster, query: str, code: int) -> None:
    path = f"{api.at('secrets')}?watch=1&timeoutSeconds=1&{query}"
    assert api.client.request("GET", path).code == code


def test_a_version_long_gone(api: cluster.Cluster) -> None:
    # The real server keeps nothing of a custom resource from before it was defined.
    path = f"{api.pod_statuses()}?watch=1&timeoutSeconds=1&resourceVersion=1"
    events = list(api.client.watch(path))
    assert [kind for kind, _ in events] == ["ERROR"]
    status = events[0][1]
    assert (status["kind"], status["code"], status["reason"]) == ("Status", 410, "Expired")
    assert status["message"].startswith("too old resource version: 1 (")


class Follower:
    """Reads a watch in a thread of its own and hands its events over."""

    def __init__(self, made: client.Client, path: str, accept: str = "application/json") -> None:
        self._events: queue.Queue[Event | None] = queue.Queue()
        self._thread = threading.Thread(target=self._follow, args=(made, path, accept), daemon=True)
        self._thread.start()

    def _follow(self, made: client.Client, path: str, accept: str) -> None:
        try:
            for event in made.watch(path, accept=accept):
                self._events.put(event)
        except client.Unreachable:
            pass
        self._events.put(None)

    def next(self) -> Event | None:
        return self._events.get(timeout=4)

    def __iter__(self) -> Iterator[Event]:
        return iter(self.next, None)


def test_changes_are_told_as_they_happen(api: cluster.Cluster) -> None:
    path = api.at("secrets")
    version = api.client.request("GET", path).obj["metadata"]["resourceVersion"]
    follower = Follower(api.client, f"{path}?watch=1&timeoutSeconds=3&resourceVersion={version}")
    for number in range(3):
        name = f"s{number}"
        api.client.request("POST", path, {"metadata": {"name": name}})
        event = follower.next()
        assert event is not None
        assert (event[0], event[1]["metadata"]["name"]) == ("ADDED", name)


def test_many_watchers_see_the_same(api: cluster.Cluster) -> None:
    path = api.at("secrets")
    version = api.client.request("GET", path).obj["metadata"]["resourceVersion"]
    query = f"watch=1&timeoutSeconds=2&resourceVersion={version}"
    followers = [Follower(api.client, f"{path}?{query}") for _ in range(10)]

    def create(number: int) -> int:
        return api.client.request("POST", path, {"metadata": {"name": f"s{number}"}}).code

    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        assert set(pool.map(create, range(20))) == {201}
    seen = [[obj["metadata"]["name"] for _, obj in follower] for follower in followers]
    assert len(seen[0]) == 20
    assert all(one == other for one, other in itertools.pairwise(seen))
