import email.utils
import socket
import time

import pytest

from devkit.kms import faults


@pytest.fixture
def ask(kms):
    """Send one request on a connection of its own; returns head lines and body."""

    def send(target="/api/status", method="GET", *lines):
        with socket.create_connection((kms.host, kms.port), timeout=4.0) as connection:
            head = [f"{method} {target} HTTP/1.1", "host: h", "connection: close", *lines]
            connection.sendall(("\r\n".join(head) + "\r\n\r\n").encode())
            head, _, body = connection.makefile("rb").read().partition(b"\r\n\r\n")
            return head.decode("latin-1").split("\r\n"), body

    return send


def header(head, name):
    return [each.partition(": ")[2] for each in head[1:] if each.startswith(name + ": ")]


def test_head_of_an_answer(ask):
    head, body = ask()
    assert head[0] == "HTTP/1.1 200 OK"
    assert header(head, "content-length") == [str(len(body))]
    (date,) = header(head, "date")
    assert abs(email.utils.parsedate_to_datetime(date).timestamp() - time.time()) < 5


def test_a_status_without_a_phrase(ask, kms):
    kms.faults.add(faults.status(599, body=b""))
    assert ask()[0][0] == "HTTP/1.1 599 Unknown"


def test_head_has_no_body(ask):
    head, body = ask(method="HEAD")
    assert header(head, "content-length") != ["0"]
    assert body == b""


def test_not_modified_has_no_body(ask, kms):
    kms.faults.add(faults.status(304, body=b"x"))
    head, body = ask()
    assert (header(head, "content-length"), body) == ([], b"")


def test_a_truncated_answer_announces_the_whole(ask, kms):
    kms.faults.add(faults.truncated(5))
    head, body = ask()
    assert int(header(head, "content-length")[0]) > 5
    assert len(body) == 5


def test_truncated_before_the_first_byte(ask, kms):
    kms.faults.add(faults.truncated(0))
    head, body = ask()
    assert head[0] == "HTTP/1.1 200 OK"
    assert body == b""


def test_a_reset_is_no_end_of_file(kms):
    kms.faults.add(faults.reset())
    with socket.create_connection((kms.host, kms.port), timeout=4.0) as connection:
        connection.sendall(b"GET /api/status HTTP/1.1\r\nhost: h\r\n\r\n")
        with pytest.raises(ConnectionResetError):
            connection.recv(100)
