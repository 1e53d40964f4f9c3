"""The process as an operator sees it: flags, health, metrics, signals, files that change."""

import asyncio
import contextlib
import dataclasses
import json
import os
import pathlib
import re
import signal
import sys
import time
import urllib.request
from collections.abc import AsyncIterator, Callable
from typing import Any

import grpc
import grpc.aio
import pytest

from csi_spec import provider_pb2, provider_pb2_grpc
from devkit.kms import faults, server, tls
from tests.contract.provider_kms.stage import DB, GET, LOGIN, Stage, contents

pytestmark = pytest.mark.timeout(30)
Code = grpc.StatusCode


@dataclasses.dataclass
class Process:
    """A provider process and what it has said so far."""

    process: asyncio.subprocess.Process
    socket: str
    lines: list[str]
    health: str
    stage: Stage

    async def said(self, text: str) -> str:
        """Wait for a line with this text and return it."""
        for line in self.lines:
            if text in line:
                return line
        assert self.process.stderr is not None
        while line := (await self.process.stderr.readline()).decode():
            self.lines.append(line)
            if text in line:
                return line
        raise AssertionError(f"the process ended without {text!r}: {self.lines}")

    async def fetch(self, path: str) -> tuple[int, str]:
        """GET a path of the health port."""

        def get() -> tuple[int, str]:
            try:
                with urllib.request.urlopen(self.health + path, timeout=3) as answer:
                    return answer.status, answer.read().decode()
            except urllib.error.HTTPError as error:
                with error:
                    return error.code, error.read().decode()

        return await asyncio.to_thread(get)

    async def metrics(self) -> dict[str, float]:
        _, text = await self.fetch("/metrics")
        pairs = (line.rsplit(" ", 1) for line in text.splitlines() if not line.startswith("#"))
        return {name: float(value) for name, value in pairs}

    async def end(self, number: int = signal.SIGTERM) -> int:
        """Send a signal; return the status that it ended with, all it said in `lines`."""
        self.process.send_signal(number)
        assert self.process.stderr is not None
        self.lines += (await self.process.stderr.read()).decode().splitlines()
        return await self.process.wait()


@pytest.fixture
async def run(
    folder: str, kms_at: Callable[..., server.KMS], authority: tls.Authority
) -> AsyncIterator[Callable[..., Any]]:
    """Start a provider process on demand: await run(*flags, kms=…)."""
    async with contextlib.AsyncExitStack() as stack:

        async def start(*flags: str, kms: server.KMS | None = None) -> Process:
            socket = f"{folder}/kms.sock"
            process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-m", "provider_kms"),
                *(f"-endpoint={socket}", "--health-port", "127.0.0.1:0", *flags),
                stderr=asyncio.subprocess.PIPE,
            )
            stack.push_async_callback(_kill, process)
            channel = grpc.aio.insecure_channel(f"unix:{socket}")
            await stack.enter_async_context(channel)
            stub = provider_pb2_grpc.CSIDriverProviderStub(channel)
            app: Any = None
            stage = Stage(kms or kms_at(), app, stub, authority.certificate_pem, socket)
            made = Process(process, socket, [], "", stage)
            serving = await made.said("serving")
            port = re.search(r'healthPort"?[=:] ?(\d+)', serving)
            assert port is not None
            made.health = f"http://127.0.0.1:{port[1]}"
            return made

        yield start


async def _kill(process: asyncio.subprocess.Process) -> None:
    if process.returncode is None:
        process.kill()
        await process.communicate()


