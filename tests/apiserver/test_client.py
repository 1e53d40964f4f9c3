"""The API client against an API server, the stand-in and the real one alike."""

import contextlib
import pathlib
import secrets
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from devkit.apiserver import cluster
from secrets_store import errors
from secrets_store.kube import client, credentials, paths

pytestmark = pytest.mark.timeout(30)

CLASS_VERSION = "secrets-store.csi.x-k8s.io/v1"


@pytest.fixture
def kube(api: cluster.Cluster, tmp_path: pathlib.Path) -> Iterator[client.Client]:
    """An administrator's client, by way of a kubeconfig file."""
    config = credentials.load(str(api.kubeconfig(tmp_path / "kubeconfig")))
    with contextlib.closing(client.Client(config, user_agent="tests/1")) as made:
        yield made


@pytest.fixture
def space(api: cluster.Cluster) -> str:
    """The namespace of the test."""
    return api.namespace


def secret(space: str, name: str = "a", **more: Any) -> client.Json:
    metadata = {"namespace": space, "name": name, **more.pop("metadata", {})}
    return {"apiVersion": "v1", "kind": "Secret", "metadata": metadata, **more}


def a_class(space: str, name: str = "c") -> client.Json:
    return {
        "apiVersion": CLASS_VERSION,
        "kind": "SecretProviderClass",
        "metadata": {"namespace": space, "name": name},
        "spec": {"provider": "kms"},
    }


def test_object_made_read_replaced_and_deleted(kube: client.Client, space: str) -> None:
    made = kube.create(paths.secrets(space), secret(space, stringData={"k": "v"}))
    one = paths.secrets(space, "a")
    assert kube.get(one) == made
    changed = kube.update(one, made | {"data": {"k": "dzI="}})
    assert changed["data"] == {"k": "dzI="}
    assert changed["metadata"]["resourceVersion"] != made["metadata"]["resourceVersion"]
    kube.delete(one)
    with pytest.raises(errors.NotFound) as caught:
        kube.get(one)
    assert (caught.value.status, caught.value.reason) == (404, "NotFound")
    assert str(caught.value) == 'secrets "a" not found'


def test_refusals(kube: client.Client, space: str) -> None:
    made = kube.create(paths.secrets(space), secret(space))
    with pytest.raises(errors.AlreadyExists):
        kube.create(paths.secrets(space), secret(space))
    with pytest.raises(errors.Rejected) as caught:
        kube.create(paths.secrets(space), secret(space, "Not A Name"))
    assert caught.value.status == 422
    with pytest.raises(errors.NotFound):
        kube.create(paths.secrets(f"{space}-no"), secret(f"{space}-no"))
    with pytest.raises(errors.NotFound):
        kube.update(paths.secrets(space, "b"), secret(space, "b"))
    kube.update(paths.secrets(space, "a"), made | {"data": {"k": "dg=="}})
    with pytest.raises(errors.Conflict):
        kube.update(paths.secrets(space, "a"), made | {"data": {"k": "dzI="}})
    with pytest.raises(errors.NotFound):
        kube.get("/apis/no.such.group/v1/things")


def test_name_that_looks_like_a_path(kube: client.Client, space: str) -> None:
    # The real server may call it bad or not found; what counts is that it reads nothing else.
    for name in ("../secrets", "a/../../../../nodes", "a?watch=1", "%2e%2e"):
        with pytest.raises((errors.NotFound, errors.Rejected)):
            kube.get(paths.secrets(space, name))


def owner(name: str) -> client.Json:
    return {"apiVersion": "v1", "kind": "Pod", "name": name, "uid": f"uid-{name}"}


def test_strategic_patch_adds_an_owner_and_drops_a_key(kube: client.Client, space: str) -> None:
    first = secret(
        space, metadata={"ownerReferences": [owner("a")]}, data={"old": "dg==", "kept": "dg=="}
    )
    made = kube.create(paths.secrets(space), first)
    version = made["metadata"]["resourceVersion"]
    change = {
        "metadata": {"resourceVersion": version, "ownerReferences": [owner("b")]},
        "data": {"old": None, "new": "dg=="},
    }
    one = paths.secrets(space, "a")
    changed = kube.patch(one, change, kind="strategic")
    assert changed["data"] == {"kept": "dg==", "new": "dg=="}
    owners = {reference["uid"] for reference in changed["metadata"]["ownerReferences"]}
    assert owners == {"uid-a", "uid-b"}
    with pytest.raises(errors.Conflict):
        kube.patch(one, change, kind="strategic")


def test_merge_and_json_patch(kube: client.Client, space: str) -> None:
    kube.create(paths.classes(space), a_class(space))
    one = paths.classes(space, "c")
    changed = kube.patch(one, {"metadata": {"annotations": {"a": "1"}}})
    assert changed["metadata"]["annotations"] == {"a": "1"}
    assert changed["metadata"]["generation"] == 1
    replace = [{"op": "replace", "path": "/spec/provider", "value": "other"}]
    changed = kube.patch(one, replace, kind="json")
    assert changed["spec"]["provider"] == "other"
    assert changed["metadata"]["generation"] == 2


