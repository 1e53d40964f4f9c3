from typing import Any

import pytest

from devkit.apiserver import errors, store


def put(kept: store.Store, name: str, namespace: str = "n", **fields: Any) -> store.Entry:
    meta = {"name": name, "namespace": namespace, "uid": f"uid-{name}"}
    return kept.put("things", {"metadata": meta, **fields})


def names(entries: list[store.Entry]) -> list[str]:
    return [entry.obj["metadata"]["name"] for entry in entries]


@pytest.fixture
def kept() -> store.Store:
    return store.Store(history_limit=10)


def test_every_change_has_a_version_of_its_own(kept: store.Store) -> None:
    first, second = put(kept, "a"), put(kept, "b")
    assert second.version == first.version + 1 == kept.version
    assert second.obj["metadata"]["resourceVersion"] == str(second.version)
    gone = kept.remove("things", "n", "a")
    assert gone.obj["metadata"]["resourceVersion"] == str(kept.version)
    assert first.obj["metadata"]["resourceVersion"] == str(first.version)


def test_objects_are_found_by_key_and_uid(kept: store.Store) -> None:
    entry = put(kept, "a")
    assert kept.get("things", "n", "a") is entry
    assert kept.by_uid("uid-a") is entry
    assert kept.all_of("things") == [entry.obj]
    assert kept.storages() == ["things"]
    kept.remove("things", "n", "a")
    assert kept.get("things", "n", "a") is None
    assert kept.by_uid("uid-a") is None
    assert kept.all_of("none") == []


def test_lists_are_in_the_order_of_whole_paths(kept: store.Store) -> None:
    for name, namespace in (("b", "n"), ("a", "n"), ("x", "n-b"), ("y", "m")):
        put(kept, name, namespace)
    assert names(kept.entries("things")) == ["y", "x", "a", "b"]
    assert names(kept.entries("things", "n")) == ["a", "b"]


def test_the_past_can_be_listed(kept: store.Store) -> None:
    start = kept.version
    put(kept, "a", color="red")
    middle = put(kept, "b").version
    put(kept, "a", color="blue")
    kept.remove("things", "n", "b")
    assert kept.entries("things", at=start) == []
    past = kept.entries("things", at=middle)
    assert names(past) == ["a", "b"]
    assert past[0].obj["color"] == "red"
    assert names(kept.entries("things", at=kept.version)) == ["a"]


def test_the_future_cannot(kept: store.Store) -> None:
    with pytest.raises(errors.StatusError) as caught:
        kept.entries("things", at=kept.version + 1)
    assert caught.value.code == 504


def test_changes_since_a_version(kept: store.Store) -> None:
    start = put(kept, "a").version
    put(kept, "a", color="blue")
    kept.put("others", {"metadata": {"name": "x", "uid": "u"}})
    kept.remove("things", "n", "a")
    changes = list(kept.changes_since("things", start))
    assert [(change.old is None, change.new is None) for change in changes] == [
        (False, False),
        (False, True),
    ]
    assert changes[1].last is not None
    assert changes[1].last.version == kept.version
    assert list(kept.changes_since("things", kept.version)) == []


def test_compaction(kept: store.Store) -> None:
    start = put(kept, "a").version
    put(kept, "b")
    kept.compact()
    with pytest.raises(errors.StatusError) as caught:
        kept.changes_since("things", start)
    assert caught.value.code == 410
    with pytest.raises(errors.StatusError):
        kept.entries("things", at=start)
    assert list(kept.changes_since("things", kept.version)) == []


def test_history_has_an_end(kept: store.Store) -> None:
    start = kept.version
    for number in range(11):
        put(kept, f"a{number}")
    with pytest.raises(errors.StatusError):
        kept.changes_since("things", start)
    assert len(list(kept.changes_since("things", start + 1))) == 10


def test_listeners_hear_of_their_storage(kept: store.Store) -> None:
    heard: list[store.Change] = []
    every: list[int] = []
    kept.on_change = lambda: every.append(kept.version)
    stop = kept.listen("things", heard.append)
    put(kept, "a")
    kept.put("others", {"metadata": {"name": "x", "uid": "u"}})
    stop()
    stop()
    put(kept, "b")
    assert [change.key for change in heard] == [("n", "a")]
    assert len(every) == 3