async def test_health_and_metrics(run: Callable[..., Any]) -> None:
    process = await run()

    assert await process.fetch("/health/ready") == (200, "ok\n")
    assert await process.fetch("/health/live") == (200, "ok\n")
    assert (await process.fetch("/nope"))[0] == 404

    await process.stage.mount(DB)
    await process.stage.mount(DB)
    await process.stage.refused(DB, projectId="")
    found = await process.metrics()

    assert found['kms_provider_mounts_total{code="OK"}'] == 2
    assert found['kms_provider_mounts_total{code="INVALID_ARGUMENT"}'] == 1
    assert found['kms_provider_mount_failures_total{reason="invalid_request"}'] == 1
    assert found['kms_provider_requests_total{code="200",route="login"}'] == 1
    assert found['kms_provider_requests_total{code="200",route="get"}'] == 1
    assert found['kms_provider_reads_total{source="hit"}'] == 1
    assert found['kms_provider_reads_total{source="read"}'] == 1
    assert found['kms_provider_logins_total{result="ok"}'] == 1
    assert found["kms_provider_login_reuses_total"] == 1
    assert found["kms_provider_tokens"] == 1
    assert 0 < found["kms_provider_token_age_seconds"] < 20
    assert found['kms_provider_request_seconds_count{route="get"}'] == 1
    assert found["kms_provider_mount_seconds_count"] == 3
    assert found["kms_provider_ready"] == 1
    assert found["process_resident_memory_bytes"] > 1e6 or sys.platform != "linux"


async def test_the_socket_is_for_root_only_and_goes_with_the_process(
    run: Callable[..., Any], folder: str
) -> None:
    process = await run()
    assert os.stat(process.socket).st_mode & 0o077 == 0

    assert await process.end() == 0

    assert os.listdir(folder) == []


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_a_mount_in_progress_is_finished(run: Callable[..., Any], number: int) -> None:
    process = await run()
    kms = process.stage.kms
    kms.faults.add(faults.delay(0.7), LOGIN)
    pending = asyncio.ensure_future(process.stage.mount(DB))
    await asyncio.to_thread(kms.requests.wait_for, LOGIN, 1)

    ended = asyncio.ensure_future(process.end(number))

    assert contents(await pending) == {"dbPassword": b"hunter2"}
    assert await ended == 0
    assert not os.path.exists(process.socket)


async def test_new_calls_are_refused_while_it_stops(run: Callable[..., Any]) -> None:
    process = await run()
    kms = process.stage.kms
    kms.faults.add(faults.delay(1.0), LOGIN)
    pending = asyncio.ensure_future(process.stage.mount(DB))
    await asyncio.to_thread(kms.requests.wait_for, LOGIN, 1)
    ended = asyncio.ensure_future(process.end())
    await asyncio.to_thread(_wait_until_gone, process.socket)

    async with grpc.aio.insecure_channel(f"unix:{process.socket}") as channel:
        stub = provider_pb2_grpc.CSIDriverProviderStub(channel)
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await stub.Version(provider_pb2.VersionRequest(), timeout=0.3)

    assert caught.value.code() in (Code.UNAVAILABLE, Code.DEADLINE_EXCEEDED)
    assert (await process.fetch("/health/ready"))[0] == 503
    await pending
    assert await ended == 0


def _wait_until_gone(path: str) -> None:
    until = time.monotonic() + 5
    while os.path.exists(path):
        assert time.monotonic() < until
        time.sleep(0.01)


async def test_a_stale_socket_is_replaced(run: Callable[..., Any], folder: str) -> None:
    first = await run()
    first.process.kill()
    await first.process.wait()
    assert os.path.exists(first.socket)

    second = await run()

    assert contents(await second.stage.mount(DB)) == {"dbPassword": b"hunter2"}


async def test_the_old_name_has_a_socket_of_its_own(run: Callable[..., Any], folder: str) -> None:
    process = await run(f"-alias-endpoint={folder}/infisical.sock")

    async with grpc.aio.insecure_channel(f"unix:{folder}/infisical.sock") as channel:
        stub = provider_pb2_grpc.CSIDriverProviderStub(channel)
        answer = await stub.Mount(process.stage.request(DB), timeout=10)

    assert contents(answer) == {"dbPassword": b"hunter2"}
    assert await process.end() == 0
    assert os.listdir(folder) == []
    warnings = [line for line in process.lines if "name another provider" in line]
    assert len(warnings) == 1


