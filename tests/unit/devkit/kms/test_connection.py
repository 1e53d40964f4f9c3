import socket

import pytest

from devkit.kms import faults

STATUS = "GET /api/status"


@pytest.fixture
def connection(kms):
    with socket.create_connection((kms.host, kms.port), timeout=4.0) as made:
        yield made


def get(target, *lines):
    return "\r\n".join([f"GET {target} HTTP/1.1", "host: h", *lines, "", ""]).encode()


def answers(connection):
    """Everything up to the connection's end, split into answers."""
    return [b"HTTP/1.1" + each for each in connection.makefile("rb").read().split(b"HTTP/1.1")[1:]]


def test_a_connection_is_kept(client, kms):
    for _ in range(5):
        client.ask("GET", "/api/status")
    assert (kms.connections_accepted, kms.connections_open) == (1, 1)


def test_and_closed_when_asked(connection):
    connection.sendall(get("/api/status", "connection: close"))
    (answer,) = answers(connection)
    assert answer.startswith(b"HTTP/1.1 200 OK\r\n")
    assert b"connection: close\r\n" in answer


def test_requests_may_be_sent_ahead(connection, kms):
    kms.faults.add(faults.delay(0.05), STATUS)
    connection.sendall(get("/api/status") + get("/api/none"))
    kms.requests.wait_for(STATUS, 1)
    connection.sendall(get("/page", "connection: close"))
    statuses = [each.split(b" ", 2)[1] for each in answers(connection)]
    assert statuses == [b"200", b"404", b"200"]


def test_what_is_no_request_is_told_and_the_connection_closed(connection):
    connection.sendall(b"nonsense\r\n\r\n" + get("/api/status"))
    (answer,) = answers(connection)
    assert answer.startswith(b"HTTP/1.1 400 Bad Request\r\n")


def test_expect_continue(connection):
    connection.sendall(
        b"POST /api/v1/auth/token/renew HTTP/1.1\r\nhost: h\r\nconnection: close\r\n"
        b"expect: 100-continue\r\ncontent-length: 2\r\n\r\n"
    )
    assert connection.recv(100) == b"HTTP/1.1 100 Continue\r\n\r\n"
    connection.sendall(b"{}")
    (answer,) = answers(connection)
    assert answer.startswith(b"HTTP/1.1 422 ")


def test_a_client_that_leaves_ends_its_request(connection, kms):
    kms.faults.add(faults.delay(60.0), STATUS)
    connection.sendall(get("/api/status"))
    kms.requests.wait_until(lambda: kms.requests.in_flight() == 1)
    connection.close()
    kms.requests.wait_until(lambda: kms.requests.in_flight() == 0)
    (record,) = kms.requests.records()
    assert (record.abandoned, record.status) == (True, 0)


def test_an_answer_that_cannot_be_sent_ends_the_connection(connection, kms, caplog):
    kms.faults.add(faults.status(200, headers={"x": "€"}, body=b""))
    connection.sendall(get("/api/status"))
    assert connection.recv(100) == b""
    assert "could not be sent" in caplog.text
