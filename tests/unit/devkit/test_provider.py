"""The stand-in provider over its real socket, as a driver would meet it."""

import asyncio
import json
import os
import pathlib
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator, Iterator
from typing import Any

import grpc.aio
import pytest

from csi_spec import provider_pb2, provider_pb2_grpc
from devkit import provider, provider_request


@pytest.fixture
def directory() -> Iterator[pathlib.Path]:
    path = pathlib.Path(tempfile.mkdtemp(prefix="prov", dir="/tmp"))
    yield path
    shutil.rmtree(path)


@pytest.fixture
async def stand_in(directory: pathlib.Path) -> AsyncIterator[provider.Provider]:
    async with provider.Provider(directory, "fake", {"a": b"first"}) as started:
        yield started


def request(**changes: Any) -> provider_pb2.MountRequest:
    """A request as the driver sends it, with some fields replaced."""
    fields: dict[str, Any] = {
        "attributes": json.dumps({"secretProviderClass": "one"}),
        "secrets": "null",
        "target_path": "/volume",
        "permission": "420",
    }
    return provider_pb2.MountRequest(**fields | changes)


class Driver:
    """A client with one channel."""

    def __init__(self, path: str, authority: str = "localhost") -> None:
        self.channel = grpc.aio.insecure_channel(
            f"unix:{path}",
            options=[
                ("grpc.default_authority", authority),
                ("grpc.use_local_subchannel_pool", 1),
                ("grpc.initial_reconnect_backoff_ms", 100),
            ],
        )
        self.stub = provider_pb2_grpc.CSIDriverProviderStub(self.channel)

    async def __aenter__(self) -> "Driver":
        return self

    async def __aexit__(self, *exception: object) -> None:
        await self.channel.close()

    async def mount(self, **changes: Any) -> provider_pb2.MountResponse:
        return await self.stub.Mount(request(**changes), timeout=3)

    async def refusal(self, **changes: Any) -> grpc.aio.AioRpcError:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await self.mount(**changes)
        return caught.value


@pytest.fixture
async def driver(stand_in: provider.Provider) -> AsyncIterator[Driver]:
    async with Driver(stand_in.path) as client:
        yield client


class TestContents:
    async def test_files_take_the_permission_of_the_request(self, driver: Driver) -> None:
        answer = await driver.mount(permission="256")
        assert [(f.path, f.mode, f.contents) for f in answer.files] == [("a", 0o400, b"first")]

    async def test_a_file_may_have_a_mode_of_its_own(
        self, stand_in: provider.Provider, driver: Driver
    ) -> None:
        stand_in.files = {"a": provider.File(b"", 0)}
        assert [(f.mode, f.contents) for f in (await driver.mount()).files] == [(0, b"")]

    async def test_versions_change_with_the_contents(
        self, stand_in: provider.Provider, driver: Driver
    ) -> None:
        files: dict[str, provider.Content] = {"a": b"1", "b": b"1"}
        stand_in.files = files
        before = {v.id: v.version for v in (await driver.mount()).object_version}
        files["a"] = b"2"
        after = {v.id: v.version for v in (await driver.mount()).object_version}
        assert before["secret/b"] == after["secret/b"] == before["secret/a"] != after["secret/a"]

    async def test_versions_may_be_given(self, stand_in: provider.Provider, driver: Driver) -> None:
        stand_in.versions = {"constant": "1"}
        stand_in.files = {}
        answer = await driver.mount()
        assert [(v.id, v.version) for v in answer.object_version] == [("constant", "1")]
        assert not answer.files

    async def test_contents_may_depend_on_the_call(
        self, stand_in: provider.Provider, driver: Driver
    ) -> None:
        stand_in.files = lambda call: {"pod": call.attributes["pod"].encode()}
        answer = await driver.mount(attributes='{"pod": "web"}')
        assert answer.files[0].contents == b"web"

    async def test_writing_itself_leaves_plain_files_and_returns_none(
        self, stand_in: provider.Provider, driver: Driver, directory: pathlib.Path
    ) -> None:
        stand_in.writes_itself = True
        volume = directory / "volume"
        volume.mkdir()
        (volume / "a").write_bytes(b"old")
        answer = await driver.mount(target_path=str(volume), permission="416")
        assert not answer.files
        assert [v.id for v in answer.object_version] == ["secret/a"]
        assert [p.name for p in volume.iterdir()] == ["a"]
        assert (volume / "a").read_bytes() == b"first"
        assert (volume / "a").stat().st_mode & 0o777 == 0o640


