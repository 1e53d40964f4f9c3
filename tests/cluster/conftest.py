"""Whole drivers on an API server, the stand-in and a real one alike, with their time in hand."""

import contextlib
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import pytest

from devkit import provider, stage
from devkit.apiserver import cluster as apiserver
from tests.apiserver.conftest import api, real_apiserver
from tests.cluster import clock as clocks
from tests.cluster import drivers, scene

__all__ = ["api", "real_apiserver"]

Start = Callable[..., contextlib.AbstractAsyncContextManager[drivers.Driver]]


@pytest.fixture
def world(api: apiserver.Cluster) -> scene.Scene:
    """A namespace with the class app."""
    made = scene.Scene(api)
    made.create_class()
    return made


@pytest.fixture
def token(api: apiserver.Cluster) -> str:
    """The driver's identity, with the rights of the manifests and no others."""
    return api.account_token("driver", list(scene.driver_rules()))


@pytest.fixture
def clock() -> clocks.VirtualClock:
    return clocks.VirtualClock()


@pytest.fixture
def node() -> Iterator[stage.Node]:
    with stage.Node("cl") as made:
        yield made


@pytest.fixture
async def store(node: stage.Node) -> AsyncIterator[provider.Provider]:
    """The provider called fake."""
    async with provider.Provider(node.providers, "fake", {"password": b"first"}) as running:
        yield running


@pytest.fixture
def start(node: stage.Node, api: apiserver.Cluster, token: str, store: provider.Provider) -> Start:
    """Start a driver; arguments as of `drivers.running`, which may also name another node."""

    def begin(
        **chosen: Any,
    ) -> contextlib.AbstractAsyncContextManager[drivers.Driver]:
        return drivers.running(chosen.pop("node", node), api, **{"token": token, **chosen})

    return begin
