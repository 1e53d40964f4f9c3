"""The API server under test: the stand-in always, a real one where the environment names it.

Other folders' tests reuse this with `from tests.apiserver.conftest import api, real_apiserver`.
"""

from collections.abc import Iterator

import pytest

from devkit import assets
from devkit.apiserver import cluster, server

_PARAMS = [pytest.param("stand-in")]
if assets.folder() is not None:
    # Its start takes longer than a test may.
    _PARAMS.append(pytest.param("real", marks=pytest.mark.timeout(90)))


@pytest.fixture(scope="session")
def real_apiserver() -> Iterator[assets.RealAPIServer]:
    programs = assets.folder()
    assert programs is not None
    with assets.RealAPIServer(programs) as real:
        yield real


@pytest.fixture(params=_PARAMS)
def api(request: pytest.FixtureRequest) -> Iterator[cluster.Cluster]:
    """A server with a namespace of the test's own."""
    if request.param == "real":
        real = request.getfixturevalue("real_apiserver")
        joined = cluster.join("real", real.url, real, None)
        yield joined
        joined.client.close()
        return
    with server.APIServer(rbac=True) as stand_in:
        joined = cluster.join("stand-in", stand_in.tls_url, stand_in, stand_in)
        yield joined
        joined.client.close()


@pytest.fixture
def stand_in() -> Iterator[server.APIServer]:
    """The stand-in alone, for what a real server does not have."""
    with server.APIServer() as running:
        yield running
