"""The server on real sockets: when they appear, who may use them, who removes them."""

import asyncio
import functools
import os
import pathlib
import shutil
import socket
import stat
import tempfile
from collections.abc import AsyncIterator, Callable, Iterator

import grpc.aio
import pytest

from csi_spec import provider_pb2, provider_pb2_grpc, rpc

VersionContext = grpc.aio.ServicerContext[provider_pb2.VersionRequest, provider_pb2.VersionResponse]
MountContext = grpc.aio.ServicerContext[provider_pb2.MountRequest, provider_pb2.MountResponse]


class Provider(provider_pb2_grpc.CSIDriverProviderServicer):
    """Answers Version with a name; Mount waits until it is let go."""

    def __init__(self, name: str = "one") -> None:
        self.name = name
        self.entered = asyncio.Event()
        self.released = asyncio.Event()
        self.cancelled = asyncio.Event()

    async def Version(
        self, request: provider_pb2.VersionRequest, context: VersionContext
    ) -> provider_pb2.VersionResponse:
        return provider_pb2.VersionResponse(runtime_name=self.name)

    async def Mount(
        self, request: provider_pb2.MountRequest, context: MountContext
    ) -> provider_pb2.MountResponse:
        self.entered.set()
        try:
            await self.released.wait()
        except asyncio.CancelledError:
            self.cancelled.set()
            raise
        return provider_pb2.MountResponse(
            object_version=[provider_pb2.ObjectVersion(id="a", version="1")]
        )


def registration(provider: Provider) -> list[rpc.Register]:
    return [functools.partial(provider_pb2_grpc.add_CSIDriverProviderServicer_to_server, provider)]


async def runtime_name(target: str) -> str:
    async with grpc.aio.insecure_channel(
        target, options=[("grpc.use_local_subchannel_pool", 1)]
    ) as channel:
        stub = provider_pb2_grpc.CSIDriverProviderStub(channel)
        answer = await stub.Version(provider_pb2.VersionRequest(version="v1alpha1"), timeout=3)
        return answer.runtime_name


@pytest.fixture
def directory() -> Iterator[pathlib.Path]:
    path = pathlib.Path(tempfile.mkdtemp(prefix="rpc", dir="/tmp"))
    yield path
    shutil.rmtree(path)


@pytest.fixture
async def servers() -> AsyncIterator[list[rpc.Server]]:
    """A list to put servers into; they are stopped at the end."""
    started: list[rpc.Server] = []
    yield started
    for server in started:
        await server.stop(0)


class TestEndpoint:
    @pytest.mark.parametrize(
        ("text", "path"),
        [
            ("unix:///csi/csi.sock", "/csi/csi.sock"),
            ("unix://tmp/csi.sock", "/tmp/csi.sock"),
            ("UNIX:///csi/csi.sock", "/csi/csi.sock"),
            ("/csi//csi.sock", "/csi/csi.sock"),
            ("unix:////csi/../run/csi.sock", "/run/csi.sock"),
        ],
    )
    def test_a_unix_path_is_absolute_and_clean(self, text: str, path: str) -> None:
        assert rpc.Endpoint.parse(text) == rpc.Endpoint(path=path)

    def test_a_tcp_address_is_kept(self) -> None:
        assert rpc.Endpoint.parse("tcp://127.0.0.1:10000") == rpc.Endpoint(
            address="127.0.0.1:10000"
        )

    @pytest.mark.parametrize(
        "text",
        ["", "csi.sock", "unix://", "unix:///", "tcp://", "http://x:1", "unix:/csi.sock", "/"],
    )
    def test_other_forms_are_refused(self, text: str) -> None:
        with pytest.raises(ValueError, match="invalid endpoint"):
            rpc.Endpoint.parse(text)

    def test_the_longest_path_that_the_system_takes_is_accepted(self) -> None:
        path = "/tmp/" + "é" * 51
        assert len(path.encode()) == rpc.SOCKET_PATH_BYTES
        assert rpc.Endpoint.parse(path).path == path

    def test_a_longer_path_is_refused_with_its_length(self) -> None:
        with pytest.raises(ValueError, match=r"socket path too long: /tmp/é+: 109 bytes.*107"):
            rpc.Endpoint.parse("/tmp/" + "é" * 52)


def deepen(directory: pathlib.Path, room: int) -> pathlib.Path:
    """Make a directory below which a socket's name may have at most `room` bytes."""
    deep = directory / ("d" * (rpc.SOCKET_PATH_BYTES - len(str(directory)) - room - 2))
    deep.mkdir()
    return deep


