"""The real provider on a temporary socket, the stand-in KMS over HTTPS, and a driver's client."""

import contextlib
import io
import logging
import secrets
import shutil
import tempfile
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import grpc.aio
import pytest

from csi_spec import provider_pb2_grpc
from devkit.kms import model, seed, server, tls
from provider_kms import app, cluster, log, settings
from tests.contract.provider_kms.stage import SEED, Stage


@pytest.fixture(scope="session")
def authority() -> tls.Authority:
    return tls.Authority()


@pytest.fixture(scope="session")
def server_pair(authority: tls.Authority) -> tls.Pair:
    return authority.issue()


@pytest.fixture
def folder() -> Iterator[str]:
    path = tempfile.mkdtemp(prefix="kms", dir="/tmp")
    yield path
    shutil.rmtree(path)


@pytest.fixture
def kms_at(server_pair: tls.Pair) -> Iterator[Callable[..., server.KMS]]:
    """Start stand-in KMSes on demand: kms_at(seed text, KMS arguments…)."""
    with contextlib.ExitStack() as stack:

        def start(text: str = SEED, **arguments: Any) -> server.KMS:
            world = model.World()
            arguments.setdefault("ssl_context", server_pair.server_context())
            kms = server.KMS(world, **arguments)
            seed.parse(text).apply(world, kms.faults)
            return stack.enter_context(kms)

        yield start


@pytest.fixture
async def stage_of(
    authority: tls.Authority, folder: str, kms_at: Callable[..., server.KMS]
) -> AsyncIterator[Callable[..., Any]]:
    """Start a stage on demand: await stage_of(kms=…, flags of Settings…)."""
    async with contextlib.AsyncExitStack() as stack:

        async def start(
            kms: server.KMS | None = None,
            api_server: cluster.Cluster | None = None,
            chance: float = 0.0,
            **flags: Any,
        ) -> Stage:
            socket = f"{folder}/{secrets.token_hex(4)}.sock"
            chosen = settings.Settings(
                **{"endpoint": socket, "health_port": "127.0.0.1:0", **flags}
            )
            provider = app.App(chosen, api_server=api_server, chance=lambda: chance)
            await provider.start()
            stack.push_async_callback(provider.stop, 0.0)
            channel = grpc.aio.insecure_channel(
                f"unix:{socket}", options=[("grpc.default_authority", "localhost")]
            )
            await stack.enter_async_context(channel)
            stub = provider_pb2_grpc.CSIDriverProviderStub(channel)
            return Stage(kms or kms_at(), provider, stub, authority.certificate_pem, socket)

        yield start


@pytest.fixture
def logged() -> Iterator[io.StringIO]:
    """Everything that is logged, at DEBUG and in both forms."""
    text = io.StringIO()
    root = logging.getLogger()
    handlers = []
    for formatter in (log.KlogFormatter(), log.JsonFormatter()):
        handler = logging.StreamHandler(text)
        handler.setFormatter(formatter)
        root.addHandler(handler)
        handlers.append(handler)
    level = root.level
    root.setLevel(logging.DEBUG)
    yield text
    root.setLevel(level)
    for handler in handlers:
        root.removeHandler(handler)


@pytest.fixture
async def stage(stage_of: Callable[..., Any]) -> Stage:
    return await stage_of()
