"""Secret sync against an API server, the stand-in and the real one alike.

A node is a SecretSync with a client, threads and pods of its own; its client notes every request.
"""

import asyncio
import base64
import contextlib
import logging
import pathlib
import secrets
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import pkcs12

from devkit.apiserver import cluster as apiserver
from secrets_store import errors, tasks
from secrets_store.kube import access, client, credentials, paths, reflector, store
from secrets_store.model import payload, pod_status, provider_class, record, secret, volume
from secrets_store.volumes import sync, table

pytestmark = pytest.mark.timeout(60)

POLICY = "secrets-store.csi.k8s.io/deletion-policy"
REPLICA_SET = {"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "web", "uid": "rs-1"}
Json = dict[str, Any]


class Recorder(client.Client):
    """A client that notes what is asked, and lets a test act before a request is sent."""

    requests: list[tuple[str, str]]
    before: Callable[[str], None]

    def note(self, verb: str, path: str) -> None:
        self.requests.append((verb, path))
        self.before(verb)

    def get(self, path: str, **more: Any) -> Json:
        self.note("get", path)
        return super().get(path, **more)

    def list(self, path: str, **more: Any) -> Any:
        raise AssertionError("nothing is listed")

    def watch(self, path: str, **more: Any) -> Any:
        raise AssertionError("nothing is watched")

    def create(self, path: str, body: Json, **more: Any) -> Json:
        self.note("create", path)
        return super().create(path, body, **more)

    def update(self, path: str, body: Json, **more: Any) -> Json:
        raise AssertionError("nothing is replaced")

    def patch(self, path: str, body: Any, **more: Any) -> Json:
        self.note("patch", path)
        return super().patch(path, body, **more)

    def delete(self, path: str, **more: Any) -> Json:
        self.note("delete", path)
        return super().delete(path, **more)


class Node:
    """One node's driver, as far as Secrets go."""

    def __init__(self, config: access.Config, space: str, **more: Any) -> None:
        self.space = space
        self.api = Recorder(config, user_agent="tests/1")
        self.api.requests, self.api.before = [], lambda verb: None
        self._threads = tasks.Threads("api", 8)
        self.pods = store.Pods()
        self.sync = sync.SecretSync(self.api, self._threads, self.pods, **more)

    @property
    def verbs(self) -> list[str]:
        """What was asked since the last look; every path is in the namespace, none a list."""
        taken, self.api.requests = self.api.requests, []
        for verb, path in taken:
            assert f"/namespaces/{self.space}/" in path
            assert path.endswith("/secrets") is (verb == "create")
        return [
            verb if "secrets" in path.split("/") else f"{verb} {path.split('/')[-2]}"
            for verb, path in taken
        ]

    def know(self, pod: volume.Pod, *owners: Json, terminating: bool = False) -> None:
        """Let the watch tell of a pod."""
        metadata: Json = {"uid": pod.uid, "namespace": pod.namespace, "name": pod.name}
        metadata["ownerReferences"] = list(owners)
        if terminating:
            metadata["deletionTimestamp"] = "2026-01-01T00:00:00Z"
        self.pods.on_event(reflector.Added(store.Pod.from_dict({"metadata": metadata})))

    def volume(self, *owners: Json, known: bool = True, **more: Any) -> table.Volume:
        """Return the volume of a new pod with owners."""
        name = f"pod-{secrets.token_hex(4)}"
        pod = volume.Pod(self.space, name, secrets.token_hex(8))
        if known:
            self.know(pod, *owners, **more)
        return a_volume(pod)

    def stop(self) -> None:
        self._threads.stop()
        self.api.close()


def a_volume(pod: volume.Pod) -> table.Volume:
    return table.Volume(
        record.Record(
            volume_id="v", target_path="/t", pod=pod, service_account="", class_name="cls",
            class_uid="", class_generation=1, provider="p", objects={}, attributes={},
            last_check_s=0, last_change_s=0, status_name="s", group=None, boot_id="",
        )
    )  # fmt: skip


def by_kubeconfig(api: apiserver.Cluster, folder: pathlib.Path, token: str = "") -> access.Config:
    return credentials.load(str(api.kubeconfig(folder / secrets.token_hex(4), token)))


@pytest.fixture
def config(api: apiserver.Cluster, tmp_path: pathlib.Path) -> access.Config:
    """The driver's identity, with the rights that Secret sync needs and no others."""
    token = api.account_token(
        "driver",
        [
            {"apiGroups": [""], "resources": ["pods"], "verbs": ["get"]},
            {
                "apiGroups": ["secrets-store.csi.x-k8s.io"],
                "resources": ["secretproviderclasses"],
                "verbs": ["get"],
            },
            {
                "apiGroups": [""],
                "resources": ["secrets"],
                "verbs": ["get", "create", "patch", "delete"],
            },
        ],
    )
    return by_kubeconfig(api, tmp_path, token)


@pytest.fixture
def kube(api: apiserver.Cluster, tmp_path: pathlib.Path) -> Iterator[client.Client]:
    """Everybody else who talks to the API server; an administrator."""
    config = by_kubeconfig(api, tmp_path)
    with contextlib.closing(client.Client(config, user_agent="others/1")) as made:
        yield made


@pytest.fixture
def space(api: apiserver.Cluster) -> str:
    return api.namespace


@pytest.fixture
async def make(config: access.Config, space: str) -> AsyncIterator[Callable[..., Node]]:
    made: list[Node] = []

    def one(**more: Any) -> Node:
        made.append(Node(config, space, **more))
        return made[-1]

    yield one
    for node in made:
        node.stop()


@pytest.fixture
def node(make: Callable[..., Node]) -> Node:
    return make()


class Cluster:
    """What others see and do in the namespace."""

    def __init__(self, kube: client.Client, space: str) -> None:
        self.kube, self.space = kube, space

    def class_of(
        self, *entries: Json, name: str = "cls", policy: str = ""
    ) -> provider_class.ProviderClass:
        metadata = {"namespace": self.space, "name": name, "annotations": {POLICY: policy}}
        return provider_class.ProviderClass.from_dict(
            {"metadata": metadata, "spec": {"provider": "p", "secretObjects": list(entries)}}
        )

    def create_class(self, name: str, *entries: Json) -> None:
        self.kube.create(
            paths.classes(self.space),
            {
                "apiVersion": paths.GROUP_VERSION,
                "kind": "SecretProviderClass",
                "metadata": {"namespace": self.space, "name": name},
                "spec": {"provider": "p", "secretObjects": list(entries)},
            },
        )

    def create(self, data: dict[str, str] | None = None, name: str = "db", **metadata: Any) -> Json:
        body = {"metadata": {"name": name, **metadata}, "stringData": data or {"k": "theirs"}}
        return self.kube.create(paths.secrets(self.space), body)

    def get(self, name: str = "db") -> Json:
        return self.kube.get(paths.secrets(self.space, name))

    def patch(self, body: Json, name: str = "db") -> Json:
        return self.kube.patch(paths.secrets(self.space, name), body)

    def delete(self, name: str = "db") -> None:
        self.kube.delete(paths.secrets(self.space, name))

    def exists(self, name: str = "db") -> bool:
        try:
            self.get(name)
        except errors.NotFound:
            return False
        return True

    def owners(self, name: str = "db") -> set[str]:
        return set(secret.owner_uids(self.get(name)))

    def data(self, name: str = "db") -> dict[str, bytes]:
        return {k: base64.b64decode(v) for k, v in self.get(name).get("data", {}).items()}


@pytest.fixture
def cluster(kube: client.Client, space: str) -> Cluster:
    return Cluster(kube, space)


def entry(name: str = "db", *keys: str, **more: Any) -> Json:
    data = [{"objectName": key, "key": key} for key in keys or ("k",)]
    return {"secretName": name, "type": "Opaque", "data": data} | more


def files(**contents: str) -> dict[str, payload.File]:
    return {
        path: payload.File(value.encode(), 0o644)
        for path, value in (contents or {"k": "v"}).items()
    }


def owner(uid: str) -> Json:
    return REPLICA_SET | {"uid": uid}


async def test_first_write_makes_all_of_a_secret_with_one_write(
    node: Node, cluster: Cluster
) -> None:
    chosen = cluster.class_of(entry(labels={"team": "x"}, annotations={"note": "y"}))
    report = await node.sync.write(node.volume(REPLICA_SET), chosen, files())
    assert report == sync.SyncReport(written=("db",))
    assert node.verbs == ["get", "create"]
    made = cluster.get()
    assert cluster.data() == {"k": b"v"}
    metadata = made["metadata"]
    assert metadata["labels"] == {"team": "x", "secrets-store.csi.k8s.io/managed": "true"}
    assert metadata["annotations"] == {
        "note": "y",
        "secrets-store.csi.k8s.io/class": "cls",
        "secrets-store.csi.k8s.io/applied": '{"annotations":["note"],"labels":["team"]}',
    }
    assert metadata["ownerReferences"] == [REPLICA_SET]
    assert made["type"] == "Opaque"


async def test_class_without_secret_objects_costs_nothing(node: Node, cluster: Cluster) -> None:
    found = node.volume(known=False)
    assert await node.sync.write(found, cluster.class_of(), files()) == sync.SyncReport()
    assert node.verbs == []


async def test_same_workload_on_the_same_node_costs_no_request(
    node: Node, cluster: Cluster
) -> None:
    chosen = cluster.class_of(entry())
    await node.sync.write(node.volume(REPLICA_SET), chosen, files())
    _ = node.verbs
    report = await node.sync.write(node.volume(REPLICA_SET), chosen, files())
    assert report == sync.SyncReport(unchanged=("db",))
    assert node.verbs == []


async def test_another_workload_on_the_same_node_is_added_by_one_request(
    node: Node, cluster: Cluster
) -> None:
    chosen = cluster.class_of(entry())
    await node.sync.write(node.volume(owner("a")), chosen, files())
    _ = node.verbs
    report = await node.sync.write(node.volume(owner("b")), chosen, files())
    assert report == sync.SyncReport(owned=("db",))
    assert node.verbs == ["patch"]
    assert cluster.owners() == {"a", "b"}
    # The same name twice, told apart by uid; and what is known of the owners is up to date.
    await node.sync.write(node.volume(owner("a"), owner("b")), chosen, files())
    assert node.verbs == []


async def test_another_node_finds_it_and_adds_its_owner(
    make: Callable[..., Node], cluster: Cluster
) -> None:
    chosen, one, other = cluster.class_of(entry()), make(), make()
    await one.sync.write(one.volume(owner("a")), chosen, files())
    report = await other.sync.write(other.volume(owner("a")), chosen, files())
    assert (report.unchanged, other.verbs) == (("db",), ["get"])
    third = make()
    report = await third.sync.write(third.volume(owner("c")), chosen, files())
    assert (report.owned, third.verbs) == (("db",), ["get", "patch"])
    assert cluster.owners() == {"a", "c"}


async def test_unchanged_check_reads_once_and_writes_nothing(node: Node, cluster: Cluster) -> None:
    chosen, found = cluster.class_of(entry(), entry("two")), node.volume(REPLICA_SET)
    await node.sync.write(found, chosen, files())
    before = [cluster.get(name) for name in ("db", "two")]
    _ = node.verbs
    for _ in range(3):
        assert await node.sync.verify(found, chosen, files()) == sync.SyncReport(
            unchanged=("db", "two")
        )
        assert node.verbs == ["get", "get"]
    assert [cluster.get(name) for name in ("db", "two")] == before


async def test_deleted_secret_is_made_again(node: Node, cluster: Cluster) -> None:
    chosen, found = cluster.class_of(entry()), node.volume(REPLICA_SET)
    await node.sync.write(found, chosen, files())
    cluster.delete()
    _ = node.verbs
    report = await node.sync.verify(found, chosen, files())
    assert report == sync.SyncReport(written=("db",), repaired=("db",))
    assert node.verbs == ["get", "create"]
    assert (cluster.data(), cluster.owners()) == ({"k": b"v"}, {"rs-1"})


@pytest.mark.parametrize(
    "edit",
    [
        {"data": {"k": "eA=="}},
        {"data": {"theirs": "eA=="}},
        {"data": {"k": None}},
        {"metadata": {"labels": {"team": None}}},
        {"metadata": {"annotations": {"secrets-store.csi.k8s.io/class": None}}},
    ],
)
async def test_edited_secret_is_repaired(node: Node, cluster: Cluster, edit: Json) -> None:
    chosen = cluster.class_of(entry(labels={"team": "x"}))
    found = node.volume(REPLICA_SET)
    await node.sync.write(found, chosen, files())
    before = cluster.get()
    cluster.patch(edit)
    _ = node.verbs
    report = await node.sync.verify(found, chosen, files())
    assert report == sync.SyncReport(written=("db",), repaired=("db",))
    assert node.verbs == ["get", "patch"]
    after = cluster.get()
    assert after["data"] == before["data"]
    for part in ("labels", "annotations", "ownerReferences"):
        assert after["metadata"][part] == before["metadata"][part]


async def test_owner_that_was_taken_away_comes_back(node: Node, cluster: Cluster) -> None:
    chosen, found = cluster.class_of(entry()), node.volume(REPLICA_SET)
    await node.sync.write(found, chosen, files())
    cluster.patch({"metadata": {"ownerReferences": None}})
    report = await node.sync.verify(found, chosen, files())
    assert report == sync.SyncReport(owned=("db",))
    assert cluster.owners() == {"rs-1"}


async def test_what_others_added_to_the_metadata_stays(node: Node, cluster: Cluster) -> None:
    chosen, found = cluster.class_of(entry()), node.volume(REPLICA_SET)
    await node.sync.write(found, chosen, files())
    theirs = {
        "labels": {"theirs": "1"},
        "annotations": {"theirs": "2"},
        "finalizers": ["example.org/kept"],
        "ownerReferences": [REPLICA_SET, owner("theirs")],
    }
    cluster.patch({"metadata": theirs})
    _ = node.verbs
    assert (await node.sync.verify(found, chosen, files())).unchanged == ("db",)
    assert node.verbs == ["get"]
    await node.sync.write(found, chosen, files(k="new"))
    metadata = cluster.get()["metadata"]
    assert metadata["labels"]["theirs"] == "1"
    assert metadata["annotations"]["theirs"] == "2"
    assert metadata["finalizers"] == ["example.org/kept"]
    assert cluster.owners() == {"rs-1", "theirs"}
    cluster.patch({"metadata": {"finalizers": None}})


async def test_new_contents_are_one_patch(node: Node, cluster: Cluster) -> None:
    found = node.volume(REPLICA_SET)
    await node.sync.write(found, cluster.class_of(entry("db", "k", "gone")), files(k="1", gone="1"))
    _ = node.verbs
    report = await node.sync.write(
        found, cluster.class_of(entry("db", "k", "new")), files(k="2", new="1")
    )
    assert report == sync.SyncReport(written=("db",))
    assert node.verbs == ["get", "patch"]
    assert cluster.data() == {"k": b"2", "new": b"1"}


async def test_what_leaves_the_class_leaves_the_secret(node: Node, cluster: Cluster) -> None:
    found = node.volume(REPLICA_SET)
    full = entry(labels={"a": "1", "b": "1"}, annotations={"c": "1"})
    await node.sync.write(found, cluster.class_of(full), files())
    await node.sync.write(found, cluster.class_of(entry(labels={"a": "2"})), files())
    metadata = cluster.get()["metadata"]
    assert metadata["labels"] == {"a": "2", secret.MANAGED: "true"}
    assert metadata["annotations"] == {
        secret.CLASS: "cls",
        secret.APPLIED: '{"labels":["a"]}',
    }


async def test_secret_of_somebody_else_is_not_touched(node: Node, cluster: Cluster) -> None:
    theirs = cluster.create()
    chosen, found = cluster.class_of(entry(), entry("ours")), node.volume(REPLICA_SET)
    report = await node.sync.write(found, chosen, files())
    assert report.written == ("ours",)
    (failure,) = report.failed
    assert isinstance(failure, errors.SecretForeign)
    assert failure.secret == f"{cluster.space}/db"
    assert cluster.get() == theirs
    with pytest.raises(errors.SecretForeign):
        report.check()


async def test_secret_that_was_handed_over_is_taken(node: Node, cluster: Cluster) -> None:
    cluster.create({"k": "theirs", "gone": "x"}, annotations={secret.ADOPT: "true"})
    report = await node.sync.write(node.volume(REPLICA_SET), cluster.class_of(entry()), files())
    assert report == sync.SyncReport(written=("db",))
    assert cluster.data() == {"k": b"v"}
    assert cluster.get()["metadata"]["labels"][secret.MANAGED] == "true"
    assert cluster.owners() == {"rs-1"}


async def test_secret_that_upstream_made_is_taken_over(node: Node, cluster: Cluster) -> None:
    cluster.create(
        {"k": "old"},
        labels={secret.MANAGED: "true", "app": "x"},
        ownerReferences=[owner("old")],
    )
    report = await node.sync.write(node.volume(REPLICA_SET), cluster.class_of(entry()), files())
    assert report == sync.SyncReport(written=("db",))
    assert cluster.owners() == {"rs-1", "old"}
    metadata = cluster.get()["metadata"]
    assert metadata["labels"] == {secret.MANAGED: "true", "app": "x"}
    assert metadata["annotations"] == {secret.CLASS: "cls"}


async def test_second_class_is_refused_as_long_as_the_first_one_names_the_secret(
    node: Node, cluster: Cluster
) -> None:
    cluster.create_class("first", entry())
    await node.sync.write(node.volume(owner("a")), cluster.class_of(entry(), name="first"), files())
    before = cluster.get()
    second = cluster.class_of(entry(), name="second")
    _ = node.verbs
    report = await node.sync.write(node.volume(owner("b")), second, files(k="other"))
    (failure,) = report.failed
    assert isinstance(failure, errors.SecretForeign)
    assert "SecretProviderClass first writes a Secret of this name" in failure.reason
    assert node.verbs == ["get", "get secretproviderclasses"]
    assert cluster.get() == before
    cluster.kube.patch(
        paths.classes(cluster.space, "first"), {"spec": {"secretObjects": [entry("x")]}}
    )
    report = await node.sync.write(node.volume(owner("b")), second, files(k="other"))
    assert report.written == ("db",)
    assert cluster.data() == {"k": b"other"}


async def test_claim_ends_with_its_class(node: Node, cluster: Cluster) -> None:
    await node.sync.write(node.volume(owner("a")), cluster.class_of(entry(), name="old"), files())
    renamed = cluster.class_of(entry(), name="new")
    report = await node.sync.write(node.volume(owner("b")), renamed, files())
    assert report == sync.SyncReport(written=("db",))
    assert cluster.get()["metadata"]["annotations"][secret.CLASS] == "new"


async def test_claim_stands_if_its_class_may_not_be_read(
    api: apiserver.Cluster, cluster: Cluster, tmp_path: pathlib.Path
) -> None:
    rules = [{"apiGroups": [""], "resources": ["secrets"], "verbs": ["get", "patch"]}]
    node = Node(by_kubeconfig(api, tmp_path, api.account_token("poor", rules)), cluster.space)
    before = cluster.create(labels={secret.MANAGED: "true"}, annotations={secret.CLASS: "x"})
    report = await node.sync.write(node.volume(REPLICA_SET), cluster.class_of(entry()), files())
    assert "the right to get secretproviderclasses comes with" in report.failed[0].reason
    assert cluster.get() == before
    node.stop()


async def test_claim_of_a_class_that_cannot_be_is_none(node: Node, cluster: Cluster) -> None:
    cluster.create(labels={secret.MANAGED: "true"}, annotations={secret.CLASS: ".."})
    report = await node.sync.write(node.volume(REPLICA_SET), cluster.class_of(entry()), files())
    assert report.written == ("db",)


async def test_other_type_is_refused_before_the_api_server_is_asked_to(
    node: Node, cluster: Cluster
) -> None:
    await node.sync.write(node.volume(REPLICA_SET), cluster.class_of(entry()), files())
    _ = node.verbs
    other = cluster.class_of(entry("db", "username", type="kubernetes.io/basic-auth"))
    report = await node.sync.write(node.volume(REPLICA_SET), other, files(username="u"))
    assert "exists with type Opaque" in report.failed[0].reason
    assert node.verbs == ["get"]


async def test_immutable_secret_is_named(node: Node, cluster: Cluster) -> None:
    found, chosen = node.volume(REPLICA_SET), cluster.class_of(entry())
    await node.sync.write(found, chosen, files())
    cluster.patch({"immutable": True})
    assert (await node.sync.verify(found, chosen, files())).unchanged == ("db",)
    other = await node.sync.write(node.volume(owner("b")), chosen, files())
    assert other.owned == ("db",)
    report = await node.sync.write(found, chosen, files(k="new"))
    assert "is immutable" in report.failed[0].reason


async def test_service_account_token_is_never_asked_for(node: Node, cluster: Cluster) -> None:
    item = entry(
        type="kubernetes.io/service-account-token",
        annotations={"kubernetes.io/service-account.name": "default"},
    )
    report = await node.sync.write(node.volume(REPLICA_SET), cluster.class_of(item), files())
    assert "is refused" in report.failed[0].reason
    assert node.verbs == []
    assert not cluster.exists()


async def test_what_the_api_server_refuses_is_told_without_contents(
    node: Node, cluster: Cluster
) -> None:
    marker = secrets.token_hex(8)
    item = entry("db", ".dockerconfigjson", type="kubernetes.io/dockerconfigjson")
    given = {".dockerconfigjson": payload.File(marker.encode(), 0o644)}
    report = await node.sync.write(
        node.volume(REPLICA_SET), cluster.class_of(item, entry("two", ".dockerconfigjson")), given
    )
    assert report.written == ("two",)
    (failure,) = report.failed
    assert isinstance(failure, errors.SecretNotWritten)
    assert isinstance(failure.cause, errors.Rejected)
    assert failure.reason.startswith("failed to create secrets: ")
    assert marker not in str(failure)


async def test_megabyte_fits_and_more_is_not_sent(node: Node, cluster: Cluster) -> None:
    found, chosen = node.volume(REPLICA_SET), cluster.class_of(entry())
    full = {"k": payload.File(secrets.token_bytes(1024 * 1024), 0o644)}
    assert (await node.sync.write(found, chosen, full)).written == ("db",)
    assert (await node.sync.verify(found, chosen, full)).unchanged == ("db",)
    assert cluster.data()["k"] == full["k"].contents
    _ = node.verbs
    over = {"k": payload.File(bytes(1024 * 1024 + 1), 0o644)}
    report = await node.sync.write(found, chosen, over)
    assert report.failed[0].reason.startswith("its data are 1048577 bytes")
    assert node.verbs == []


async def test_pod_without_owners_has_its_status_object_own_the_secret(
    node: Node, cluster: Cluster
) -> None:
    found = node.volume()
    wanted = pod_status.build(
        object_name="s", pod=found.record.pod, class_name="cls", target_path="/t", objects={},
        node="n",
    )  # fmt: skip
    found.status = cluster.kube.create(paths.pod_statuses(cluster.space), wanted)
    await node.sync.write(found, cluster.class_of(entry()), files())
    assert cluster.get()["metadata"]["ownerReferences"] == [
        {
            "apiVersion": "secrets-store.csi.x-k8s.io/v1",
            "kind": "SecretProviderClassPodStatus",
            "name": "s",
            "uid": found.status["metadata"]["uid"],
        }
    ]


async def test_pod_itself_owns_the_secret_while_there_is_no_status(
    node: Node, cluster: Cluster
) -> None:
    found = node.volume()
    await node.sync.write(found, cluster.class_of(entry()), files())
    assert cluster.owners() == {found.record.pod.uid}


def a_pod(cluster: Cluster, **metadata: Any) -> volume.Pod:
    made = cluster.kube.create(
        paths.pods(cluster.space),
        {
            "metadata": {"name": f"pod-{secrets.token_hex(4)}", **metadata},
            "spec": {"containers": [{"name": "c", "image": "i"}]},
        },
    )
    return volume.Pod(cluster.space, made["metadata"]["name"], made["metadata"]["uid"])


async def test_pod_that_the_watch_has_not_told_of_is_read(node: Node, cluster: Cluster) -> None:
    found = a_volume(a_pod(cluster, ownerReferences=[owner("a") | {"controller": True}]))
    report = await node.sync.write(found, cluster.class_of(entry()), files())
    assert report.written == ("db",)
    assert node.verbs == ["get pods", "get", "create"]
    assert cluster.get()["metadata"]["ownerReferences"] == [owner("a")]


async def test_pod_that_is_gone_or_another_one_writes_nothing(node: Node, cluster: Cluster) -> None:
    named = a_pod(cluster)
    other = volume.Pod(named.namespace, named.name, "another-uid")
    gone = volume.Pod(cluster.space, "gone", "u")
    for pod in (other, gone):
        report = await node.sync.write(a_volume(pod), cluster.class_of(entry()), files())
        assert report.skipped
        assert node.verbs == ["get pods"]
    ending = node.volume(REPLICA_SET, terminating=True)
    assert (await node.sync.verify(ending, cluster.class_of(entry()), files())).skipped
    assert node.verbs == []
    assert not cluster.exists()


async def test_namespace_that_is_not_allowed_costs_no_request(
    make: Callable[..., Node], cluster: Cluster
) -> None:
    node = make(allowed_namespaces=["elsewhere"])
    chosen = cluster.class_of(entry(), entry("two"))
    report = await node.sync.write(node.volume(REPLICA_SET), chosen, files())
    assert [failure.secret for failure in report.failed] == [
        f"{cluster.space}/db",
        f"{cluster.space}/two",
    ]
    assert node.verbs == []
    allowed = make(allowed_namespaces=[cluster.space])
    report = await allowed.sync.write(allowed.volume(REPLICA_SET), chosen, files())
    assert report.written == ("db", "two")


async def test_conflict_reads_again(node: Node, cluster: Cluster) -> None:
    chosen, found = cluster.class_of(entry()), node.volume(owner("a"))
    cluster.create(labels={secret.MANAGED: "true"})

    def meddle(verb: str) -> None:
        if verb == "patch":
            node.api.before = lambda verb: None
            cluster.patch({"metadata": {"ownerReferences": [owner("b")]}})

    node.api.before = meddle
    report = await node.sync.write(found, chosen, files())
    assert report == sync.SyncReport(written=("db",))
    assert node.verbs == ["get", "patch", "get", "patch"]
    assert cluster.owners() == {"a", "b"}


async def test_version_that_was_remembered_and_is_old_costs_one_more_look(
    node: Node, cluster: Cluster
) -> None:
    chosen = cluster.class_of(entry())
    await node.sync.write(node.volume(owner("a")), chosen, files())
    cluster.patch({"data": {"k": "eA=="}})
    _ = node.verbs
    await node.sync.write(node.volume(owner("b")), chosen, files())
    assert node.verbs == ["patch", "get", "patch"]
    assert (cluster.data(), cluster.owners()) == ({"k": b"v"}, {"a", "b"})


async def test_conflicts_without_end_are_given_up(node: Node, cluster: Cluster) -> None:
    cluster.create(labels={secret.MANAGED: "true"})
    turns = iter(range(100))

    def meddle(verb: str) -> None:
        if verb == "patch":
            cluster.patch({"metadata": {"annotations": {"turn": str(next(turns))}}})

    node.api.before = meddle
    report = await node.sync.write(node.volume(REPLICA_SET), cluster.class_of(entry()), files())
    (failure,) = report.failed
    assert isinstance(failure, errors.SecretNotWritten)
    assert failure.status_code is errors.Code.ABORTED
    assert node.verbs == ["get", "patch"] * 3


async def test_secret_that_appears_before_the_create_is_joined(
    node: Node, cluster: Cluster
) -> None:
    def meddle(verb: str) -> None:
        if verb == "create":
            cluster.create(labels={secret.MANAGED: "true"}, ownerReferences=[owner("b")])

    node.api.before = meddle
    report = await node.sync.write(node.volume(owner("a")), cluster.class_of(entry()), files())
    assert report.written == ("db",)
    assert node.verbs == ["get", "create", "get", "patch"]
    assert cluster.owners() == {"a", "b"}


async def test_secret_that_vanishes_before_the_patch_is_made_again(
    node: Node, cluster: Cluster
) -> None:
    cluster.create(labels={secret.MANAGED: "true"})

    def meddle(verb: str) -> None:
        if verb == "patch":
            cluster.delete()

    node.api.before = meddle
    report = await node.sync.write(node.volume(REPLICA_SET), cluster.class_of(entry()), files())
    assert report.written == ("db",)
    assert node.verbs == ["get", "patch", "get", "create"]


def meeting_once(barrier: threading.Barrier) -> Callable[[str], None]:
    """Let a node's first write wait until all have come to theirs."""
    due = [True]

    def wait(verb: str) -> None:
        if verb != "get" and due:
            due.clear()
            barrier.wait(10.0)

    return wait


async def test_two_nodes_on_one_secret_keep_both_owners(
    make: Callable[..., Node], cluster: Cluster
) -> None:
    nodes, chosen = {"a": make(), "b": make()}, cluster.class_of(entry())
    for turn in range(100):
        # In every second turn both have read before either writes; in the others it is a race.
        barrier = threading.Barrier(2 if turn % 2 == 0 else 1)
        for node in nodes.values():
            node.api.before = meeting_once(barrier)
        given = files(k=str(turn))
        reports = await asyncio.gather(
            *(
                node.sync.write(node.volume(owner(uid)), chosen, given)
                for uid, node in nodes.items()
            )
        )
        assert [report.failed for report in reports] == [(), ()]
        assert cluster.owners() == {"a", "b"}
        assert cluster.data() == {"k": str(turn).encode()}
        asked = nodes["a"].verbs + nodes["b"].verbs
        if turn % 2 == 0:
            assert len(asked) > 4, "one of them was overtaken and has looked again"
        # Sometimes they meet at the create, sometimes at a patch of data and an owner.
        if turn % 3 == 0:
            cluster.delete()
        elif turn % 3 == 1:
            cluster.patch({"metadata": {"ownerReferences": None}})
        for node in nodes.values():
            node.sync.forget(cluster.space, "cls")


async def test_volumes_of_one_node_take_turns_and_share_one_look(
    node: Node, cluster: Cluster
) -> None:
    chosen = cluster.class_of(entry())
    volumes = [node.volume(owner(f"u{n % 5}")) for n in range(110)]
    reports = await asyncio.gather(*(node.sync.write(x, chosen, files()) for x in volumes))
    assert all(not report.failed for report in reports)
    assert node.verbs == ["get", "create", *["patch"] * 4]
    assert cluster.owners() == {f"u{n}" for n in range(5)}
    reports = await asyncio.gather(*(node.sync.verify(x, chosen, files()) for x in volumes))
    assert {report.unchanged for report in reports} == {("db",)}
    assert node.verbs == ["get"]


async def test_look_from_before_a_check_does_not_count_for_it(node: Node, cluster: Cluster) -> None:
    chosen, found = cluster.class_of(entry()), node.volume(REPLICA_SET)
    await node.sync.write(found, chosen, files())
    cluster.patch({"data": {"k": "eA=="}})
    assert (await node.sync.write(found, chosen, files())).unchanged == ("db",)
    assert (await node.sync.verify(found, chosen, files())).repaired == ("db",)
    assert cluster.data() == {"k": b"v"}


class Clock(tasks.SystemClock):
    """The machine's time, and some more."""

    later_s = 0.0

    def mono_s(self) -> float:
        return super().mono_s() + self.later_s


async def test_look_of_another_volume_counts_for_a_while_only(
    make: Callable[..., Node], cluster: Cluster
) -> None:
    clock = Clock()
    node, chosen = make(clock=clock), cluster.class_of(entry())
    await node.sync.write(node.volume(REPLICA_SET), chosen, files())
    cluster.delete()
    clock.later_s = sync.TRUST_S + 1
    report = await node.sync.write(node.volume(REPLICA_SET), chosen, files())
    assert (report.written, report.repaired) == (("db",), ("db",))


async def test_certificate_and_key_come_from_one_answer(node: Node, cluster: Cluster) -> None:
    certificate = "-----BEGIN CERTIFICATE-----\nMAMCAQA=\n-----END CERTIFICATE-----\n"
    key = "-----BEGIN PRIVATE KEY-----\nMAMCAQA=\n-----END PRIVATE KEY-----\n"
    item = entry("db", "tls.crt", "tls.key", "ca.crt", type="kubernetes.io/tls")
    given = files(**{"tls.crt": certificate, "tls.key": key, "ca.crt": "any"})
    found, chosen = node.volume(REPLICA_SET), cluster.class_of(item)
    assert (await node.sync.write(found, chosen, given)).written == ("db",)
    assert cluster.data() == {
        "tls.crt": certificate.encode(),
        "tls.key": key.encode(),
        "ca.crt": b"any",
    }
    # A broken half costs the whole: the old pair stays together.
    broken = given | files(**{"tls.key": "garbage"})
    report = await node.sync.write(found, chosen, broken | files(**{"tls.crt": certificate * 2}))
    assert "object tls.key for key tls.key" in report.failed[0].reason
    assert cluster.data()["tls.crt"] == certificate.encode()


async def test_container_of_both_is_opened_for_a_write_and_for_a_check(
    node: Node, cluster: Cluster
) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    contents = pkcs12.serialize_key_and_certificates(
        None, key, None, None, serialization.NoEncryption()
    )
    pem = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.TraditionalOpenSSL,
        serialization.NoEncryption(),
    )
    data = [
        {"objectName": "chain", "key": "tls.crt"},
        {"objectName": "store", "key": "tls.key"},
    ]
    chosen = cluster.class_of(entry(type="kubernetes.io/tls", data=data))
    given = files(chain="-----BEGIN CERTIFICATE-----\nMAA=\n-----END CERTIFICATE-----\n") | {
        "store": payload.File(base64.b64encode(contents), 0o644)
    }
    found = node.volume(REPLICA_SET)
    assert (await node.sync.write(found, chosen, given)).written == ("db",)
    assert cluster.data()["tls.key"] == pem
    assert (await node.sync.verify(found, chosen, given)).unchanged == ("db",)


