import contextlib
import secrets
import socket
import ssl
import subprocess
import sys
import threading
import time
from typing import Any

import pytest

from secrets_store import errors, log
from secrets_store.kube import access, client, transport

POD = "/api/v1/namespaces/a/pods/b"


def serving(pair: Any, tmp_path: Any, client_ca: str = "") -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    file = tmp_path / f"{secrets.token_hex(4)}.pem"
    file.write_bytes(pair.certificate + pair.key)
    context.load_cert_chain(file)
    if client_ca:
        context.verify_mode = ssl.CERT_REQUIRED
        context.load_verify_locations(cadata=client_ca)
    return context


def ask(config: access.Config) -> Any:
    with contextlib.closing(client.Client(config, user_agent="x")) as api:
        return api.get(POD, deadline_s=2.0)


def test_tls(serve: Any, behaviours: Any, authority: Any, tmp_path: Any) -> None:
    server = serve(serving(authority.issue("kubernetes", "127.0.0.1"), tmp_path))
    server.behave(*[behaviours.answer(200, {"ok": 1})] * 2)
    config = access.Config(server.url, ca=authority.pem)
    assert ask(config) == {"ok": 1}
    with contextlib.closing(client.Client(config, user_agent="x")) as api:
        assert api.get(POD) == {"ok": 1}


def test_tls_certificate_of_another_host(
    serve: Any, behaviours: Any, authority: Any, tmp_path: Any
) -> None:
    server = serve(serving(authority.issue("kubernetes"), tmp_path))
    server.behave(*[behaviours.answer(200, {"ok": 1})] * 2)
    with pytest.raises(errors.Unavailable, match="certificate not accepted") as caught:
        ask(access.Config(server.url, ca=authority.pem))
    assert caught.value.status == 0
    assert server.connections == 1, "a certificate does not get better by asking again"
    named = access.Config(server.url, ca=authority.pem, tls_server_name="kubernetes")
    assert ask(named) == {"ok": 1}
    assert ask(access.Config(server.url, insecure=True)) == {"ok": 1}


def test_tls_certificate_of_another_authority(serve: Any, authority: Any, tmp_path: Any) -> None:
    server = serve(serving(authority.issue("kubernetes", "127.0.0.1"), tmp_path))
    other = type(authority)()
    with pytest.raises(errors.Unavailable, match="certificate not accepted"):
        ask(access.Config(server.url, ca=other.pem))


def test_tls_client_certificate(serve: Any, behaviours: Any, authority: Any, tmp_path: Any) -> None:
    context = serving(authority.issue("kubernetes", "127.0.0.1"), tmp_path, authority.pem)
    server = serve(context)
    server.behave(behaviours.answer(200, {"ok": 1}))
    pair = authority.issue("node")
    config = access.Config(
        server.url,
        ca=authority.pem,
        client_certificate=pair.certificate,
        client_key=log.Sealed(pair.key),
    )
    assert ask(config) == {"ok": 1}


class Late:
    """Shakes hands only after a while."""

    def __init__(self, context: ssl.SSLContext, seconds: float) -> None:
        self._context, self._seconds = context, seconds

    def wrap_socket(self, connection: socket.socket, **options: Any) -> ssl.SSLSocket:
        time.sleep(self._seconds)
        return self._context.wrap_socket(connection, **options)


def test_the_time_to_connect_is_part_of_the_deadline(
    serve: Any, authority: Any, tmp_path: Any
) -> None:
    context = serving(authority.issue("kubernetes", "127.0.0.1"), tmp_path)
    server = serve(Late(context, 2.0))
    server.behave(lambda request: server.released.wait() and False)
    config = access.Config(server.url, ca=authority.pem)
    with contextlib.closing(client.Client(config, user_agent="x")) as api:
        began = time.monotonic()
        with pytest.raises(errors.Unavailable, match="read timeout"):
            api.get(POD, deadline_s=2.5)
    assert time.monotonic() - began < 3.8


