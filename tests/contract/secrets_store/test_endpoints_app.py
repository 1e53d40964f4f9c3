"""The HTTP endpoints of a running driver process."""

import contextlib
import pathlib
import socket
import urllib.error
import urllib.request
from collections.abc import AsyncIterator

import grpc.aio
import pytest

from csi_spec import csi_pb2_grpc
from devkit import provider, stage
from devkit.apiserver import server

UPSTREAM = (
    "node_publish_total",
    "node_publish_error_total",
    "node_unpublish_total",
    "rotation_reconcile_total",
    "rotation_reconcile_duration_sec_bucket",
)


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as one:
        port: int = one.getsockname()[1]
    return port


def get(port: int, path: str) -> str:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=3) as answer:
        text: str = answer.read().decode()
    return text


@contextlib.asynccontextmanager
async def running(
    node: stage.Node, api: server.APIServer, *flags: str
) -> AsyncIterator[stage.DriverProcess]:
    driver = stage.DriverProcess(
        node, api.kubeconfig(node.root / "kubeconfig", tls=False), flags=flags
    )
    await driver.start()
    try:
        yield driver
    finally:
        assert await driver.stop() == 0


@pytest.mark.root
async def test_the_metrics_are_upstreams_and_ours(
    node: stage.Node, api: server.APIServer, provider_: provider.Provider
) -> None:
    port = free_port()
    flags = (
        f"--metrics-addr=127.0.0.1:{port}",
        "--enable-secret-rotation",
        "--rotation-poll-interval=50ms",
    )
    async with (
        running(node, api, *flags),
        grpc.aio.insecure_channel(f"unix:{node.csi_socket}") as channel,
    ):
        csi = csi_pb2_grpc.NodeStub(channel)
        await csi.NodePublishVolume(stage.request(node, "pod1"), timeout=5)
        with pytest.raises(grpc.aio.AioRpcError):
            await csi.NodePublishVolume(stage.request(node, "pod2", class_name="no"), timeout=5)
        await provider_.wait_attempts(3)
        text = get(port, "/metrics")
    for name in UPSTREAM:
        if name != "node_unpublish_total":
            assert f"\n{name}{{" in text, name
    assert 'error_type="SecretProviderClassNotFound"' in text
    assert 'secrets_store_mounted_volumes{namespace="default",provider="fake"' in text
    assert "pod1" not in text


async def test_nothing_else_is_served(node: stage.Node, api: server.APIServer) -> None:
    """F12: no stacks, no profiles, unless asked for, and then on loopback only."""
    metrics, stacks = free_port(), free_port()
    async with running(node, api, f"--metrics-addr=127.0.0.1:{metrics}", f"--pprof-port={stacks}"):
        for path in ("/", "/debug/pprof/", "/metrics/x"):
            with pytest.raises(urllib.error.HTTPError) as failed:
                get(metrics, path)
            assert failed.value.code == 404
            failed.value.close()
        with pytest.raises(urllib.error.URLError):
            get(stacks, "/")


async def test_the_stacks_are_served_on_loopback(node: stage.Node, api: server.APIServer) -> None:
    metrics, stacks = free_port(), free_port()
    async with running(
        node,
        api,
        f"--metrics-addr=127.0.0.1:{metrics}",
        "--enable-pprof",
        f"--pprof-port={stacks}",
    ) as driver:
        assert "thread MainThread" in get(stacks, "/")
        table = pathlib.Path(f"/proc/{driver.pid}/net/tcp").read_text().splitlines()[1:]
        listening = {x.split()[1] for x in table if x.split()[3] == "0A"}
        assert f"0100007F:{stacks:04X}" in listening
        assert f"00000000:{stacks:04X}" not in listening


async def test_an_address_that_is_taken_ends_the_start_with_a_sentence(
    node: stage.Node, api: server.APIServer
) -> None:
    log = node.root / "log"
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        driver = stage.DriverProcess(
            node,
            api.kubeconfig(node.root / "kubeconfig", tls=False),
            flags=[f"--metrics-addr=127.0.0.1:{port}"],
            log=log,
        )
        with pytest.raises(stage.DriverEnded, match="exit code 1"):
            await driver.start()
    assert f"cannot listen on 127.0.0.1:{port}" in log.read_text()
    assert "Traceback" not in log.read_text()