async def test_entry_that_leaves_its_class_leaves_the_secret_to_its_owners(
    node: Node, cluster: Cluster
) -> None:
    found = node.volume(REPLICA_SET)
    await node.sync.write(found, cluster.class_of(entry(), entry("two")), files())
    report = await node.sync.verify(found, cluster.class_of(entry("two")), files())
    assert report == sync.SyncReport(unchanged=("two",))
    assert cluster.owners() == {"rs-1"}
    _ = node.verbs
    await node.sync.verify(found, cluster.class_of(entry("two")), files())
    assert node.verbs == ["get"]


@pytest.mark.parametrize("restarted", [False, True])
async def test_entry_with_policy_delete_takes_its_secret_along(
    make: Callable[..., Node], cluster: Cluster, restarted: bool
) -> None:
    node = make()
    chosen = cluster.class_of(entry(annotations={POLICY: "Delete"}), entry("two"))
    await node.sync.write(node.volume(REPLICA_SET), chosen, files())
    if restarted:
        node = make()
        node.sync.remember(cluster.space, "cls", ["db", "two"])
    _ = node.verbs
    report = await node.sync.verify(node.volume(REPLICA_SET), cluster.class_of(), files())
    assert report == sync.SyncReport(deleted=("db",))
    assert sorted(node.verbs) == ["delete", "get", "get"]
    assert (cluster.exists(), cluster.exists("two")) == (False, True)
    again = await node.sync.verify(node.volume(REPLICA_SET), cluster.class_of(), files())
    assert (again, node.verbs) == (sync.SyncReport(), [])


