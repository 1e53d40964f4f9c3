"""Our program under upstream's manifests, and under ours: arguments, environment, rights."""

import asyncio
import contextlib
import urllib.request
from collections.abc import AsyncIterator, Iterable, Iterator

import pytest

from devkit import provider, registration, stage
from devkit.apiserver import client, server
from devkit.kubelet import agent, objects
from secrets_store import cli
from tests.deploy import manifests, program, upstream, waiting

pytestmark = [pytest.mark.root, pytest.mark.timeout(60)]

STATUS = (f"{upstream.GROUP}/v1", "SecretProviderClassPodStatus")
OURS = manifests.containers(manifests.one(manifests.folder(), "DaemonSet", manifests.DRIVER))[
    "secrets-store"
]
COPY = {
    "secretName": "copy",
    "type": "Opaque",
    "data": [{"objectName": "password", "key": "PASSWORD"}],
}


@pytest.fixture
def node() -> Iterator[stage.Node]:
    with stage.Node("di") as made:
        yield made


@pytest.fixture
def api() -> Iterator[server.APIServer]:
    """An API server that asks RBAC, with a class that is copied into a Secret."""
    with server.APIServer(rbac=True) as made:
        made.create(stage.class_object(secretObjects=[COPY]))
        yield made


@contextlib.asynccontextmanager
async def running(
    api: server.APIServer,
    node: stage.Node,
    rights: Iterable[manifests.Object],
    arguments: Iterable[str],
    variables: Iterable[manifests.Object],
) -> AsyncIterator[program.Program]:
    """Start the driver with the rights of its service account and nothing more."""
    admin = client.Client(api.url, api.admin_token)
    list(manifests.apply(admin, rights))
    admin.close()
    token = api.service_account_token(upstream.ACCOUNT, "kube-system")["token"]
    kubeconfig = api.kubeconfig(node.root / "kubeconfig", token=token)
    started = program.Program(arguments, program.environment(variables), node, kubeconfig)
    async with started:
        yield started


@contextlib.asynccontextmanager
async def registered(node: stage.Node, driver: manifests.Object) -> AsyncIterator[agent.Kubelet]:
    """A kubelet that has learnt of the driver as it does: by the sidecar's socket."""
    registry = node.root / "reg"
    registry.mkdir()
    kubelet = agent.Kubelet(node.kubelet, stage.NODE, [objects.CsiDriver.from_dict(driver)])
    registrar = registration.Registrar(str(node.csi_socket), registry)
    await registrar.start()
    await kubelet.watcher(registry).look()
    await registrar.outcome()
    try:
        yield kubelet
    finally:
        await registrar.stop()
        await kubelet.close()


