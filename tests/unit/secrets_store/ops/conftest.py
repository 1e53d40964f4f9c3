import pathlib
from collections.abc import Iterator

import pytest

from devkit.apiserver import server


@pytest.fixture
def api() -> Iterator[server.APIServer]:
    with server.APIServer(rbac=True) as running:
        yield running


@pytest.fixture
def kubeconfig(api: server.APIServer, tmp_path: pathlib.Path) -> str:
    return str(api.kubeconfig(tmp_path / "kubeconfig"))