async def test_class_that_is_deleted_takes_secrets_with_policy_delete_along(
    node: Node, cluster: Cluster
) -> None:
    chosen = cluster.class_of(
        entry(), entry("two", annotations={POLICY: "Retain"}), policy="Delete"
    )
    await node.sync.write(node.volume(REPLICA_SET), chosen, files())
    assert (await node.sync.withdraw(cluster.space, "cls")).deleted == ("db",)
    assert (cluster.exists(), cluster.exists("two")) == (False, True)
    assert await node.sync.withdraw(cluster.space, "cls") == sync.SyncReport()


async def test_secret_that_another_class_took_is_not_deleted(node: Node, cluster: Cluster) -> None:
    item = entry(annotations={POLICY: "Delete"})
    await node.sync.write(node.volume(REPLICA_SET), cluster.class_of(item), files())
    await node.sync.write(node.volume(REPLICA_SET), cluster.class_of(item, name="heir"), files())
    await node.sync.verify(node.volume(REPLICA_SET), cluster.class_of(), files())
    assert cluster.exists()


async def test_deletion_that_others_overtake_is_told_and_tried_again(
    node: Node, cluster: Cluster
) -> None:
    item = entry(annotations={POLICY: "Delete"})
    found = node.volume(REPLICA_SET)
    await node.sync.write(found, cluster.class_of(item), files())

    def meddle(verb: str) -> None:
        if verb == "delete":
            cluster.patch({"metadata": {"annotations": {"theirs": "x"}}})

    node.api.before = meddle
    report = await node.sync.verify(found, cluster.class_of(), files())
    assert report.failed[0].reason.startswith("failed to delete secrets: ")
    assert cluster.exists()
    node.api.before = lambda verb: None
    assert (await node.sync.verify(found, cluster.class_of(), files())).deleted == ("db",)