def create_pod(api: server.APIServer) -> objects.Pod:
    spec = {
        "nodeName": stage.NODE,
        "serviceAccountName": "default",
        "containers": [{"name": "c", "image": "i"}],
    }
    metadata = {"name": "web", "namespace": "default"}
    return objects.Pod.from_dict(
        api.create({"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec})
    )


VOLUME = objects.Volume("secrets", {"secretProviderClass": "app"})


def scrape(port: int) -> str:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=5) as answer:
        return str(answer.read().decode())


def refused(api: server.APIServer) -> list[str]:
    return [
        f"{entry.verb} {entry.resource}"
        for entry in api.requests.entries()
        if entry.code == 403 and upstream.ACCOUNT in entry.user
    ]


async def live(
    api: server.APIServer, node: stage.Node, driver: program.Program, csi_driver: manifests.Object
) -> None:
    """Carry one pod's volume through its life and look at everything others rely on."""
    async with (
        provider.Provider(node.providers, "fake", {"password": b"first"}),
        registered(node, csi_driver) as kubelet,
    ):
        pod = create_pod(api)
        published = await kubelet.publish(pod, VOLUME, attempts=1)
        assert (published.target / "password").read_bytes() == b"first"
        (status,) = api.list_all(*STATUS, "default")
        assert status["metadata"]["name"] == "web-default-app"
        assert status["status"]["targetPath"] == str(published.target)
        assert await waiting.until(lambda: api.list_all("v1", "Secret", "default"))
        await kubelet.republish(pod, "secrets")
        assert "node_publish_total{" in await asyncio.to_thread(scrape, driver.metrics_port)
        await kubelet.delete_pod(pod, attempts=1)
        assert node.mounts() == []
    assert refused(api) == []
    assert await driver.stop() == 0
    assert not node.csi_socket.exists()


@pytest.mark.parametrize("version", upstream.VERSIONS)
@pytest.mark.parametrize(
    "arguments", [upstream.PLAIN_ARGUMENTS, upstream.CHART_ARGUMENTS], ids=["plain", "chart"]
)
async def test_under_upstreams_manifests(
    api: server.APIServer, node: stage.Node, version: str, arguments: tuple[str, ...]
) -> None:
    rights = upstream.rights(version)
    async with running(api, node, rights, arguments, upstream.ENVIRONMENT) as driver:
        await live(api, node, driver, upstream.csi_driver(version))


def ours(*folders: str) -> list[manifests.Object]:
    """Our rights, without what only a real API server would look at."""
    wanted = ("ServiceAccount", "ClusterRole", "ClusterRoleBinding")
    return [obj for name in folders for obj in manifests.folder(name) if obj["kind"] in wanted]


async def test_under_our_manifests(api: server.APIServer, node: stage.Node) -> None:
    rights = ours("", "secret-sync", "secret-sync/everywhere")
    csi_driver = manifests.one(manifests.folder(), "CSIDriver")
    async with running(api, node, rights, OURS["args"], OURS["env"]) as driver:
        await live(api, node, driver, csi_driver)
    # The sync role lists nothing: what is read is named by a class.
    assert not api.requests.entries(verb="list", resource="secrets")
    assert not api.requests.entries(verb="watch", resource="secrets")


async def test_copies_in_one_namespace_only(api: server.APIServer, node: stage.Node) -> None:
    binding = manifests.folder("secret-sync/namespace")
    for obj in binding:
        obj["metadata"]["namespace"] = "default"
    rights = [*ours("", "secret-sync"), *binding]
    csi_driver = manifests.one(manifests.folder(), "CSIDriver")
    async with running(api, node, rights, OURS["args"], OURS["env"]) as driver:
        await live(api, node, driver, csi_driver)


async def test_without_the_right_to_copy_the_files_are_there_and_an_event_tells(
    api: server.APIServer, node: stage.Node
) -> None:
    csi_driver = manifests.one(manifests.folder(), "CSIDriver")
    async with (
        running(api, node, ours(""), OURS["args"], OURS["env"]) as driver,
        provider.Provider(node.providers, "fake", {"password": b"first"}),
        registered(node, csi_driver) as kubelet,
    ):
        pod = create_pod(api)
        published = await kubelet.publish(pod, VOLUME, attempts=1)
        assert (published.target / "password").read_bytes() == b"first"
        events = await waiting.until(lambda: api.list_all("v1", "Event", "default"))
        assert "secretprovidersyncing-role" in events[0]["message"]
        assert {line.partition(" ")[2] for line in refused(api)} == {"secrets"}
        await kubelet.delete_pod(pod, attempts=1)
        assert await driver.stop() == 0


EVERY_FLAG = """
    --endpoint=unix://tmp/csi.sock -drivername secrets-store.csi.k8s.io -nodeid=n
    --log-format-json -provider-volume=/a --additional-provider-volume-paths /b,/c
    --metrics-addr=:8095 --enable-secret-rotation=T --rotation-poll-interval=1m30s
    --enable-pprof=false --pprof-port=6065 --max-call-recv-msg-size=8388608
    --provider-health-check=1 --provider-health-check-interval=2m --metrics-backend=prometheus
    --kubeconfig=/k --version=false --add_dir_header=true --alsologtostderr --log_backtrace_at=a:1
    --log_dir=/l --log_file=/l/f --log_file_max_size=1800 --logtostderr=true --one_output=f
    --skip_headers --skip_log_headers --stderrthreshold=2 -v=5 --vmodule=a=2
"""


def test_every_flag_of_upstream_is_accepted() -> None:
    chosen = cli.parse(EVERY_FLAG.split())
    chosen.check()
    assert chosen.provider_directories == ("/b", "/c", "/a")
    assert (chosen.interval_s, chosen.max_call_recv_msg_size, chosen.verbosity) == (90, 8 << 20, 5)