def test_a_watch_has_a_time_for_its_head_and_another_for_the_rest(server: Any) -> None:
    def late(request: Any) -> bool:
        request.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        time.sleep(0.5)
        request.send(b"1\r\nx\r\n0\r\n\r\n")
        return False

    def drip(request: Any) -> bool:
        request.send(b"HTTP/1.1 200 OK\r\nX: ")
        while not server.released.wait(0.05):
            request.send(b"x")
        return False

    server.behave(late, drip)
    made = transport.Transport(access.Config(server.url), pool_size=1)
    with contextlib.closing(made.connection()) as connection:
        connection.timeout = 0.3
        connection.request("GET", "/", preload_content=False)
        answer = connection.getresponse()
        assert connection.sock is not None
        connection.sock.settimeout(5.0)
        assert answer.read() == b"x"
    with contextlib.closing(made.connection()) as connection:
        connection.timeout = 0.3
        connection.request("GET", "/", preload_content=False)
        began = time.monotonic()
        with pytest.raises(TimeoutError):
            connection.getresponse()
        assert time.monotonic() - began < 4.0
    made.close()


def test_plain_answer_to_tls(serve: Any, authority: Any) -> None:
    server = serve()
    config = access.Config(server.url.replace("http:", "https:"), ca=authority.pem)
    with contextlib.closing(client.Client(config, user_agent="x")) as api:
        # The server reads a hello as a request that never ends, then hangs up.
        threading.Timer(0.2, server.close).start()
        with pytest.raises(errors.Unavailable, match="API server: "):
            api.get(POD, deadline_s=1.0)


