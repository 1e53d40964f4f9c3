"""Directories for sockets, and a registry that looks into both."""

import pathlib
import shutil
import tempfile
from collections.abc import AsyncIterator, Iterator

import pytest

from secrets_store.providers import registry


@pytest.fixture
def directories() -> Iterator[tuple[pathlib.Path, pathlib.Path]]:
    base = pathlib.Path(tempfile.mkdtemp(prefix="pr", dir="/tmp"))
    for name in "12":
        (base / name).mkdir()
    yield base / "1", base / "2"
    shutil.rmtree(base)


@pytest.fixture
async def known(
    directories: tuple[pathlib.Path, pathlib.Path],
) -> AsyncIterator[registry.Registry]:
    made = registry.Registry([str(x) for x in directories], max_receive_bytes=4 << 20)
    yield made
    await made.close()
