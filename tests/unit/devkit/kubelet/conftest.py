"""Short directories for sockets, and a driver on one."""

import pathlib
import shutil
import tempfile
from collections.abc import AsyncIterator, Iterator

import pytest

from tests.unit.devkit.kubelet import node_driver


@pytest.fixture
def directory() -> Iterator[pathlib.Path]:
    path = pathlib.Path(tempfile.mkdtemp(prefix="kubelet", dir="/tmp"))
    yield path
    shutil.rmtree(path)


@pytest.fixture
async def driver(directory: pathlib.Path) -> AsyncIterator[node_driver.NodeDriver]:
    """A driver that serves on `<directory>/csi.sock`."""
    served = node_driver.NodeDriver()
    server = await served.serve(str(directory / "csi.sock"))
    yield served
    await server.stop(0)
