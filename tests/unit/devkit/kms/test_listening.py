import contextlib
import gc
import socket

import pytest
import urllib3

from devkit.kms import tls


@pytest.fixture(params=["http", "https"])
def kms(request, serve):
    context = tls.Authority().issue().server_context() if request.param == "https" else None
    return serve(ssl_context=context).kms


def connect(kms):
    return socket.create_connection((kms.host, kms.port), timeout=4.0)


def test_stopping_closes_what_has_only_just_connected(kms):
    for _ in range(5):
        connections = [connect(kms) for _ in range(20)]
        kms.stop()
        for each in connections:
            with each, contextlib.suppress(ConnectionResetError):
                assert each.recv(1) == b""
        # What is left open would be reported as a ResourceWarning.
        gc.collect()
        kms.start()


def test_a_client_that_says_nothing_does_not_keep_others_waiting(serve):
    authority = tls.Authority()
    client = serve(ssl_context=authority.issue().server_context())
    context = urllib3.util.create_urllib3_context()
    context.load_verify_locations(cadata=authority.certificate_pem)
    client.pool.connection_pool_kw["ssl_context"] = context
    with connect(client.kms):
        assert client.ask("GET", "/api/status").status == 200


def test_plain_http_to_an_https_port_ends_and_does_no_harm(serve):
    client = serve(ssl_context=tls.Authority().issue().server_context())
    with connect(client.kms) as connection:
        connection.sendall(b"GET / HTTP/1.1\r\nhost: h\r\n\r\n")
        with contextlib.suppress(ConnectionResetError):
            while connection.recv(1000):
                pass
    assert client.kms.connections_open == 0
    client.kms.stop()
