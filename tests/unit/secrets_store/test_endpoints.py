import asyncio
import gzip
import http.client
import logging
import re
import socket
import struct
import subprocess
import sys
import threading
import time
import wsgiref.types
from collections.abc import Iterable, Iterator

import prometheus_client
import pytest

from secrets_store import endpoints, errors, metrics


@pytest.fixture
def served() -> Iterator[endpoints.Endpoint]:
    counted = metrics.Metrics()
    counted.publish_ok("kms")
    endpoint = endpoints.Endpoint("127.0.0.1:0", endpoints.metrics_application(counted.registry))
    yield endpoint
    endpoint.stop()


def get(
    port: int, path: str, host: str = "127.0.0.1", **headers: str
) -> tuple[int, dict[str, str], bytes]:
    connection = http.client.HTTPConnection(host, port, timeout=3)
    connection.request("GET", path, headers=headers)
    response = connection.getresponse()
    body = response.read()
    connection.close()
    return response.status, {k.lower(): v for k, v in response.getheaders()}, body


def test_metrics_are_served_as_prometheus_text(served: endpoints.Endpoint) -> None:
    status, headers, body = get(served.port, "/metrics")

    assert status == 200
    assert headers["content-type"].startswith("text/plain; version=0.0.4; charset=utf-8")
    assert b"\nnode_publish_total{" in body
    assert b"\nprocess_resident_memory_bytes " in body


def test_metrics_are_compressed_for_who_accepts_it(served: endpoints.Endpoint) -> None:
    _, headers, body = get(served.port, "/metrics", **{"Accept-Encoding": "gzip"})

    assert headers["content-encoding"] == "gzip"
    assert b"\nnode_publish_total{" in gzip.decompress(body)


@pytest.mark.parametrize("path", ["/", "/metric", "/metrics/", "/healthz", "/metrics/x"])
def test_nothing_is_served_elsewhere(served: endpoints.Endpoint, path: str) -> None:
    status, _, body = get(served.port, path)

    assert (status, body) == (404, b"404 page not found\n")


def test_a_query_changes_nothing(served: endpoints.Endpoint) -> None:
    assert get(served.port, "/metrics?name=x")[0] == 200


def test_requests_say_nothing_on_stderr(
    served: endpoints.Endpoint, capfd: pytest.CaptureFixture[str]
) -> None:
    get(served.port, "/metrics")

    assert capfd.readouterr() == ("", "")


def test_a_slow_reader_does_not_hold_up_the_next(served: endpoints.Endpoint) -> None:
    with socket.create_connection(("127.0.0.1", served.port)) as silent:
        silent.sendall(b"GET /metr")

        assert get(served.port, "/metrics")[0] == 200


def reset(connection: socket.socket) -> None:
    """End a connection as a client does that crashes."""
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    connection.close()


@pytest.mark.parametrize("sent", [b"", b"GET /metr", b"GET /metrics HTTP/1.1\r\n\r\n"])
def test_a_client_that_crashes_puts_nothing_into_the_log(
    served: endpoints.Endpoint, sent: bytes, capfd: pytest.CaptureFixture[str]
) -> None:
    before = threading.active_count()
    connection = socket.create_connection(("127.0.0.1", served.port))
    connection.sendall(sent)
    while threading.active_count() == before and not sent.endswith(b"\n"):
        time.sleep(0.001)
    reset(connection)
    while threading.active_count() > before:
        time.sleep(0.001)

    assert get(served.port, "/metrics")[0] == 200
    assert capfd.readouterr() == ("", "")


def test_a_client_that_says_nothing_is_not_kept(capfd: pytest.CaptureFixture[str]) -> None:
    """A scraper that lost its network would otherwise leave a thread each time."""
    endpoint = endpoints.Endpoint("127.0.0.1:0", echo, silence_s=0.1)
    with socket.create_connection(("127.0.0.1", endpoint.port), timeout=5) as silent:
        silent.sendall(b"GET /metr")
        assert silent.recv(1) == b""

    endpoint.stop()
    assert capfd.readouterr() == ("", "")


