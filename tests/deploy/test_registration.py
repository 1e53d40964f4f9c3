"""Registration as node-driver-registrar and kubelet speak it, through restarts of each."""

from collections.abc import AsyncIterator, Iterator

import pytest

from devkit import registration, stage
from devkit.apiserver import server
from devkit.kubelet import agent, plugins
from tests.deploy import program, upstream

pytestmark = pytest.mark.timeout(60)

NAME = "secrets-store.csi.k8s.io"


@pytest.fixture
def node() -> Iterator[stage.Node]:
    with stage.Node("re") as made:
        (made.root / "reg").mkdir()
        yield made


@pytest.fixture
async def driver(node: stage.Node) -> AsyncIterator[program.Program]:
    with server.APIServer() as api:
        kubeconfig = api.kubeconfig(node.root / "kubeconfig")
        variables = program.environment(upstream.ENVIRONMENT)
        started = program.Program(upstream.PLAIN_ARGUMENTS, variables, node, kubeconfig)
        async with started:
            yield started


@pytest.fixture
def kubelet(node: stage.Node) -> agent.Kubelet:
    return agent.Kubelet(node.kubelet, stage.NODE)


def registrar(node: stage.Node) -> registration.Registrar:
    return registration.Registrar(str(node.csi_socket), node.root / "reg")


async def test_kubelet_learns_name_socket_and_node(
    node: stage.Node, driver: program.Program, kubelet: agent.Kubelet
) -> None:
    sidecar = registrar(node)
    await sidecar.start()
    await kubelet.watcher(node.root / "reg").look()
    await sidecar.outcome()
    assert kubelet.plugins == {
        NAME: plugins.Plugin(
            name=NAME,
            endpoint=str(node.csi_socket),
            node_id=stage.NODE,
            max_volumes=0,
            topology={},
        )
    }
    assert [path.name for path in (node.root / "reg").iterdir()] == [f"{NAME}-reg.sock"]
    await sidecar.stop()


async def test_a_restarted_driver_is_found_under_the_old_registration(
    node: stage.Node, driver: program.Program, kubelet: agent.Kubelet
) -> None:
    sidecar = registrar(node)
    await sidecar.start()
    await kubelet.watcher(node.root / "reg").look()
    assert await driver.stop() == 0
    assert not node.csi_socket.exists()
    await driver.start()
    assert await plugins.inspect(NAME, kubelet.plugins[NAME].endpoint) == kubelet.plugins[NAME]
    await sidecar.stop()


async def test_a_restarted_sidecar_registers_anew(
    node: stage.Node, driver: program.Program, kubelet: agent.Kubelet
) -> None:
    watcher = kubelet.watcher(node.root / "reg")
    for _ in range(3):
        sidecar = registrar(node)
        await sidecar.start()
        await watcher.look()
        await sidecar.outcome()
        assert list(kubelet.plugins) == [NAME]
        await sidecar.stop()
        await watcher.look()
        assert kubelet.plugins == {}


async def test_both_restart_and_a_dead_socket_lies_in_the_way(
    node: stage.Node, driver: program.Program, kubelet: agent.Kubelet
) -> None:
    watcher = kubelet.watcher(node.root / "reg")
    first = registrar(node)
    await first.start()
    await watcher.look()
    await driver.kill()
    assert node.csi_socket.exists(), "a killed driver leaves its socket"
    await first.stop()
    await driver.start()
    second = registrar(node)
    await second.start()
    await watcher.look()
    await second.outcome()
    assert list(kubelet.plugins) == [NAME]
    await second.stop()


async def test_the_socket_appears_only_when_it_answers(
    node: stage.Node, driver: program.Program
) -> None:
    """The sidecar gives the driver one second from the moment the socket is there."""
    assert await driver.stop() == 0
    await driver.appear()
    sidecar = registrar(node)
    await sidecar.start()
    await sidecar.stop()