def test_delete_of_the_one_meant(kube: client.Client, space: str) -> None:
    made = kube.create(paths.secrets(space), secret(space))["metadata"]
    one = paths.secrets(space, "a")
    with pytest.raises(errors.Conflict):
        kube.delete(one, uid="another")
    with pytest.raises(errors.Conflict):
        kube.delete(one, uid=made["uid"], resource_version="1")
    kube.delete(one, uid=made["uid"], resource_version=made["resourceVersion"])
    with pytest.raises(errors.NotFound):
        kube.delete(one)


def name(obj: client.Json) -> str:
    return str(obj["metadata"]["name"])


def test_list_in_pages(kube: client.Client, space: str) -> None:
    for number in range(5):
        kube.create(paths.secrets(space), secret(space, f"s{number}", data={"k": "dg=="}))
    found = kube.list(paths.secrets(space), params={"limit": 2}, project=name)
    assert found.items == ["s0", "s1", "s2", "s3", "s4"]
    kept: client.Listing[client.Json] = kube.list(
        paths.secrets(space), accept=client.METADATA_LIST, project=dict
    )
    assert [name(item) for item in kept.items] == found.items
    assert not any("data" in item for item in kept.items)
    assert int(kept.resource_version) >= int(found.resource_version)
    cached = kube.list(paths.secrets(space), params={"resourceVersion": "0"}, project=name)
    assert set(cached.items) <= set(found.items)


def test_forms_of_an_answer(kube: client.Client, space: str) -> None:
    kube.create(paths.classes(space), a_class(space))
    found = kube.get(paths.classes(space, "c"), accept=client.METADATA)
    assert found["kind"] == "PartialObjectMetadata"
    assert found["metadata"]["generation"] == 1
    assert "spec" not in found
    with pytest.raises(errors.Rejected) as caught:
        kube.get(paths.classes(space), accept=client.METADATA)
    assert caught.value.status == 406


def test_watch_from_the_version_of_a_list_of_one(kube: client.Client, space: str) -> None:
    kube.create(paths.classes(space), a_class(space, "before"))
    page = kube.get(paths.classes(), params={"limit": 1}, accept=client.METADATA_LIST)
    kube.create(paths.classes(space), a_class(space))
    kube.patch(paths.classes(space, "c"), {"spec": {"provider": "other"}})
    kube.delete(paths.classes(space, "c"))
    version = page["metadata"]["resourceVersion"]
    with kube.watch(
        paths.classes(), params={"resourceVersion": version}, accept=client.METADATA
    ) as watch:
        events = iter(watch)
        seen = [next(events) for _ in range(3)]
    assert [(kind, name(obj), obj["metadata"]["generation"]) for kind, obj in seen[:2]] == [
        ("ADDED", "c", 1),
        ("MODIFIED", "c", 2),
    ]
    assert (seen[2][0], name(seen[2][1])) == ("DELETED", "c")
    assert all("spec" not in obj for _, obj in seen)


def test_watch_ends_when_it_was_asked_to(kube: client.Client, space: str) -> None:
    with kube.watch(paths.secrets(space), params={"timeoutSeconds": 1}) as watch:
        assert list(watch) == []


def test_watch_closed_from_another_thread(kube: client.Client, space: str) -> None:
    kube.create(paths.secrets(space), secret(space))
    with kube.watch(paths.secrets(space)) as watch:
        for kind, obj in watch:
            assert (kind, name(obj)) == ("ADDED", "a")
            threading.Timer(0.1, watch.close).start()


def test_watch_from_a_version_long_gone(
    api: cluster.Cluster, kube: client.Client, space: str
) -> None:
    kube.create(paths.classes(space), a_class(space))
    # The real server keeps nothing of a custom resource from before it was defined.
    if api.stand_in is not None:
        api.stand_in.compact()
    with (
        pytest.raises(errors.Gone),
        kube.watch(paths.classes(), params={"resourceVersion": "1", "timeoutSeconds": 5}) as watch,
    ):
        list(watch)


def test_token_that_nobody_knows(api: cluster.Cluster, tmp_path: pathlib.Path) -> None:
    token = secrets.token_hex(8)
    config = credentials.load(str(api.kubeconfig(tmp_path / "kubeconfig", token=token)))
    with contextlib.closing(client.Client(config, user_agent="tests/1")) as stranger:
        with pytest.raises(errors.Forbidden) as caught:
            stranger.get(paths.nodes())
        assert caught.value.status == 401
        with pytest.raises(errors.Forbidden), stranger.watch(paths.nodes()):
            pass


def test_many_threads_share_few_connections(kube: client.Client, space: str) -> None:
    kube.create(paths.secrets(space), secret(space))
    found: list[str] = []

    def read() -> None:
        for _ in range(10):
            found.append(name(kube.get(paths.secrets(space, "a"))))

    threads = [threading.Thread(target=read) for _ in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == ["a"] * 160