class TestHiddenName:
    @pytest.mark.parametrize("room", [1, 2, 5, 6, 40])
    def test_fits_wherever_the_final_name_fits(self, directory: pathlib.Path, room: int) -> None:
        path = f"{deepen(directory, room)}/{'x' * room}"
        assert len(path) == rpc.SOCKET_PATH_BYTES
        hidden = rpc.hidden_name(path)
        assert len(hidden) <= rpc.SOCKET_PATH_BYTES
        assert os.path.dirname(hidden) == os.path.dirname(path)

    def test_neither_a_name_in_use_nor_the_final_one_is_taken(
        self, directory: pathlib.Path
    ) -> None:
        deep = deepen(directory, room=1)
        for name in set("0123456789abcdef") - {"7", "a"}:
            (deep / name).touch()
        assert rpc.hidden_name(f"{deep}/a") == f"{deep}/7"


class TestUnixSocket:
    async def test_answers_from_the_moment_it_exists(
        self, directory: pathlib.Path, servers: list[rpc.Server]
    ) -> None:
        path = directory / "csi.sock"
        server = await rpc.serve(f"unix://{path}", registration(Provider()))
        servers.append(server)
        assert server.target == f"unix:{path}"
        assert await runtime_name(server.target) == "one"
        assert os.listdir(directory) == ["csi.sock"]

    async def test_only_the_owner_may_connect(
        self, directory: pathlib.Path, servers: list[rpc.Server]
    ) -> None:
        before = os.umask(0o022)
        try:
            servers.append(await rpc.serve(str(directory / "s"), registration(Provider())))
            assert os.umask(0o022) == 0o022
        finally:
            os.umask(before)
        mode = (directory / "s").lstat().st_mode
        assert stat.S_ISSOCK(mode)
        assert stat.S_IMODE(mode) == 0o700

    async def test_works_at_the_longest_path(
        self, directory: pathlib.Path, servers: list[rpc.Server]
    ) -> None:
        path = directory / ("s" * (rpc.SOCKET_PATH_BYTES - len(str(directory)) - 1))
        servers.append(await rpc.serve(str(path), registration(Provider())))
        assert await runtime_name(f"unix:{path}") == "one"

    async def test_replaces_a_socket_left_behind(
        self, directory: pathlib.Path, servers: list[rpc.Server]
    ) -> None:
        path = directory / "csi.sock"
        with socket.socket(socket.AF_UNIX) as stale:
            stale.bind(str(path))
        servers.append(await rpc.serve(str(path), registration(Provider())))
        assert await runtime_name(f"unix:{path}") == "one"

    @pytest.mark.parametrize("make", [pathlib.Path.touch, pathlib.Path.mkdir])
    async def test_anything_else_in_the_way_is_left_and_told(
        self, directory: pathlib.Path, make: Callable[[pathlib.Path], None]
    ) -> None:
        path = directory / "csi.sock"
        make(path)
        with pytest.raises(FileExistsError, match="not a socket") as caught:
            await rpc.serve(str(path), registration(Provider()))
        assert caught.value.filename == str(path)
        assert os.listdir(directory) == ["csi.sock"]

    async def test_a_missing_directory_is_told_by_name(self, directory: pathlib.Path) -> None:
        with pytest.raises(FileNotFoundError) as caught:
            await rpc.serve(str(directory / "no" / "csi.sock"), registration(Provider()))
        assert caught.value.filename == str(directory / "no")

    async def test_a_failing_registration_leaves_nothing(self, directory: pathlib.Path) -> None:
        def refuse(_: grpc.aio.Server) -> None:
            raise LookupError("no such service")

        with pytest.raises(LookupError):
            await rpc.serve(str(directory / "csi.sock"), [refuse])
        assert os.listdir(directory) == []

    async def test_a_name_taken_while_starting_leaves_nothing_of_ours(
        self, directory: pathlib.Path
    ) -> None:
        path = directory / "csi.sock"
        serving = asyncio.create_task(rpc.serve(str(path), registration(Provider())))
        await asyncio.sleep(0)
        assert os.listdir(directory), "bound, not yet renamed"
        path.mkdir()
        with pytest.raises(OSError, match=r"csi\.sock"):
            await serving
        assert os.listdir(directory) == ["csi.sock"]

    async def test_stop_removes_the_socket(self, directory: pathlib.Path) -> None:
        server = await rpc.serve(str(directory / "csi.sock"), registration(Provider()))
        await server.stop(0)
        assert os.listdir(directory) == []
        await server.wait_stopped()

    async def test_stop_leaves_the_socket_of_a_successor(
        self, directory: pathlib.Path, servers: list[rpc.Server]
    ) -> None:
        path = directory / "csi.sock"
        old = await rpc.serve(str(path), registration(Provider("old")))
        servers.append(await rpc.serve(str(path), registration(Provider("new"))))
        await old.stop(0)
        assert await runtime_name(f"unix:{path}") == "new"
        assert os.listdir(directory) == ["csi.sock"]

    async def test_stop_is_silent_when_somebody_removed_the_socket(
        self, directory: pathlib.Path
    ) -> None:
        server = await rpc.serve(str(directory / "csi.sock"), registration(Provider()))
        (directory / "csi.sock").unlink()
        await server.stop(0)
        await server.stop(0)

    async def test_the_core_deletes_nothing_but_its_hidden_name(
        self, directory: pathlib.Path
    ) -> None:
        """Guards the assumption about the gRPC core that `rpc` rests on."""
        core = grpc.aio.server()
        core.add_insecure_port(f"unix:{directory}/hidden")
        await core.start()
        (directory / "hidden").rename(directory / "csi.sock")
        with socket.socket(socket.AF_UNIX) as foreign:
            foreign.bind(f"{directory}/hidden")
        await core.stop(0)
        assert os.listdir(directory) == ["csi.sock"]


