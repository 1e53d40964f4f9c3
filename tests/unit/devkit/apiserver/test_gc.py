from typing import Any

import pytest

from devkit.apiserver import gc, removal, resources, store

TABLE = resources.Table.with_built_ins()


@pytest.fixture
def collector(kept: store.Store, remover: removal.Remover) -> gc.Collector:
    return gc.Collector(kept, remover, TABLE.any_of_kind)


def put(kept: store.Store, storage: str, name: str, *owners: Any, **meta: Any) -> dict[str, Any]:
    meta = {"name": name, "namespace": "n", "uid": f"uid-{name}"} | meta
    if owners:
        meta["ownerReferences"] = list(owners)
    return kept.put(storage, {"metadata": meta}).obj


def owner(name: str, kind: str = "Pod", **more: Any) -> dict[str, Any]:
    return {"apiVersion": "v1", "kind": kind, "name": name, "uid": f"uid-{name}", **more}


def test_a_chain_goes_at_once(kept: store.Store, collector: gc.Collector) -> None:
    put(kept, "secrets", "a", owner("gone"))
    put(kept, "secrets", "b", owner("a", "Secret"))
    put(kept, "configmaps", "c", owner("b", "Secret"))
    assert collector.collect() == 3
    assert kept.all_of("secrets") == kept.all_of("configmaps") == []
    assert collector.collect() == 0


def test_an_owner_in_another_namespace_does_not_count(
    kept: store.Store, collector: gc.Collector
) -> None:
    put(kept, "pods", "p", namespace="m")
    put(kept, "secrets", "a", owner("p"))
    collector.collect()
    assert kept.all_of("secrets") == []


def test_a_cluster_wide_owner_counts(kept: store.Store, collector: gc.Collector) -> None:
    put(kept, "nodes", "x", namespace="")
    put(kept, "secrets", "a", owner("x", "Node"))
    assert collector.collect() == 0


def test_unknown_kinds_are_let_alone(kept: store.Store, collector: gc.Collector) -> None:
    put(kept, "secrets", "a", owner("x", apiVersion="example.com/v1", kind="Odd"))
    assert collector.collect() == 0


def test_foreground_waits_for_those_that_block(
    kept: store.Store, collector: gc.Collector, remover: removal.Remover
) -> None:
    put(kept, "pods", "p")
    put(kept, "secrets", "a", owner("p", blockOwnerDeletion=True), finalizers=["a/b"])
    entry = kept.get("pods", "n", "p")
    assert entry is not None
    remover.begin("pods", entry, removal.Options(propagation="Foreground"))
    collector.collect()
    held = kept.get("secrets", "n", "a")
    assert held is not None
    assert "deletionTimestamp" in held.obj["metadata"]
    assert kept.get("pods", "n", "p") is not None
    kept.remove("secrets", "n", "a")
    collector.collect()
    assert kept.get("pods", "n", "p") is None


def test_a_grandchild_goes_before_the_child(
    kept: store.Store, collector: gc.Collector, remover: removal.Remover
) -> None:
    put(kept, "pods", "p")
    put(kept, "secrets", "a", owner("p", blockOwnerDeletion=True))
    put(kept, "configmaps", "b", owner("a", "Secret", blockOwnerDeletion=True))
    gone: list[str] = []
    for storage in ("pods", "secrets", "configmaps"):
        kept.listen(
            storage, lambda change: gone.append(change.key[1]) if change.new is None else None
        )
    entry = kept.get("pods", "n", "p")
    assert entry is not None
    remover.begin("pods", entry, removal.Options(propagation="Foreground"))
    collector.collect()
    assert gone == ["b", "a", "p"]