def test_a_reader_that_takes_nothing_is_not_kept(capfd: pytest.CaptureFixture[str]) -> None:
    def much(
        environ: wsgiref.types.WSGIEnvironment, start: wsgiref.types.StartResponse
    ) -> Iterable[bytes]:
        start("200 OK", [("Content-Type", "text/plain")])
        return [b"x" * 20_000_000]

    before = threading.active_count()
    endpoint = endpoints.Endpoint("127.0.0.1:0", much, silence_s=0.1)
    with socket.create_connection(("127.0.0.1", endpoint.port), timeout=5) as lazy:
        lazy.sendall(b"GET / HTTP/1.1\r\n\r\n")
        assert lazy.recv(1) == b"H"
        while threading.active_count() > before + 1:
            time.sleep(0.01)

    endpoint.stop()
    assert capfd.readouterr() == ("", "")


def test_connections_are_bounded_and_come_free_again(served: endpoints.Endpoint) -> None:
    before = threading.active_count()
    held = [
        socket.create_connection(("127.0.0.1", served.port), timeout=5)
        for _ in range(endpoints.CONNECTIONS + 20)
    ]
    for connection in held[endpoints.CONNECTIONS :]:
        assert connection.recv(1) == b""
    assert threading.active_count() == before + endpoints.CONNECTIONS

    for connection in held:
        connection.close()
    while threading.active_count() > before:
        time.sleep(0.001)
    assert get(served.port, "/metrics")[0] == 200


WITHOUT_DESCRIPTORS = """
import os, resource, socket, time
from secrets_store import endpoints

def echo(environ, start):
    start("200 OK", [("Content-Type", "text/plain")])
    return [b"here"]

endpoint = endpoints.Endpoint("127.0.0.1:0", echo)
client = socket.socket()
resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))
held = []
try:
    while True:
        held.append(os.open("/dev/null", os.O_RDONLY))
except OSError:
    pass
client.connect(("127.0.0.1", endpoint.port))
client.sendall(b"GET / HTTP/1.1\\r\\n\\r\\n")
before = time.process_time()
time.sleep(0.5)
used = time.process_time() - before
for descriptor in held:
    os.close(descriptor)
print(round(used, 3), client.recv(12).decode())
"""


def test_without_descriptors_it_waits_and_spins_not() -> None:
    told = subprocess.run(
        [sys.executable, "-c", WITHOUT_DESCRIPTORS],
        capture_output=True,
        text=True,
        check=True,
        timeout=15,
    )

    used_s, answer = told.stdout.split(maxsplit=1)
    assert float(used_s) < 0.3
    assert answer == "HTTP/1.0 200\n"
    assert told.stderr == ""


def echo(
    environ: wsgiref.types.WSGIEnvironment, start: wsgiref.types.StartResponse
) -> Iterable[bytes]:
    start("200 OK", [("Content-Type", "text/plain")])
    return [b"here"]


@pytest.mark.parametrize(
    ("address", "host"),
    [
        ("127.0.0.1:0", "127.0.0.1"),
        ("localhost:0", "127.0.0.1"),
        (":0", "127.0.0.1"),
        ("0.0.0.0:0", "127.0.0.1"),
        pytest.param("127.0.0.2:0", "127.0.0.2", id="an address of one's own"),
    ],
)
def test_addresses(address: str, host: str) -> None:
    endpoint = endpoints.Endpoint(address, echo)

    assert get(endpoint.port, "/", host)[2] == b"here"
    endpoint.stop()


needs_ipv6 = pytest.mark.skipif(not socket.has_dualstack_ipv6(), reason="no IPv6 here")


@needs_ipv6
@pytest.mark.parametrize("address", ["[::1]:0", "[::]:0", ":0"])
def test_addresses_of_ipv6(address: str) -> None:
    endpoint = endpoints.Endpoint(address, echo)

    assert get(endpoint.port, "/", "::1")[2] == b"here"
    endpoint.stop()