class Proxy:
    """An HTTP proxy that knows CONNECT."""

    def __init__(self, refuse: bool = False) -> None:
        self.heads: list[bytes] = []
        self._refuse = refuse
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self._ends: list[socket.socket] = []
        self._threads = [threading.Thread(target=self._accept)]
        self._threads[0].start()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                near, _ = self._listener.accept()
                self._ends.append(near)
                self._connect(near)

    def _connect(self, near: socket.socket) -> None:
        head = b""
        while b"\r\n\r\n" not in head:
            head += near.recv(4096)
        self.heads.append(head)
        if self._refuse:
            near.sendall(b"HTTP/1.1 407 Who Are You\r\nContent-Length: 0\r\n\r\n")
            near.close()
            return
        host, _, port = head.split()[1].decode().rpartition(":")
        far = socket.create_connection((host, int(port)))
        self._ends.append(far)
        near.sendall(b"HTTP/1.1 200 Connected\r\n\r\n")
        for source, sink in ((near, far), (far, near)):
            self._threads.append(threading.Thread(target=self._copy, args=(source, sink)))
            self._threads[-1].start()

    def _copy(self, source: socket.socket, sink: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(65536):
                sink.sendall(data)
            sink.shutdown(socket.SHUT_WR)

    def close(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for end in self._ends:
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join(3)
            assert not thread.is_alive()
        for end in self._ends:
            end.close()


def test_requests_and_watches_go_through_the_proxy(
    serve: Any, behaviours: Any, authority: Any, tmp_path: Any
) -> None:
    server = serve(serving(authority.issue("kubernetes", "127.0.0.1"), tmp_path))
    server.behave(behaviours.answer(200, {"ok": 1}), behaviours.answer(200, {"ok": 2}))
    server.behave(behaviours.chunks(b'{"type": "ADDED", "object": {}}\n'))
    with contextlib.closing(Proxy()) as proxy:
        config = access.Config(
            server.url, ca=authority.pem, proxy=f"http://me:p%40ss@127.0.0.1:{proxy.port}"
        )
        with contextlib.closing(client.Client(config, user_agent="x")) as api:
            assert api.get(POD) == {"ok": 1}
            assert api.get(POD) == {"ok": 2}
            with api.watch("/api/v1/pods") as watch:
                assert list(watch) == [("ADDED", {})]
    assert len(proxy.heads) == 2
    for head in proxy.heads:
        assert head.startswith(f"CONNECT 127.0.0.1:{server.port} HTTP/1.".encode())
        assert b"basic bWU6cEBzcw==" in head.lower().replace(b"bwu6cebzcw", b"bWU6cEBzcw")


def test_proxy_that_refuses(serve: Any, authority: Any) -> None:
    with contextlib.closing(Proxy(refuse=True)) as proxy:
        config = access.Config(
            "https://127.0.0.1:1", ca=authority.pem, proxy=f"http://127.0.0.1:{proxy.port}"
        )
        with contextlib.closing(client.Client(config, user_agent="x")) as api:
            with pytest.raises(errors.Unavailable, match="proxy: "):
                api.get(POD, deadline_s=0.3)
            with pytest.raises(errors.Unavailable), api.watch("/api/v1/pods"):
                pass


@pytest.mark.parametrize(
    "server",
    [
        "",
        "ftp://127.0.0.1",
        "https://",
        "127.0.0.1:6443",
        "https://127.0.0.1:99999",
        "https://127.0.0.1:tcp://127.0.0.1:443",
        "https://[::1",
    ],
)
def test_server_that_is_none(server: str) -> None:
    with pytest.raises(errors.ConfigurationError):
        transport.Transport(access.Config(server, insecure=True), pool_size=1)


def test_proxy_that_is_none_is_not_shown() -> None:
    secret = secrets.token_hex(8)
    config = access.Config(
        "https://127.0.0.1:1", insecure=True, proxy=f"http://me:{secret}@127.0.0.1:99999"
    )
    with pytest.raises(errors.ConfigurationError, match="proxy") as caught:
        transport.Transport(config, pool_size=1)
    assert secret not in f"{caught.value}{caught.value.__context__}"


LOST = """
import fcntl, http.server, socket, struct, threading, time
from secrets_store.kube import access, client

class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        self.send_response(200)
        self.send_header("Content-Length", "2")
        self.end_headers()
        self.wfile.write(b"{}")

    def log_message(self, *args):
        pass

def network(up):
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
        request = struct.pack("16sh16x", b"lo", 1 if up else 0)
        fcntl.ioctl(any_socket, 0x8914, request)  # SIOCSIFFLAGS, IFF_UP

network(True)
server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
threading.Thread(target=server.serve_forever, daemon=True).start()
codes = []
api = client.Client(
    access.Config(f"http://127.0.0.1:{server.server_port}"),
    user_agent="x",
    observe=lambda method, host, code: codes.append(code),
)
api.get("/x")
network(False)
threading.Timer(4.6, network, [True]).start()
api.get("/x", deadline_s=10.0)
print(codes[0], codes[1], codes[-1])
"""


@pytest.mark.root
@pytest.mark.timeout(40)
def test_a_request_outlives_a_kept_connection_whose_other_side_is_lost() -> None:
    """No reset tells of it; it is the kernel that gets no acknowledgement."""
    told = subprocess.run(
        ["unshare", "--net", sys.executable, "-c", LOST],
        capture_output=True,
        text=True,
        check=False,
        timeout=30,
    )
    assert told.stderr == ""
    assert told.stdout == "200 <error> 200\n"


def test_keepalive_is_set(server: Any, behaviours: Any) -> None:
    made = transport.Transport(access.Config(server.url), pool_size=1)
    with contextlib.closing(made.connection()) as connection:
        connection.connect()
        assert connection.sock is not None
        assert connection.sock.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
        assert connection.sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
    made.close()


def test_host_as_metrics_name_it() -> None:
    for server, host in (
        ("https://10.96.0.1:443", "10.96.0.1:443"),
        ("https://[fd00::1]:6443", "[fd00::1]:6443"),
        ("http://localhost", "localhost"),
    ):
        made = transport.Transport(access.Config(server, insecure=True), pool_size=1)
        assert made.host == host
        made.close()


def test_shut_of_what_is_not_open() -> None:
    transport.shut(None)
    with socket.socket() as never:
        transport.shut(never)
