"""A stand-in that is put together but listens nowhere, and the parts it is made of."""

import pytest

from devkit.apiserver import removal, server, store


@pytest.fixture
def kept() -> store.Store:
    return store.Store()


@pytest.fixture
def remover(kept: store.Store) -> removal.Remover:
    return removal.Remover(kept)


@pytest.fixture
def api() -> server.APIServer:
    """Answers requests in-process; its sockets are never opened."""
    return server.APIServer(tls_port=None)