@pytest.mark.parametrize("address", ["", "8095", "localhost", ":", ":x", ":-1", ":65536", "h:80:x"])
def test_what_is_no_address(address: str) -> None:
    with pytest.raises(errors.ConfigurationError, match="is no address of the form host:port"):
        endpoints.Endpoint(address, echo)


def test_an_address_that_is_taken_is_told(served: endpoints.Endpoint) -> None:
    taken = f"127.0.0.1:{served.port}"

    with pytest.raises(errors.ConfigurationError, match=re.escape(f"cannot listen on {taken}")):
        endpoints.Endpoint(taken, echo)


def test_an_address_that_is_not_ours_is_told() -> None:
    with pytest.raises(errors.ConfigurationError, match="cannot listen on"):
        endpoints.Endpoint("192.0.2.1:0", echo)


def http_threads(port: int) -> list[str]:
    return [x.name for x in threading.enumerate() if x.name == f"http-{port}"]


@pytest.mark.parametrize("address", ["127.0.0.1:0", ":0", "127.0.0.2:0"])
def test_stopping_leaves_no_thread_and_no_socket(address: str) -> None:
    before = threading.active_count()
    for _ in range(25):
        endpoint = endpoints.Endpoint(address, echo)
        assert http_threads(endpoint.port)
        started = time.monotonic()

        endpoint.stop()

        assert time.monotonic() - started < 0.5
        assert not http_threads(endpoint.port)
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection((address.partition(":")[0] or "127.0.0.1", endpoint.port))
    assert threading.active_count() == before


def test_the_port_is_free_after_stopping() -> None:
    first = endpoints.Endpoint("127.0.0.1:0", echo)
    get(first.port, "/")
    first.stop()

    second = endpoints.Endpoint(f"127.0.0.1:{first.port}", echo)

    assert get(second.port, "/")[0] == 200
    second.stop()


def test_scrapes_in_parallel(served: endpoints.Endpoint) -> None:
    found: list[int] = []

    def scrape() -> None:
        found.append(get(served.port, "/metrics")[0])

    threads = [threading.Thread(target=scrape) for _ in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert found == [200] * 20


async def test_stacks_show_places_and_no_values() -> None:
    secret = "canary-of-a-local"

    async def waiting_for_something(value: str) -> None:
        await asyncio.Event().wait()

    task = asyncio.get_running_loop().create_task(waiting_for_something(secret), name="some work")
    await asyncio.sleep(0)
    endpoint = endpoints.Endpoint(
        "127.0.0.1:0", endpoints.stacks_application(asyncio.get_running_loop())
    )

    status, headers, body = await asyncio.to_thread(get, endpoint.port, "/")

    text = body.decode()
    assert (status, headers["content-type"]) == (200, "text/plain; charset=utf-8")
    assert "thread MainThread\n" in text
    assert "task some work\n" in text
    assert re.search(r"test_endpoints\.py:\d+ waiting_for_something", text)
    assert secret not in text
    task.cancel()
    await asyncio.to_thread(endpoint.stop)


def test_a_registry_that_fails_is_an_error_and_not_the_end(
    capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    broken = prometheus_client.CollectorRegistry()
    gauge = prometheus_client.Gauge("g", "g", registry=broken)
    fail = True

    def value() -> float:
        if fail:
            raise ValueError("odd")
        return 1.0

    gauge.set_function(value)
    endpoint = endpoints.Endpoint("127.0.0.1:0", endpoints.metrics_application(broken))

    assert get(endpoint.port, "/metrics")[0] == 500
    fail = False
    assert get(endpoint.port, "/metrics")[0] == 200
    endpoint.stop()
    assert capfd.readouterr() == ("", "")
    assert [(x.levelno, x.message) for x in caplog.records] == [
        (logging.ERROR, "HTTP request failed")
    ]
