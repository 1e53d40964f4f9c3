"""What the driver's process costs: requests, modules, processes, descriptors, threads."""

import dataclasses
import json
import os
import pathlib
import sys
from collections.abc import AsyncIterator, Sequence

import grpc.aio
import pytest

from csi_spec import csi_pb2, csi_pb2_grpc
from devkit import provider, stage
from devkit.apiserver import server
from tests.contract.secrets_store.conftest import Driver, Start, eventually

pytestmark = pytest.mark.root

HEAVY = {
    "aiohttp", "click", "cryptography", "httpx", "kubernetes", "pydantic", "requests", "rich",
    "watchdog", "yaml",
}  # fmt: skip
"""Packages whose weight this process must not carry."""

# Runs a driver as its own module does, and writes down at the end what it has imported.
TELLING = """
import atexit, json, os, sys
def tell():
    with open(os.environ["TELL"], "w") as file:
        json.dump(sorted({name.partition(".")[0] for name in sys.modules}), file)
atexit.register(tell)
from secrets_store import cli
cli.main()
"""

# A pod's place for its service account, in a mount namespace that ends with the process.
IN_POD = """
set -e
mount -t tmpfs tmpfs /var/run/
mkdir -p /var/run/secrets/kubernetes.io/serviceaccount
cp "$ACCOUNT"/* /var/run/secrets/kubernetes.io/serviceaccount/
exec "$@"
"""


class Process:
    """A driver process between stand-ins."""

    def __init__(
        self, node: stage.Node, driver: stage.DriverProcess, csi: grpc.aio.Channel
    ) -> None:
        self.node, self.driver = node, driver
        self._csi = csi_pb2_grpc.NodeStub(csi)

    async def cycle(self, uid: str) -> None:
        request = stage.request(self.node, uid)
        await self._csi.NodePublishVolume(request, timeout=10)
        await self._csi.NodeUnpublishVolume(
            csi_pb2.NodeUnpublishVolumeRequest(
                volume_id=request.volume_id, target_path=request.target_path
            ),
            timeout=10,
        )

    def footprint(self) -> "Footprint":
        root = pathlib.Path(f"/proc/{self.driver.pid}")
        fields = (root / "stat").read_text().rpartition(")")[2].split()
        return Footprint(
            descriptors=len(os.listdir(root / "fd")),
            threads=len(os.listdir(root / "task")),
            children=sum(
                len((task / "children").read_text().split()) for task in (root / "task").iterdir()
            ),
            faults_of_children=int(fields[8]),
        )


@dataclasses.dataclass(frozen=True)
class Footprint:
    """What the system knows of a process.

    Attributes:
        faults_of_children: Page faults of children that have ended; each child has some.
    """

    descriptors: int
    threads: int
    children: int
    faults_of_children: int


@pytest.fixture
async def process(
    node: stage.Node, api: server.APIServer, provider_: provider.Provider
) -> AsyncIterator[Process]:
    driver = stage.DriverProcess(node, api.kubeconfig(node.root / "kubeconfig", tls=False))
    await driver.start()
    try:
        async with grpc.aio.insecure_channel(f"unix:{node.csi_socket}") as channel:
            yield Process(node, driver, channel)
    finally:
        assert await driver.stop() == 0


@pytest.mark.timeout(60)
async def test_three_hundred_volumes_leave_no_trace_in_the_process(process: Process) -> None:
    for number in range(20):
        await process.cycle(f"warm{number}")
    before = process.footprint()
    for number in range(300):
        await process.cycle(f"pod{number}")
    after = process.footprint()
    assert after.children == before.children == 0
    assert after.faults_of_children == before.faults_of_children == 0
    # The pool of API connections may still have been growing.
    assert after.descriptors <= before.descriptors + 8
    # The loop, two pools of 4 and 8, three watches, the metrics endpoint, and gRPC's own.
    assert after.threads <= 4 + 8 + 3 + 2 + 10
    assert process.node.mounts() == []
    assert list((process.node.csi_socket.parent / "state").iterdir()) == []


async def _in_cluster(
    node: stage.Node, api: server.APIServer, command: Sequence[str]
) -> stage.DriverProcess:
    account = node.root / "account"
    account.mkdir()
    (account / "token").write_text(api.admin_token)
    (account / "namespace").write_text("kube-system")
    (account / "ca.crt").write_bytes(api.ca_pem)
    host, _, port = api.tls_url.removeprefix("https://").rpartition(":")
    driver = stage.DriverProcess(
        node,
        pathlib.Path(),
        command=["unshare", "--mount", "--propagation=private", "sh", "-c", IN_POD, "sh", *command],
        flags=["--kubeconfig="],
        environment={
            "ACCOUNT": str(account),
            "TELL": str(node.root / "modules"),
            "KUBECONFIG": "",
            "KUBERNETES_SERVICE_HOST": host,
            "KUBERNETES_SERVICE_PORT": port,
        },
    )
    await driver.start()
    return driver


@pytest.mark.timeout(30)
async def test_in_its_pod_it_imports_nothing_heavy(
    node: stage.Node, api: server.APIServer, provider_: provider.Provider
) -> None:
    driver = await _in_cluster(node, api, [sys.executable, "-c", TELLING])
    try:
        async with grpc.aio.insecure_channel(f"unix:{node.csi_socket}") as channel:
            await Process(node, driver, channel).cycle("pod1")
        await eventually(lambda: api.watches == 3)
        agents = {x.user_agent for x in api.requests.entries()}
    finally:
        assert await driver.stop() == 0
    found = set(json.loads((node.root / "modules").read_text()))
    assert "secrets_store" in found
    assert "urllib3" in found
    assert not found & HEAVY
    assert agents
    assert all(x.startswith("csi-secrets-store/controller/") for x in agents)


async def test_a_known_class_costs_one_request_less(driver: Driver) -> None:
    await eventually(lambda: driver.api.watches == 3)
    await driver.publish("pod1")
    driver.api.requests.reset()
    await driver.publish("pod2")
    assert driver.api.requests.count() <= 2
    driver.api.requests.reset()
    await driver.publish("pod2")
    await driver.unpublish("pod1")
    assert driver.api.requests.counters() == {}


async def test_a_refresh_that_changes_nothing_writes_nothing(start: Start) -> None:
    async with start(enable_secret_rotation=True, rotation_poll_interval_s=0.1) as driver:
        await driver.publish()
        await eventually(lambda: len(driver.provider.calls) >= 2)
        driver.api.requests.reset()
        seen = len(driver.provider.calls)
        await eventually(lambda: len(driver.provider.calls) >= seen + 5)
        assert {x.method for x in driver.api.requests.entries()} <= {"GET"}
