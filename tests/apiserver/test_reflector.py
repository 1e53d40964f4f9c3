"""Reflectors and stores against an API server, the stand-in and the real one alike.

A forwarder stands between them, so that connections can be cut and refused whatever the server.
"""

import asyncio
import contextlib
import dataclasses
import pathlib
import socket
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import pytest

from devkit.apiserver import cluster
from secrets_store.kube import access, client, credentials, paths, reflector, store
from secrets_store.model import pod_status, provider_class

pytestmark = pytest.mark.timeout(30)


class Forwarder:
    """Passes TCP on to a server until told otherwise."""

    def __init__(self, server: str) -> None:
        self._host, _, port = server.rpartition("//")[2].rpartition(":")
        self._port = int(port)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self._ends: list[socket.socket] = []
        self._refusing = threading.Event()
        self._threads = [threading.Thread(target=self._accept)]
        self._threads[0].start()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                near, _ = self._listener.accept()
                if self._refusing.is_set():
                    near.close()
                    continue
                far = socket.create_connection((self._host, self._port))
                self._ends += [near, far]
                for source, sink in ((near, far), (far, near)):
                    self._threads.append(threading.Thread(target=self._copy, args=(source, sink)))
                    self._threads[-1].start()

    def _copy(self, source: socket.socket, sink: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(65536):
                sink.sendall(data)
        with contextlib.suppress(OSError):
            sink.shutdown(socket.SHUT_WR)

    def cut(self) -> None:
        """End all connections there are."""
        for end in list(self._ends):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)

    def refuse(self) -> None:
        """End all connections and take no more."""
        self._refusing.set()
        self.cut()

    def allow(self) -> None:
        self._refusing.clear()

    def close(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self.cut()
        for thread in self._threads:
            thread.join(5)
            assert not thread.is_alive()
        for end in self._ends:
            end.close()


@pytest.fixture
def config(api: cluster.Cluster, tmp_path: pathlib.Path) -> access.Config:
    return credentials.load(str(api.kubeconfig(tmp_path / "kubeconfig")))


@pytest.fixture
def kube(config: access.Config) -> Iterator[client.Client]:
    """An administrator's client that nothing stands before."""
    with contextlib.closing(client.Client(config, user_agent="tests/1")) as made:
        yield made


@pytest.fixture
def forwarder(config: access.Config) -> Iterator[Forwarder]:
    with contextlib.closing(Forwarder(config.server)) as made:
        yield made


@pytest.fixture
def forwarded(config: access.Config, forwarder: Forwarder) -> Iterator[client.Client]:
    scheme = config.server.partition("://")[0]
    through = dataclasses.replace(config, server=f"{scheme}://127.0.0.1:{forwarder.port}")
    with contextlib.closing(client.Client(through, user_agent="tests/1")) as made:
        yield made


@pytest.fixture
def space(api: cluster.Cluster) -> str:
    """The namespace of the test."""
    return api.namespace


class Heard:
    """What a reflector told, and a wait for it; passes it on to a store."""

    def __init__(self, onwards: Callable[[Any], None]) -> None:
        self.events: list[Any] = []
        self._onwards = onwards
        self._changed = asyncio.Event()

    def __call__(self, event: Any) -> None:
        self.events.append(event)
        self._onwards(event)
        self._changed.set()

    async def until(self, met: Callable[[], bool]) -> None:
        async with asyncio.timeout(15):
            while not met():
                self._changed.clear()
                await self._changed.wait()

    def kinds(self) -> list[str]:
        return [type(event).__name__ for event in self.events]


Start = Callable[..., Heard]


@pytest.fixture
async def start(forwarded: client.Client) -> AsyncIterator[Start]:
    made: list[reflector.Reflector[Any]] = []

    def run(path: str, what: Any, onwards: Callable[[Any], None], **options: Any) -> Heard:
        heard = Heard(onwards)
        made.append(
            reflector.Reflector(
                forwarded, path, project=what.from_dict, on_event=heard,
                pause=lambda seconds: threading.Event().wait(min(seconds, 0.05)), **options,
            )
        )  # fmt: skip
        made[-1].start(asyncio.get_running_loop())
        return heard

    yield run
    for one in made:
        await asyncio.to_thread(one.stop)


def pod(space: str, name: str, node: str) -> client.Json:
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"namespace": space, "name": name},
        "spec": {"nodeName": node, "containers": [{"name": "c", "image": "i"}]},
    }