async def test_every_mount_leaves_one_line(run: Callable[..., Any]) -> None:
    process = await run("-log-format-json")
    stage = process.stage
    await stage.mount(DB)
    stage.kms.faults.add(faults.status(403, error="PermissionDenied"), GET)
    error = await stage.refused(DB, account="front-2")

    await process.end()
    lines = [json.loads(line) for line in process.lines if '"mount' in line]

    assert [line["message"] for line in lines] == ["mounted", "mount failed"]
    good, bad = lines
    assert good["pod"] == "shop/front-1"
    assert good["serviceAccount"] == "front"
    assert good["identity"] == "I"
    assert good["code"] == "OK"
    assert good["files"] == 1
    assert bad["code"] == "PERMISSION_DENIED"
    assert bad["level"] == "error"
    assert bad["kmsRequest"].startswith("req-")
    assert bad["kmsRequest"] in error.details()


async def test_no_secret_at_the_highest_verbosity(run: Callable[..., Any]) -> None:
    process = await run("-v=10")
    token = process.stage.pod_token()
    await process.stage.mount(DB, token=token)
    process.stage.kms.faults.add(faults.html())
    await process.stage.refused(DB, token=process.stage.pod_token("front-2"), account="front-2")

    await process.end()
    text = "\n".join(process.lines)

    assert "KMS request" in text
    for secret in ("hunter2", token, token.split(".")[1], "eyJ"):
        assert secret not in text


async def test_a_configuration_that_changes(
    run: Callable[..., Any], tmp_path: pathlib.Path
) -> None:
    file = tmp_path / "config.yaml"
    file.write_text("allowed-hosts: [kms.example.com]\n")
    process = await run(f"-config={file}")
    assert (await process.stage.refused(DB)).code() is Code.PERMISSION_DENIED

    replaced = tmp_path / "new.yaml"
    replaced.write_text("allowed-hosts: [127.0.0.1]\ncache-bound: 0s\n")
    replaced.rename(file)
    await process.said("configuration reloaded")

    assert contents(await process.stage.mount(DB)) == {"dbPassword": b"hunter2"}


async def test_a_configuration_that_breaks_is_not_taken(
    run: Callable[..., Any], tmp_path: pathlib.Path
) -> None:
    file = tmp_path / "config.yaml"
    file.write_text("cache-bound: 1s\n")
    process = await run(f"-config={file}")

    file.write_text("cache-bond: 1s\n")
    line = await process.said("configuration is kept as it was")

    assert "cache-bond" in line
    assert contents(await process.stage.mount(DB)) == {"dbPassword": b"hunter2"}
    found = await process.metrics()
    assert found['kms_provider_reloads_total{result="failed",what="config"}'] >= 1


async def test_authorities_that_change(
    run: Callable[..., Any],
    tmp_path: pathlib.Path,
    authority: tls.Authority,
) -> None:
    file = tmp_path / "ca.pem"
    file.write_text(tls.Authority("another").certificate_pem)
    process = await run(f"-ca-file={file}")
    refused = await process.stage.refused(DB, caCertificate=None)
    assert "certificate is refused" in (refused.details() or "")

    file.write_text(authority.certificate_pem)
    await process.said("CA certificates reloaded")

    answer = await process.stage.mount(DB, caCertificate=None)
    assert contents(answer) == {"dbPassword": b"hunter2"}


async def test_an_authority_file_that_is_none_fails_the_start(tmp_path: pathlib.Path) -> None:
    file = tmp_path / "ca.pem"
    file.write_text("nothing")
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "provider_kms"),
        *(f"-endpoint={tmp_path}/kms.sock", f"-ca-file={file}"),
        stderr=asyncio.subprocess.PIPE,
    )

    _, said = await process.communicate()

    assert process.returncode == 1
    assert b"-ca-file" in said
