import contextlib
import gc
import socket
import threading

import pytest

from devkit.apiserver import http, listening, server


def answer(exchange: http.Exchange) -> None:
    exchange.send(http.Response(200, threading.current_thread().name.encode(), "text/plain"))


def talk(port: int) -> bytes:
    with socket.create_connection(("127.0.0.1", port)) as connection:
        connection.sendall(b"GET / HTTP/1.1\r\nConnection: close\r\n\r\n")
        received = b""
        while data := connection.recv(4096):
            received += data
        return received


def port_of(made: listening.Listener) -> int:
    return int(made.url("http").rpartition(":")[2])


def test_a_thread_of_its_own() -> None:
    made = listening.Listener(answer, 0, None)
    assert made.do(threading.current_thread) is threading.main_thread()
    made.start()
    assert talk(port_of(made)).endswith(b"devkit-apiserver")
    assert made.do(lambda: threading.current_thread().name) == "devkit-apiserver"
    made.stop()
    made.stop()
    with pytest.raises(ConnectionRefusedError):
        talk(port_of(made))


def test_failures_come_back_to_the_caller() -> None:
    made = listening.Listener(answer, 0, None)
    made.start()
    with pytest.raises(ZeroDivisionError):
        made.do(lambda: 1 // 0)
    made.stop()


def test_away_and_back() -> None:
    made = listening.Listener(answer, 0, None)
    made.start()
    port = port_of(made)
    kept = socket.create_connection(("127.0.0.1", port))
    assert talk(port)
    made.pause()
    with pytest.raises(ConnectionRefusedError):
        talk(port)
    # Dropped is dropped; whether it is told so depends on what was under way.
    with contextlib.suppress(ConnectionResetError):
        assert kept.recv(1) == b""
    kept.close()
    made.resume()
    assert talk(port)
    made.stop()


def test_no_certificate_without_tls() -> None:
    assert listening.Listener(answer, 0, None).certificate is None
    assert listening.Listener(answer, 0, 0).certificate is not None


@pytest.mark.timeout(30)
def test_what_arrives_while_it_stops_is_not_left_open() -> None:
    """A socket that is left open is told by its collector, to which pytest listens."""
    for _ in range(20):
        with server.APIServer() as api:
            ports = [int(url.rpartition(":")[2]) for url in (api.url, api.tls_url)]
            stopped = threading.Event()
            knocking = [threading.Thread(target=_knock, args=(port, stopped)) for port in ports]
            for thread in knocking:
                thread.start()
        stopped.set()
        for thread in knocking:
            thread.join()
    gc.collect()


def _knock(port: int, stopped: threading.Event) -> None:
    while not stopped.is_set():
        with contextlib.suppress(OSError):
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
