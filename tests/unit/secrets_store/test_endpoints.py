import asyncio
import gzip
import http.client
import re
import socket
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


def test_a_registry_that_fails_is_an_error_and_not_the_end() -> None:
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