def a_class(space: str, name: str = "c") -> client.Json:
    return {
        "apiVersion": paths.GROUP_VERSION,
        "kind": "SecretProviderClass",
        "metadata": {"namespace": space, "name": name},
        "spec": {"provider": "kms"},
    }


async def test_life_of_a_pod(kube: client.Client, space: str, start: Start) -> None:
    node = f"node-{space}"
    before = kube.create(paths.pods(space), pod(space, "before", node))["metadata"]["uid"]
    wishes: list[store.Pod] = []
    pods = store.Pods(lambda pod, known: wishes.append(pod))
    heard = start(
        paths.pods(), store.Pod, pods.on_event, params={"fieldSelector": f"spec.nodeName={node}"}
    )
    await heard.until(lambda: pods.connected)
    # The server's cache may be a moment behind; the watch then tells the rest.
    await heard.until(lambda: pods.uids() == {before})

    kube.create(paths.pods(space), pod(space, "elsewhere", "another"))
    uid = kube.create(paths.pods(space), pod(space, "a", node))["metadata"]["uid"]
    await heard.until(lambda: uid in pods.uids())
    found = pods.get(uid)
    assert found is not None
    assert (found.namespace, found.name, found.terminating) == (space, "a", False)

    one = paths.pods(space, "a")
    kube.patch(one, {"metadata": {"annotations": {provider_class.REFRESH_REQUESTED_AT: "x"}}})
    await heard.until(lambda: [p.wishes.refresh_requested_at for p in wishes] == ["x"])

    with pods.ending(uid) as ending:
        kube.delete(one)
        async with asyncio.timeout(5):
            assert await ending == "the pod is being deleted"
    assert pods.get(uid) is not None
    with pods.ending(before) as ending:
        kube.delete(f"{paths.pods(space, 'a')}?gracePeriodSeconds=0")
        kube.delete(f"{paths.pods(space, 'before')}?gracePeriodSeconds=0")
        async with asyncio.timeout(5):
            assert "the pod is" in await ending
    await heard.until(lambda: not pods.uids())


async def test_life_of_a_class(kube: client.Client, space: str, start: Start) -> None:
    kube.create(paths.classes(space), a_class(space))
    told: list[tuple[str, str]] = []
    classes = store.Classes(lambda namespace, name: told.append((namespace, name)))
    heard = start(paths.classes(), store.Class, classes.on_event, whole=False)
    await heard.until(lambda: classes.connected)
    assert heard.events[0] == reflector.Replaced(())

    def read() -> client.Json:
        obj = kube.get(paths.classes(space, "c"))
        classes.put(obj)
        return obj

    classes.remember(space, "c")
    assert classes.cached(space, "c") is None
    assert read() == classes.cached(space, "c")
    assert classes.current_generation(space, "c") == 1

    kube.patch(paths.classes(space, "c"), {"spec": {"provider": "other"}})
    await heard.until(lambda: told == [(space, "c")])
    assert classes.cached(space, "c") is None
    assert classes.current_generation(space, "c") == 2
    assert read()["spec"]["provider"] == "other"
    assert classes.cached(space, "c")

    kube.patch(
        paths.classes(space, "c"),
        {"metadata": {"annotations": {provider_class.ROTATION_INTERVAL: "5m"}}},
    )
    await heard.until(lambda: len(told) == 2)
    assert classes.cached(space, "c") is None
    kube.delete(paths.classes(space, "c"))
    await heard.until(lambda: len(told) == 3)
    assert classes.current_generation(space, "c") is None


async def test_life_of_a_status(kube: client.Client, space: str, start: Start) -> None:
    node = f"node-{space}"
    statuses = store.Statuses()
    heard = start(
        paths.pod_statuses(), store.Status, statuses.on_event,
        params={"labelSelector": f"{pod_status.NODE_LABEL}={node}"},
    )  # fmt: skip
    await heard.until(lambda: statuses.connected)
    for name, where in (("s", node), ("other", "another")):
        obj = {
            "apiVersion": paths.GROUP_VERSION,
            "kind": "SecretProviderClassPodStatus",
            "metadata": {
                "namespace": space,
                "name": name,
                "labels": {pod_status.NODE_LABEL: where},
            },
            "status": {"podName": "p", "mounted": True},
        }
        made = kube.create(paths.pod_statuses(space), obj)
        if name == "s":
            version = made["metadata"]["resourceVersion"]
    await heard.until(lambda: statuses.version(space, "s") == version)
    kube.patch(paths.pod_statuses(space, "s"), {"status": {"mounted": False}})
    await heard.until(lambda: statuses.version(space, "s") not in (None, version))
    kube.delete(paths.pod_statuses(space, "s"))
    await heard.until(lambda: statuses.get(space, "s") is None)
    assert statuses.all() == ()


