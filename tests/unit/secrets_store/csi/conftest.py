"""Servicers behind a real server on a real socket."""

import contextlib
import pathlib
import shutil
import tempfile
from collections.abc import AsyncIterator, Callable, Iterator, Sequence

import grpc.aio
import pytest

from csi_spec import rpc
from secrets_store.csi import interceptors

Serve = Callable[[Sequence[rpc.Register]], contextlib.AbstractAsyncContextManager[grpc.aio.Channel]]


@pytest.fixture
def directory() -> Iterator[pathlib.Path]:
    path = pathlib.Path(tempfile.mkdtemp(prefix="csi", dir="/tmp"))
    yield path
    shutil.rmtree(path)


@pytest.fixture
def serve(directory: pathlib.Path) -> Serve:
    """Serve servicers behind the driver's interceptor; yields a channel to them."""

    @contextlib.asynccontextmanager
    async def serving(register: Sequence[rpc.Register]) -> AsyncIterator[grpc.aio.Channel]:
        server = await rpc.serve(
            f"{directory}/csi.sock", register, interceptors=[interceptors.Translator()]
        )
        async with grpc.aio.insecure_channel(f"unix:{directory}/csi.sock") as channel:
            yield channel
        await server.stop(0)

    return serving
