from typing import Any

import pytest

from devkit.apiserver import calls, errors, http, removal, resources, routes, store
from devkit.apiserver.kinds import strategy


def call(query: dict[str, str] | None = None) -> calls.Call:
    resource = resources.Resource("", "v1", "secrets", "Secret")
    route = routes.Route("delete", "/x", "", "v1", "secrets", "", "n", "s")
    request = http.Request("DELETE", "/x", query or {}, {})
    plain = strategy.Strategy("Secret", {"properties": {}})
    return calls.Call(request, route, resource, plain, calls.ADMIN)


@pytest.mark.parametrize(
    ("body", "query", "options"),
    [
        (None, {}, removal.Options()),
        ({}, {}, removal.Options()),
        (None, {"gracePeriodSeconds": "5"}, removal.Options(grace_s=5)),
        (None, {"propagationPolicy": "Orphan"}, removal.Options(propagation="Orphan")),
        (None, {"orphanDependents": "true"}, removal.Options(propagation="Orphan")),
        (None, {"dryRun": "All"}, removal.Options(dry_run=True)),
        ({"dryRun": ["All"]}, {}, removal.Options(dry_run=True)),
        ({"gracePeriodSeconds": 0}, {"gracePeriodSeconds": "5"}, removal.Options(grace_s=0)),
        (
            {"preconditions": {"uid": "u", "resourceVersion": "1"}},
            {},
            removal.Options(uid="u", resource_version="1"),
        ),
    ],
)
def test_options(body: Any, query: dict[str, str], options: removal.Options) -> None:
    assert removal.read_options(call(query), body) == options


@pytest.mark.parametrize(
    ("body", "query", "code"),
    [
        ([], {}, 400),
        (None, {"gracePeriodSeconds": "x"}, 400),
        ({"propagationPolicy": "Odd"}, {}, 422),
        ({}, {"dryRun": "Some"}, 422),
    ],
)
def test_bad_options(body: Any, query: dict[str, str], code: int) -> None:
    with pytest.raises(errors.StatusError) as caught:
        removal.read_options(call(query), body)
    assert caught.value.code == code


def put(kept: store.Store, storage: str, **fields: Any) -> store.Entry:
    meta = {"name": "x", "namespace": "n", "uid": "u"} | fields.pop("meta", {})
    return kept.put(storage, {"metadata": meta, **fields})


def test_nothing_holds_it(kept: store.Store, remover: removal.Remover) -> None:
    assert remover.begin("secrets", put(kept, "secrets"), removal.Options()) is None
    assert kept.get("secrets", "n", "x") is None


def test_a_dry_run_holds_it(kept: store.Store, remover: removal.Remover) -> None:
    entry = put(kept, "secrets")
    assert remover.begin("secrets", entry, removal.Options(dry_run=True)) is None
    assert kept.get("secrets", "n", "x") is entry


def test_a_second_delete_changes_nothing(kept: store.Store, remover: removal.Remover) -> None:
    entry = put(kept, "secrets", meta={"finalizers": ["a/b"]})
    first = remover.begin("secrets", entry, removal.Options())
    held = kept.get("secrets", "n", "x")
    assert held is not None
    assert first == held.obj
    assert not remover.is_finished("secrets", held.obj)
    assert remover.begin("secrets", held, removal.Options()) == first
    assert kept.get("secrets", "n", "x") is held


@pytest.mark.parametrize(
    ("spec", "phase", "asked", "grace"),
    [
        ({"nodeName": "n1"}, "Running", None, 30),
        ({"nodeName": "n1", "terminationGracePeriodSeconds": 7}, "Running", None, 7),
        ({"nodeName": "n1"}, "Running", 5, 5),
        ({"nodeName": "n1"}, "Running", -1, 1),
        ({"nodeName": "n1"}, "Succeeded", 5, 0),
        ({}, "Pending", 5, 0),
    ],
)
def test_the_grace_of_pods(
    kept: store.Store,
    remover: removal.Remover,
    spec: dict[str, Any],
    phase: str,
    asked: int | None,
    grace: int,
) -> None:
    entry = put(kept, "pods", spec=spec, status={"phase": phase})
    held = remover.begin("pods", entry, removal.Options(grace_s=asked))
    if grace == 0:
        assert held is None
    else:
        assert held is not None
        assert held["metadata"]["deletionGracePeriodSeconds"] == grace


def test_a_namespace_waits_to_be_emptied(kept: store.Store, remover: removal.Remover) -> None:
    meta = {"namespace": ""}
    entry = put(kept, "namespaces", meta=meta, spec={"finalizers": ["kubernetes"]}, status={})
    held = remover.begin("namespaces", entry, removal.Options())
    assert held is not None
    assert held["status"]["phase"] == "Terminating"
    assert not remover.is_finished("namespaces", held)
    held = held | {"spec": {}}
    assert remover.is_finished("namespaces", held)


@pytest.mark.parametrize(
    ("policy", "before", "after"),
    [
        ("Foreground", [], ["foregroundDeletion"]),
        ("Orphan", ["foregroundDeletion", "a/b"], ["a/b", "orphan"]),
        ("", ["orphan"], ["orphan"]),
    ],
)
def test_propagation(
    kept: store.Store, remover: removal.Remover, policy: str, before: list[str], after: list[str]
) -> None:
    meta = {"finalizers": before} if before else {}
    entry = put(kept, "secrets", meta=meta)
    held = remover.begin("secrets", entry, removal.Options(propagation=policy))
    assert held is not None
    assert held["metadata"]["finalizers"] == after