async def test_cut_connection_misses_nothing(
    kube: client.Client, space: str, start: Start, forwarder: Forwarder
) -> None:
    classes = store.Classes()
    heard = start(paths.classes(space), store.Class, classes.on_event, whole=False)
    await heard.until(lambda: classes.connected)
    forwarder.refuse()
    await heard.until(lambda: "Stale" in heard.kinds())
    assert not classes.connected
    kube.create(paths.classes(space), a_class(space))
    forwarder.allow()
    await heard.until(lambda: "Added" in heard.kinds())
    assert heard.kinds() == ["Replaced", "Synced", "Stale", "Synced", "Added"]
    assert classes.connected


async def test_expired_version_starts_anew(
    api: cluster.Cluster, kube: client.Client, space: str, start: Start, forwarder: Forwarder
) -> None:
    pods = store.Pods()
    heard = start(paths.pods(space), store.Pod, pods.on_event)
    await heard.until(lambda: pods.connected)
    forwarder.refuse()
    await heard.until(lambda: not pods.connected)
    uid = kube.create(paths.pods(space), pod(space, "a", "n"))["metadata"]["uid"]
    # Only the stand-in can be made to forget; the real one goes on from where it was.
    if api.stand_in is not None:
        api.stand_in.compact()
    forwarder.allow()
    await heard.until(lambda: pods.connected and uid in pods.uids())
    expected = "Replaced" if api.stand_in is not None else "Added"
    assert expected in heard.kinds()[3:]


async def test_server_that_comes_late(
    kube: client.Client, space: str, start: Start, forwarder: Forwarder
) -> None:
    forwarder.refuse()
    pods = store.Pods()
    heard = start(paths.pods(space), store.Pod, pods.on_event)
    uid = kube.create(paths.pods(space), pod(space, "a", "n"))["metadata"]["uid"]
    assert heard.events == []
    forwarder.allow()
    await heard.until(lambda: pods.connected and uid in pods.uids())
    assert pods.ready.is_set()
    assert "Stale" not in heard.kinds()


async def test_rights_of_upstreams_roles_suffice_and_are_waited_for(
    api: cluster.Cluster,
    kube: client.Client,
    space: str,
    tmp_path: pathlib.Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    token = api.account_token("driver", [])
    config = credentials.load(str(api.kubeconfig(tmp_path / "driver", token=token)))
    classes = store.Classes()
    heard = Heard(classes.on_event)
    asked = threading.Semaphore(0)
    verbs = ["get", "list", "watch"]
    rules = [{"apiGroups": [paths.GROUP], "resources": ["secretproviderclasses"], "verbs": verbs}]

    def pause(seconds: float) -> None:
        assert seconds >= reflector.FLOOR_S
        asked.release()
        threading.Event().wait(0.05)

    with contextlib.closing(client.Client(config, user_agent="tests/1")) as driver:
        one = reflector.Reflector(
            driver,
            paths.classes(),
            project=store.Class.from_dict,
            on_event=heard,
            whole=False,
            pause=pause,
        )
        one.start(asyncio.get_running_loop())
        try:
            for _ in range(3):
                assert await asyncio.to_thread(asked.acquire, timeout=5)
            assert heard.events == []
            role = f"/apis/rbac.authorization.k8s.io/v1/clusterroles/{space}-driver"
            kube.patch(role, {"rules": rules})
            await heard.until(lambda: classes.connected)
        finally:
            await asyncio.to_thread(one.stop)
    warnings = [record for record in caplog.records if record.levelname == "WARNING"]
    assert [vars(record)["pairs"]["missing_right"] for record in warnings] == [
        "list secretproviderclasses.secrets-store.csi.x-k8s.io"
    ]
