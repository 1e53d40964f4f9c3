import concurrent.futures
import socket

import pytest
import urllib3

from devkit.kms import faults, model, server, tls


def test_url(kms):
    assert kms.url == f"http://127.0.0.1:{kms.port}"


def test_it_knows_no_url_before_its_start():
    with pytest.raises(AssertionError):
        _ = server.KMS(model.World()).url


def test_it_comes_back_on_its_port(client, kms):
    url = kms.url
    client.read()
    kms.stop()
    with pytest.raises(urllib3.exceptions.HTTPError):
        client.ask("GET", "/api/status")
    kms.start()
    assert kms.url == url
    assert client.read().status == 200


def test_tokens_survive_a_restart(client, kms):
    bearer = client.bearer()
    kms.stop()
    kms.start()
    assert client.read(bearer=bearer).status == 200


def test_stopping_twice_is_harmless(kms):
    kms.stop()
    kms.stop()


def test_stopping_ends_what_is_under_way(client, kms):
    kms.faults.add(faults.delay(60.0))
    with concurrent.futures.ThreadPoolExecutor() as pool:
        asked = pool.submit(client.ask, "GET", "/api/status")
        kms.requests.wait_until(lambda: kms.requests.in_flight() == 1)
        kms.stop()
        assert isinstance(asked.exception(), urllib3.exceptions.ProtocolError)
    assert kms.requests.records()[0].abandoned
    assert kms.connections_open == 0


def test_a_port_that_is_taken():
    with socket.create_server(("127.0.0.1", 0)) as taken:
        kms = server.KMS(model.World(), port=taken.getsockname()[1])
        with pytest.raises(OSError, match="in use"):
            kms.start()
    kms.start()
    kms.stop()


def test_connections_can_be_closed_behind_the_clients_back(client, kms):
    client.ask("GET", "/api/status")
    kms.close_connections()
    assert kms.connections_open == 0
    assert client.ask("GET", "/api/status").status == 200
    assert kms.connections_accepted == 2
    kms.stop()
    kms.close_connections()


def test_https(serve):
    authority = tls.Authority()
    client = serve(ssl_context=authority.issue().server_context())
    assert client.kms.url.startswith("https://")
    with pytest.raises(urllib3.exceptions.SSLError):
        client.ask("GET", "/api/status")
    context = urllib3.util.create_urllib3_context()
    context.load_verify_locations(cadata=authority.certificate_pem)
    client.pool.connection_pool_kw["ssl_context"] = context
    client.pool.clear()
    assert [client.read().status for _ in range(3)] == [200, 200, 200]
    assert client.kms.connections_open == 1


def test_faults_hold_over_https_too(serve):
    authority = tls.Authority()
    client = serve(ssl_context=authority.issue().server_context())
    context = urllib3.util.create_urllib3_context()
    context.load_verify_locations(cadata=authority.certificate_pem)
    client.pool.connection_pool_kw["ssl_context"] = context
    for fault in (faults.reset(), faults.truncated(3)):
        client.kms.faults.add(fault)
        with pytest.raises(urllib3.exceptions.ProtocolError):
            client.ask("GET", "/api/status")


def test_a_storm_is_served_side_by_side(serve):
    client = serve(delay_s=0.1)
    client.pool.connection_pool_kw["maxsize"] = 110
    bearer = client.bearer()
    with concurrent.futures.ThreadPoolExecutor(110) as pool:
        statuses = list(pool.map(lambda _: client.read(bearer=bearer).status, range(110)))
    assert statuses == [200] * 110
    assert client.kms.requests.most_in_flight() > 55


def test_issue_token(kms, clock):
    token = kms.issue_token("shop", "front", "kms", 60, "uid")
    assert token.count(".") == 2