async def test_secret_that_is_gone_before_its_deletion_is_no_failure(
    node: Node, cluster: Cluster
) -> None:
    found = node.volume(REPLICA_SET)
    item = entry(annotations={POLICY: "Delete"})
    await node.sync.write(found, cluster.class_of(item), files())
    node.api.before = lambda verb: cluster.delete() if verb == "delete" else None
    assert await node.sync.verify(found, cluster.class_of(), files()) == sync.SyncReport()


async def test_forgotten_class_is_no_business_of_ours(node: Node, cluster: Cluster) -> None:
    item = entry(annotations={POLICY: "Delete"})
    await node.sync.write(node.volume(REPLICA_SET), cluster.class_of(item), files())
    node.sync.forget(cluster.space, "cls")
    _ = node.verbs
    await node.sync.verify(node.volume(REPLICA_SET), cluster.class_of(), files())
    assert node.verbs == []
    assert cluster.exists()


async def test_retained_secret_has_no_owner_and_gives_ours_back(
    node: Node, cluster: Cluster
) -> None:
    found, chosen = node.volume(REPLICA_SET), cluster.class_of(entry())
    await node.sync.write(found, chosen, files())
    cluster.patch({"metadata": {"ownerReferences": [REPLICA_SET, owner("theirs")]}})
    kept = cluster.class_of(entry(), policy="Retain")
    await node.sync.verify(found, kept, files())
    assert cluster.owners() == {"theirs"}
    assert cluster.get()["metadata"]["annotations"][POLICY] == "Retain"
    cluster.delete()
    await node.sync.verify(found, kept, files())
    assert cluster.owners() == set()
    await node.sync.verify(found, chosen, files())
    assert cluster.owners() == {"rs-1"}
    assert POLICY not in cluster.get()["metadata"]["annotations"]


