"""An API server to install into: the stand-in always, a real one where the environment has it."""

import contextlib
import os
import shutil
from collections.abc import Iterator

import pytest

from devkit import assets
from devkit.apiserver import client, server

_REAL = bool(os.environ.get(assets.VARIABLE))
# Rules in CEL are evaluated by a real API server only; kubectl is not everywhere.
collect_ignore = [
    *([] if _REAL else ["test_admission.py"]),
    *([] if shutil.which("kubectl") else ["test_kubectl.py", "test_walk.py"]),
]


@contextlib.contextmanager
def running(kind: str) -> Iterator[client.Client]:
    """Start a server of one kind and yield the administrator's client."""
    if kind == "stand-in":
        with server.APIServer(tls_port=None) as stand_in:
            yield client.Client(stand_in.url, stand_in.admin_token)
        return
    with real_server() as real:
        yield real.client()


def real_server() -> assets.RealAPIServer:
    programs = assets.folder()
    assert programs is not None
    return assets.RealAPIServer(programs)


@pytest.fixture(scope="module", params=["stand-in", *(["real"] if _REAL else [])])
def cluster(request: pytest.FixtureRequest) -> Iterator[client.Client]:
    """A cluster with the two CRDs as upstream has them, shared by the tests of a module."""
    with running(request.param) as made, contextlib.closing(made):
        yield made


@pytest.fixture(scope="module")
def real() -> Iterator[assets.RealAPIServer]:
    """A real API server, shared by the tests of a module."""
    with real_server() as made:
        yield made