class TestRecord:
    async def test_a_call_is_kept_decoded(
        self, stand_in: provider.Provider, driver: Driver
    ) -> None:
        token, password = secrets.token_hex(), secrets.token_hex()
        tokens = {"kms": {"token": token, "expirationTimestamp": "2026-01-02T03:04:05Z"}}
        await driver.mount(
            attributes=json.dumps({provider_request.TOKENS_KEY: json.dumps(tokens)}),
            secrets=json.dumps({"password": password}),
            current_object_version=[provider_pb2.ObjectVersion(id="i", version="7")],
        )
        [call] = stand_in.calls
        assert call.tokens == tokens
        assert call.secrets == {"password": password}
        assert call.target_path == "/volume"
        assert call.permission == 0o644
        assert call.current_object_version == {"i": "7"}
        assert call.authority == "localhost"
        assert call.deadline_s is not None
        assert 0 < call.deadline_s <= 4, "rounded up on the wire"
        assert token not in repr(call)
        assert password not in repr(call)

    async def test_version_requests_are_kept(
        self, stand_in: provider.Provider, driver: Driver
    ) -> None:
        answer = await driver.stub.Version(provider_pb2.VersionRequest(version="v1alpha1"))
        assert (answer.version, answer.runtime_name) == ("v1alpha1", "fake")
        assert stand_in.versions_asked == ["v1alpha1"]

    async def test_concurrency_is_counted(
        self, stand_in: provider.Provider, driver: Driver
    ) -> None:
        stand_in.faults.hang = asyncio.Event()
        calls = [asyncio.create_task(driver.mount()) for _ in range(3)]
        await stand_in.wait_attempts(3)
        assert stand_in.running == 3
        stand_in.faults.hang.set()
        await asyncio.gather(*calls)
        assert (stand_in.running, stand_in.peak) == (0, 3)


class TestStrictness:
    @pytest.mark.parametrize(
        ("changes", "message"),
        [
            ({"attributes": '{"a": 1}'}, "attributes are not an object of strings"),
            ({"attributes": '["a"]'}, "attributes are not an object of strings"),
            ({"attributes": ""}, "attributes are not JSON"),
            ({"attributes": "null"}, "attributes are null"),
            ({"secrets": ""}, "secrets are not JSON"),
            ({"secrets": '{"a": true}'}, "secrets are not an object of strings"),
            ({"permission": '"420"'}, "permission is not a decimal number"),
            ({"permission": "0644"}, "permission is not a decimal number"),
            ({"permission": ""}, "permission is not a decimal number"),
            ({"target_path": ""}, "target_path is empty"),
        ],
    )
    async def test_what_breaks_a_real_provider_is_refused(
        self,
        stand_in: provider.Provider,
        driver: Driver,
        changes: dict[str, str],
        message: str,
    ) -> None:
        error = await driver.refusal(**changes)
        assert (error.code(), error.details()) == (grpc.StatusCode.UNKNOWN, message)
        assert stand_in.calls == []
        assert stand_in.attempts == 1

    async def test_secrets_may_be_an_empty_object(
        self, stand_in: provider.Provider, driver: Driver
    ) -> None:
        await driver.mount(secrets="{}")
        assert stand_in.calls[0].secrets == {}

    async def test_demanded_attributes_and_audiences(
        self, stand_in: provider.Provider, driver: Driver
    ) -> None:
        stand_in.required_attributes = ["pod"]
        assert (await driver.refusal()).details() == "attribute pod is missing"
        stand_in.required_attributes = []
        stand_in.required_audiences = ["kms"]
        assert (await driver.refusal()).details() == "no token for audience kms"

    async def test_any_authority_but_localhost_is_refused(
        self, stand_in: provider.Provider
    ) -> None:
        async with Driver(stand_in.path, authority="elsewhere") as client:
            for _ in range(2):  # The second request names it by reference.
                error = await client.refusal()
                assert error.details() == "the authority must be localhost, not 'elsewhere'"
            with pytest.raises(grpc.aio.AioRpcError, match="elsewhere"):
                await client.stub.Version(provider_pb2.VersionRequest())