class TestStop:
    async def test_a_running_call_ends_within_the_grace(self, directory: pathlib.Path) -> None:
        provider = Provider()
        server = await rpc.serve(str(directory / "s"), registration(provider))
        async with grpc.aio.insecure_channel(server.target) as channel:
            stub = provider_pb2_grpc.CSIDriverProviderStub(channel)
            call = stub.Mount(provider_pb2.MountRequest(), timeout=4)
            await provider.entered.wait()
            stopping = asyncio.create_task(server.stop(3))
            await asyncio.sleep(0)
            assert not (directory / "s").exists()
            provider.released.set()
            assert [v.id for v in (await call).object_version] == ["a"]
            await stopping

    async def test_a_call_beyond_the_grace_is_cancelled(self, directory: pathlib.Path) -> None:
        provider = Provider()
        server = await rpc.serve(str(directory / "s"), registration(provider))
        async with grpc.aio.insecure_channel(server.target) as channel:
            stub = provider_pb2_grpc.CSIDriverProviderStub(channel)
            call = stub.Mount(provider_pb2.MountRequest(), timeout=4)
            await provider.entered.wait()
            await server.stop(0.05)
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await call
            assert caught.value.code() is grpc.StatusCode.UNAVAILABLE
        # The core tells the caller first and its own handler a moment later.
        async with asyncio.timeout(4):
            await provider.cancelled.wait()

    async def test_wait_stopped_returns_at_stop(self, directory: pathlib.Path) -> None:
        server = await rpc.serve(str(directory / "s"), registration(Provider()))
        waiting = asyncio.create_task(server.wait_stopped())
        await server.stop(0)
        await waiting


class TestTcp:
    async def test_tells_the_port_that_the_kernel_chose(self, servers: list[rpc.Server]) -> None:
        servers.append(await rpc.serve("tcp://127.0.0.1:0", registration(Provider())))
        host, port = servers[0].target.split(":")
        assert host == "127.0.0.1"
        assert int(port) > 0
        assert await runtime_name(servers[0].target) == "one"

    async def test_a_port_in_use_is_an_error(self, servers: list[rpc.Server]) -> None:
        servers.append(await rpc.serve("tcp://127.0.0.1:0", registration(Provider())))
        with pytest.raises(OSError, match=r"cannot listen on 127\.0\.0\.1"):
            await rpc.serve(f"tcp://{servers[0].target}", registration(Provider()))


class Outer(grpc.aio.ServerInterceptor):
    """Notes the methods it sees."""

    def __init__(self) -> None:
        self.seen: list[str] = []

    async def intercept_service(self, continuation, handler_call_details):  # type: ignore[no-untyped-def]
        self.seen.append(handler_call_details.method)
        return await continuation(handler_call_details)


class TestArguments:
    async def test_interceptors_see_every_call(
        self, directory: pathlib.Path, servers: list[rpc.Server]
    ) -> None:
        outer = Outer()
        servers.append(
            await rpc.serve(str(directory / "s"), registration(Provider()), interceptors=[outer])
        )
        await runtime_name(servers[0].target)
        assert outer.seen == ["/v1alpha1.CSIDriverProvider/Version"]

    async def test_options_reach_the_server(
        self, directory: pathlib.Path, servers: list[rpc.Server]
    ) -> None:
        servers.append(
            await rpc.serve(
                str(directory / "s"),
                registration(Provider()),
                options=[("grpc.max_receive_message_length", 64)],
            )
        )
        async with grpc.aio.insecure_channel(servers[0].target) as channel:
            stub = provider_pb2_grpc.CSIDriverProviderStub(channel)
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await stub.Version(provider_pb2.VersionRequest(version="v" * 65), timeout=3)
        assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