async def test_right_that_is_missing_is_named_and_logged_once(
    api: apiserver.Cluster,
    cluster: Cluster,
    tmp_path: pathlib.Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    node = Node(by_kubeconfig(api, tmp_path, api.account_token("nobody", [])), cluster.space)
    caplog.set_level(logging.INFO)
    chosen = cluster.class_of(entry(), entry("two"))
    for _ in range(3):
        report = await node.sync.write(node.volume(REPLICA_SET), chosen, files())
        assert len(report.failed) == 2
    failure = report.failed[0]
    assert failure.reason.startswith("failed to get secrets: ")
    assert "the right to get secrets comes with ClusterRole secretprovidersyncing-role" in str(
        failure
    )
    assert failure.status_code is errors.Code.PERMISSION_DENIED
    assert len([x for x in caplog.records if x.message == "secret not synced"]) == 1
    node.stop()


async def test_failure_is_logged_when_it_is_new(
    node: Node, cluster: Cluster, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    found, chosen = node.volume(REPLICA_SET), cluster.class_of(entry())

    async def warnings() -> int:
        caplog.clear()
        await node.sync.verify(found, chosen, files())
        return len([x for x in caplog.records if x.message == "secret not synced"])

    cluster.create()
    assert [await warnings() for _ in range(3)] == [1, 0, 0]
    cluster.delete()
    assert await warnings() == 0
    cluster.delete()
    cluster.create()
    assert await warnings() == 1


async def test_api_server_that_is_away_fails_all_within_the_deadline(
    cluster: Cluster, tmp_path: pathlib.Path
) -> None:
    kubeconfig = tmp_path / "away"
    kubeconfig.write_text(
        "apiVersion: v1\nkind: Config\ncurrent-context: c\n"
        "clusters: [{name: c, cluster: {server: 'http://127.0.0.1:9'}}]\n"
        "contexts: [{name: c, context: {cluster: c, user: u}}]\nusers: [{name: u, user: {}}]\n"
    )
    node = Node(credentials.load(str(kubeconfig)), cluster.space)
    chosen, clock = cluster.class_of(entry()), tasks.SystemClock()
    started = clock.mono_s()
    reports = await asyncio.gather(
        *(
            node.sync.write(node.volume(REPLICA_SET), chosen, files(), deadline_s=0.5)
            for _ in range(20)
        )
    )
    assert clock.mono_s() - started < 2.0
    for report in reports:
        (failure,) = report.failed
        assert failure.status_code is errors.Code.UNAVAILABLE
    unknown = await node.sync.write(node.volume(known=False), chosen, files(), deadline_s=0.2)
    assert unknown.failed[0].reason.startswith("failed to get pods: ")
    node.stop()


async def test_nothing_secret_is_kept_or_told(
    node: Node, cluster: Cluster, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    marker = secrets.token_hex(16)
    chosen = cluster.class_of(entry(), entry("bad", "none"), entry("db"))
    await node.sync.write(node.volume(REPLICA_SET), chosen, files(k=marker))
    assert cluster.data() == {"k": marker.encode()}
    encoded = base64.b64encode(marker.encode()).decode()
    seen = [caplog.text, repr([x.__dict__ for x in caplog.records]), repr(vars(node.sync))]
    for text in seen:
        assert marker not in text
        assert encoded not in text
