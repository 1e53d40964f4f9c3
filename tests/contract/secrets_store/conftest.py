"""The real driver in this process, on a real socket, between stand-ins."""

import asyncio
import contextlib
import dataclasses
import pathlib
from collections.abc import AsyncIterator, Callable
from typing import Any

import grpc
import grpc.aio
import pytest

from csi_spec import csi_pb2, csi_pb2_grpc
from devkit import provider, stage
from devkit.apiserver import server
from secrets_store import app, metrics, settings
from secrets_store.kube import client, credentials


@dataclasses.dataclass
class Driver:
    """What a test holds of a running driver."""

    node: stage.Node
    api: server.APIServer
    provider: provider.Provider
    app: app.App
    csi: csi_pb2_grpc.NodeStub
    identity: csi_pb2_grpc.IdentityStub
    controller: csi_pb2_grpc.ControllerStub

    def request(self, pod_uid: str = "pod1", **changes: Any) -> csi_pb2.NodePublishVolumeRequest:
        return stage.request(self.node, pod_uid, **changes)

    async def publish(self, pod_uid: str = "pod1", **changes: Any) -> pathlib.Path:
        """Publish a pod's volume; return its directory."""
        request = self.request(pod_uid, **changes)
        await self.csi.NodePublishVolume(request, timeout=120)
        return pathlib.Path(request.target_path)

    async def unpublish(self, pod_uid: str = "pod1", volume: str = "secrets") -> None:
        await self.csi.NodeUnpublishVolume(
            csi_pb2.NodeUnpublishVolumeRequest(
                volume_id=f"csi-{pod_uid}-{volume}", target_path=self.node.target(pod_uid, volume)
            )
        )

    def records(self) -> list[pathlib.Path]:
        return sorted((self.node.csi_socket.parent / "state").glob("*"))

    def status(self, name: str = "pod-pod1-default-app") -> dict[str, Any] | None:
        found = self.api.list_all(
            "secrets-store.csi.x-k8s.io/v1", "SecretProviderClassPodStatus", "default"
        )
        return next((x for x in found if x["metadata"]["name"] == name), None)

    def events(self, reason: str) -> list[dict[str, Any]]:
        return [x for x in self.api.list_all("v1", "Event", "default") if x["reason"] == reason]


Start = Callable[..., contextlib.AbstractAsyncContextManager[Driver]]


@pytest.fixture
def api() -> Any:
    with server.APIServer() as running:
        running.create(stage.class_object())
        yield running


@pytest.fixture
def node() -> Any:
    with stage.Node("ct") as made:
        yield made


@pytest.fixture
async def provider_(node: stage.Node) -> AsyncIterator[provider.Provider]:
    async with provider.Provider(node.providers, "fake", {"password": b"first"}) as running:
        yield running


@pytest.fixture
def start(node: stage.Node, api: server.APIServer, provider_: provider.Provider) -> Start:
    """Start a driver; keyword arguments are settings, ``app_options`` go to the App."""

    @contextlib.asynccontextmanager
    async def begin(
        app_options: dict[str, Any] | None = None, **chosen: Any
    ) -> AsyncIterator[Driver]:
        config = credentials.load(str(api.kubeconfig(node.root / "kubeconfig", tls=False)))
        counted = metrics.Metrics()
        made = settings.Settings(
            **{
                "endpoint": f"unix://{node.csi_socket}",
                "node_id": stage.NODE,
                "provider_volume": str(node.providers),
                "additional_provider_volume_paths": str(node.more_providers),
            }
            | chosen
        )
        driver = app.App(
            made,
            api=client.Client(config, user_agent="driver", observe=counted.api_request),
            metrics=counted,
            **(app_options or {}),
        )
        async with (
            driver.serving(),
            grpc.aio.insecure_channel(f"unix:{node.csi_socket}") as channel,
        ):
            yield Driver(
                node,
                api,
                provider_,
                driver,
                csi_pb2_grpc.NodeStub(channel),
                csi_pb2_grpc.IdentityStub(channel),
                csi_pb2_grpc.ControllerStub(channel),
            )

    return begin


@pytest.fixture
async def driver(start: Start) -> AsyncIterator[Driver]:
    """A driver with default settings and rotation off."""
    async with start() as running:
        yield running


async def eventually(check: Callable[[], Any], timeout_s: float = 4.0) -> Any:
    """Wait until a check is true; return what it returned."""
    loop = asyncio.get_running_loop()
    ends = loop.time() + timeout_s
    while not (found := check()):
        assert loop.time() < ends, "did not come true in time"
        await asyncio.sleep(0.01)
    return found
