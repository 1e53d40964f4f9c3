import asyncio
import contextlib
import json
import pathlib
from collections.abc import AsyncIterator
from typing import Any

import pytest

from devkit.kms import tls
from provider_kms import budget, cluster, errors
from provider_kms.model.request import Pod

POD = Pod("shop", "front-1", "uid-1", "front")


@contextlib.asynccontextmanager
async def api(status: int, body: bytes) -> AsyncIterator[tuple[str, list[bytes]]]:
    """Serve one answer; what comes is kept."""
    asked: list[bytes] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        asked.append(await reader.readuntil(b"\r\n\r\n"))
        head = f"HTTP/1.1 {status} X\r\nConnection: close\r\nContent-Length: {len(body)}\r\n\r\n"
        writer.write(head.encode() + body)
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}", asked
    server.close()


@contextlib.asynccontextmanager
async def kept_open(
    authority: tls.Authority,
) -> AsyncIterator[tuple[str, list[asyncio.Event]]]:
    """Serve pods over kept connections; for each an event tells that its client has closed it."""
    body = json.dumps({"metadata": {"uid": "uid-1"}}).encode()
    opened: list[asyncio.Event] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        closed = asyncio.Event()
        opened.append(closed)
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            while True:
                await reader.readuntil(b"\r\n\r\n")
                writer.write(b"HTTP/1.1 200 X\r\nContent-Length: %d\r\n\r\n" % len(body) + body)
        closed.set()
        writer.close()

    server = await asyncio.start_server(
        serve, "127.0.0.1", 0, ssl=authority.issue().server_context()
    )
    yield f"https://127.0.0.1:{server.sockets[0].getsockname()[1]}", opened
    server.close()


@pytest.fixture
def credentials(tmp_path: pathlib.Path) -> pathlib.Path:
    (tmp_path / "token").write_text("sa-token\n")
    (tmp_path / "ca.crt").write_text("")
    return tmp_path


def made(url: str, credentials: pathlib.Path) -> cluster.Cluster:
    return cluster.Cluster(url, "test/1", credentials, {})


async def test_the_request_carries_our_own_token(credentials: pathlib.Path) -> None:
    body = json.dumps({"metadata": {"uid": "uid-1"}, "kind": "Pod"}).encode()
    async with api(200, body) as (url, asked):
        found = await made(url, credentials).pod(POD, budget.Budget(3))

    assert found["kind"] == "Pod"
    assert asked[0].startswith(b"GET /api/v1/namespaces/shop/pods/front-1 HTTP/1.1\r\n")
    assert b"Authorization: Bearer sa-token\r\n" in asked[0]


async def test_many_at_once_share_connections(credentials: pathlib.Path) -> None:
    authority = tls.Authority()
    (credentials / "ca.crt").write_text(authority.certificate_pem)
    async with kept_open(authority) as (url, opened):
        asking = made(url, credentials)
        await asyncio.gather(*(asking.pod(POD, budget.Budget(3)) for _ in range(5)))

        asking.close()

        await asyncio.gather(*(asyncio.wait_for(one.wait(), 3) for one in opened))


async def test_names_are_escaped(credentials: pathlib.Path) -> None:
    pod = Pod("a/../b", "x?y", "", "s")
    async with api(200, b"{}") as (url, asked):
        await made(url, credentials).pod(pod, budget.Budget(3))

    assert asked[0].startswith(b"GET /api/v1/namespaces/a%2F..%2Fb/pods/x%3Fy HTTP/1.1\r\n")


@pytest.mark.parametrize(
    ("status", "body", "kind", "text"),
    [
        (403, {"kind": "Status", "message": "may not"}, errors.ClusterRefused, "403 may not"),
        (404, {"kind": "Status", "message": "gone"}, errors.ClusterRefused, "404 gone"),
        (429, {"kind": "Status"}, errors.ClusterUnavailable, "429"),
        (503, {"kind": "Status"}, errors.ClusterUnavailable, "503"),
        (200, [], errors.ClusterUnavailable, "without JSON"),
        (201, {}, errors.ClusterRefused, "no token"),
        (201, {"status": {"token": 1}}, errors.ClusterRefused, "no token"),
    ],
)
async def test_answers_without_a_token(
    credentials: pathlib.Path,
    status: int,
    body: Any,
    kind: type[errors.ProviderError],
    text: str,
) -> None:
    async with api(status, json.dumps(body).encode()) as (url, _):
        with pytest.raises(errors.ClusterRefused) as caught:
            await made(url, credentials).token(POD, budget.Budget(3))
    assert type(caught.value) is kind
    assert text in str(caught.value)


async def test_a_text_that_is_no_json(credentials: pathlib.Path) -> None:
    async with api(200, b"<html>") as (url, _):
        with pytest.raises(errors.ClusterUnavailable):
            await made(url, credentials).pod(POD, budget.Budget(3))


async def test_no_credentials(tmp_path: pathlib.Path) -> None:
    with pytest.raises(errors.ClusterRefused, match="No such file"):
        await made("http://127.0.0.1:1", tmp_path).pod(POD, budget.Budget(3))


@pytest.mark.parametrize(
    ("file", "text"), [("token", "hush\u00e9"), ("ca.crt", "hush"), ("ca.crt", "")]
)
async def test_credentials_that_are_none(credentials: pathlib.Path, file: str, text: str) -> None:
    (credentials / file).write_text(text)

    with pytest.raises(errors.ClusterRefused, match="in-cluster credentials") as caught:
        await made("https://127.0.0.1:1", credentials).pod(POD, budget.Budget(3))
    assert "hush" not in str(caught.value)


async def test_nobody_listens(credentials: pathlib.Path) -> None:
    with pytest.raises(errors.ClusterUnavailable, match="no connection"):
        await made("http://127.0.0.1:1", credentials).pod(POD, budget.Budget(3))


@pytest.mark.parametrize(
    ("environment", "url"),
    [
        ({}, ""),
        ({"KUBERNETES_SERVICE_HOST": "10.0.0.1"}, "https://10.0.0.1:443"),
        (
            {"KUBERNETES_SERVICE_HOST": "fd00::1", "KUBERNETES_SERVICE_PORT": "6443"},
            "https://[fd00::1]:6443",
        ),
    ],
)
def test_where_the_api_server_is(environment: dict[str, str], url: str) -> None:
    assert cluster._in_cluster(environment) == url