class TestFaults:
    async def test_errors_come_once_each(self, stand_in: provider.Provider, driver: Driver) -> None:
        stand_in.faults.errors.extend([grpc.StatusCode.INTERNAL, grpc.StatusCode.PERMISSION_DENIED])
        stand_in.faults.error_message = "no luck"
        error = await driver.refusal()
        assert (error.code(), error.details()) == (grpc.StatusCode.INTERNAL, "no luck")
        assert (await driver.refusal()).code() is grpc.StatusCode.PERMISSION_DENIED
        await driver.mount()
        assert len(stand_in.calls) == 3

    async def test_every_error_stays_until_reset(
        self, stand_in: provider.Provider, driver: Driver
    ) -> None:
        stand_in.faults.every_error = grpc.StatusCode.NOT_FOUND
        for _ in range(2):
            assert (await driver.refusal()).code() is grpc.StatusCode.NOT_FOUND
        stand_in.faults.every_error = None
        await driver.mount()

    async def test_an_answer_may_carry_an_error_code_beside_files(
        self, stand_in: provider.Provider, driver: Driver
    ) -> None:
        stand_in.faults.answer_code = "Denied"
        answer = await driver.mount()
        assert answer.error.code == "Denied"
        assert len(answer.files) == 1

    async def test_an_answer_may_lack_versions(
        self, stand_in: provider.Provider, driver: Driver
    ) -> None:
        stand_in.faults.no_versions = True
        answer = await driver.mount()
        assert not answer.object_version
        assert len(answer.files) == 1

    async def test_paths_may_be_bad_or_come_twice(
        self, stand_in: provider.Provider, driver: Driver
    ) -> None:
        stand_in.faults.extra_files += [("a", b"second"), ("../x", b"")]
        answer = await driver.mount()
        assert [(f.path, f.contents) for f in answer.files] == [
            ("a", b"first"),
            ("a", b"second"),
            ("../x", b""),
        ]

    async def test_a_delay_outlasts_the_deadline(
        self, stand_in: provider.Provider, driver: Driver
    ) -> None:
        stand_in.faults.delay_s = 60
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await driver.stub.Mount(request(), timeout=0.1)
        assert caught.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED

    async def test_a_crash_cuts_the_connection_of_every_caller(
        self, stand_in: provider.Provider, driver: Driver
    ) -> None:
        stand_in.faults.hang = asyncio.Event()
        async with Driver(stand_in.path) as other:
            waiting = asyncio.create_task(other.refusal())
            await stand_in.wait_attempts(1)
            stand_in.faults.hang = None
            stand_in.faults.crashes = 1
            assert (await driver.refusal()).code() is grpc.StatusCode.UNAVAILABLE
            assert (await waiting).code() is grpc.StatusCode.UNAVAILABLE
        await driver.stub.Mount(request(), timeout=3, wait_for_ready=True)
        assert stand_in.attempts == 3

    async def test_a_killed_provider_leaves_its_socket_and_comes_back(
        self, stand_in: provider.Provider, driver: Driver
    ) -> None:
        await driver.mount()
        await stand_in.stop(leave_socket=True)
        assert os.path.exists(stand_in.path)
        assert (await driver.refusal()).code() is grpc.StatusCode.UNAVAILABLE
        await stand_in.start()
        await driver.stub.Mount(request(), timeout=3, wait_for_ready=True)
        await stand_in.stop()
        assert not os.path.exists(stand_in.path)


class TestDirect:
    async def test_serves_without_a_relay(self, directory: pathlib.Path) -> None:
        async with provider.Provider(directory, "d", {"a": b""}, direct=True) as stand_in:
            async with Driver(stand_in.path, authority="whatever") as client:
                await client.mount()
            assert stand_in.calls[0].authority == ""
        assert os.listdir(directory) == []

    async def test_what_needs_the_relay_is_refused(self, directory: pathlib.Path) -> None:
        stand_in = provider.Provider(directory, "d", direct=True)
        await stand_in.start()
        stand_in.faults.crashes = 1
        async with Driver(stand_in.path) as client:
            assert "cannot cut connections" in str((await client.refusal()).details())
        with pytest.raises(ValueError, match="removes its socket"):
            await stand_in.stop(leave_socket=True)
        await stand_in.stop()


class TestProgram:
    @pytest.mark.timeout(30)
    async def test_serves_a_folder_until_told_to_stop(self, directory: pathlib.Path) -> None:
        folder = directory / "files"
        (folder / "sub").mkdir(parents=True)
        (folder / "sub" / "b").write_bytes(b"two")
        command = [sys.executable, "-m", "devkit.provider", "--dir", str(directory)]
        process = subprocess.Popen(
            [*command, "--name", "prog", "--files", str(folder)], stdout=subprocess.PIPE, text=True
        )
        assert process.stdout is not None
        with process.stdout:
            try:
                assert await asyncio.to_thread(process.stdout.readline) == (
                    f"provider prog is ready on {directory}/prog.sock\n"
                )
                async with Driver(f"{directory}/prog.sock") as client:
                    assert [f.path for f in (await client.mount()).files] == ["sub/b"]
                    (folder / "a").write_bytes(b"one")
                    assert [f.path for f in (await client.mount()).files] == ["a", "sub/b"]
            finally:
                process.send_signal(signal.SIGTERM)
                assert await asyncio.to_thread(process.wait) == 0
        assert not os.path.exists(directory / "prog.sock")

    @pytest.mark.timeout(30)
    async def test_fails_as_ordered(self, directory: pathlib.Path) -> None:
        command = [sys.executable, "-m", "devkit.provider", "--dir", str(directory)]
        process = subprocess.Popen(
            [*command, "--name", "prog", "--error", "INTERNAL", "--direct"],
            stdout=subprocess.PIPE,
        )
        assert process.stdout is not None
        with process.stdout:
            try:
                await asyncio.to_thread(process.stdout.readline)
                async with Driver(f"{directory}/prog.sock") as client:
                    assert (await client.refusal()).code() is grpc.StatusCode.INTERNAL
            finally:
                process.send_signal(signal.SIGTERM)
                assert await asyncio.to_thread(process.wait) == 0
