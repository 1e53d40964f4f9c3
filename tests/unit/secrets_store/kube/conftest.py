"""A scripted HTTP server on raw sockets, for what a well-behaved server never does."""

import contextlib
import dataclasses
import datetime
import ipaddress
import json
import pathlib
import socket
import ssl
import struct
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509 import oid

from secrets_store.kube import access, client


@dataclasses.dataclass
class Request:
    """What arrived, and the connection it arrived on."""

    method: str
    target: str
    headers: dict[str, str]
    body: bytes
    connection: socket.socket
    number: int
    """Of the connection, from 0."""

    def send(self, data: bytes) -> None:
        self.connection.sendall(data)


Behaviour = Callable[[Request], bool]
"""Answers one request; True keeps the connection."""


class Server:
    """Answers requests by a script, one behaviour each; a request without one is an error.

    ``behave`` says what to do with the next requests, ``requests`` holds those that came.
    """

    def __init__(self, context: ssl.SSLContext | None = None) -> None:
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self._context = context
        self._script: list[Behaviour] = []
        self.requests: list[Request] = []
        self.connections = 0
        self.released = threading.Event()
        """Set when the test is over, and by tests: ends behaviours that hang."""
        self._arrived = threading.Condition()
        self._open: set[socket.socket] = set()
        self._threads = [threading.Thread(target=self._accept)]
        self._threads[0].start()

    @property
    def url(self) -> str:
        return f"{'https' if self._context else 'http'}://127.0.0.1:{self.port}"

    def behave(self, *script: Behaviour) -> None:
        with self._arrived:
            self._script += script

    def wait_requests(self, count: int, timeout_s: float = 3.0) -> None:
        with self._arrived:
            assert self._arrived.wait_for(lambda: len(self.requests) >= count, timeout_s)

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            number, self.connections = self.connections, self.connections + 1
            thread = threading.Thread(target=self._serve, args=(connection, number))
            self._threads.append(thread)
            thread.start()

    def _serve(self, connection: socket.socket, number: int) -> None:
        with contextlib.suppress(OSError, EOFError):
            if self._context:
                connection = self._context.wrap_socket(connection, server_side=True)
            self._open.add(connection)
            while self._one(connection, number):
                pass
        connection.close()

    def _one(self, connection: socket.socket, number: int) -> bool:
        request = _read(connection, number)
        with self._arrived:
            self.requests.append(request)
            behaviour = self._script.pop(0) if self._script else answer(500, {"script": "over"})
            self._arrived.notify_all()
        return behaviour(request)

    def refuse(self) -> None:
        """Listen no more; connections that are open stay."""
        # close alone would leave the accept of the other thread listening.
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    def close(self) -> None:
        self.released.set()
        with contextlib.suppress(OSError):
            self.refuse()
        for connection in list(self._open):
            with contextlib.suppress(OSError):
                socket.socket.shutdown(connection, socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join(3)
            assert not thread.is_alive()


def _read(connection: socket.socket, number: int) -> Request:
    data = b""
    while b"\r\n\r\n" not in data:
        more = connection.recv(65536)
        if not more:
            raise EOFError
        data += more
    head, _, body = data.partition(b"\r\n\r\n")
    line, *lines = head.decode("latin-1").split("\r\n")
    method, target, _ = line.split(" ")
    headers = {name.lower(): value.strip() for name, _, value in (x.partition(":") for x in lines)}
    while len(body) < int(headers.get("content-length", "0")):
        body += connection.recv(65536)
    return Request(method, target, headers, body, connection, number)


def answer(status: int, document: Any, **headers: str) -> Behaviour:
    """Answer with a JSON document, or bytes as they are."""

    def behave(request: Request) -> bool:
        body = document if isinstance(document, bytes) else json.dumps(document).encode()
        lines = [f"HTTP/1.1 {status} X", f"Content-Length: {len(body)}"]
        lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
        request.send("\r\n".join(lines).encode() + b"\r\n\r\n" + body)
        return True

    return behave


def status(code: int, reason: str = "", message: str = "", **headers: str) -> Behaviour:
    document = {"kind": "Status", "code": code, "reason": reason, "message": message}
    return answer(code, document, **headers)


def reset(request: Request) -> bool:
    """End the connection with RST, without a byte of an answer."""
    request.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    return False


def hang_up(request: Request) -> bool:
    """End the connection in good order, without a byte of an answer."""
    return False


def half(request: Request) -> bool:
    """Promise more than is sent."""
    request.send(b'HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n{"kind":')
    return False


def chunks(*parts: bytes, end: bool = True) -> Behaviour:
    """Answer 200 with these chunks, and end the body or break off."""

    def behave(request: Request) -> bool:
        request.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        for part in parts:
            request.send(b"%x\r\n%b\r\n" % (len(part), part))
        if end:
            request.send(b"0\r\n\r\n")
        return end

    return behave


@dataclasses.dataclass
class Behaviours:
    """The functions above, for tests that get them through a fixture."""

    answer: Callable[..., Behaviour] = answer
    status: Callable[..., Behaviour] = status
    reset: Behaviour = reset
    hang_up: Behaviour = hang_up
    half: Behaviour = half
    chunks: Callable[..., Behaviour] = chunks


@pytest.fixture
def behaviours() -> Behaviours:
    return Behaviours()


@pytest.fixture
def server() -> Iterator[Server]:
    made = Server()
    yield made
    made.close()


@pytest.fixture
def serve() -> Iterator[Callable[[ssl.SSLContext | None], Server]]:
    made: list[Server] = []

    def make(context: ssl.SSLContext | None = None) -> Server:
        made.append(Server(context))
        return made[-1]

    yield make
    for one in made:
        one.close()


@pytest.fixture
def account(tmp_path: pathlib.Path) -> pathlib.Path:
    """A service account as kubelet mounts it: files behind two symlinks."""
    (tmp_path / "..1").mkdir()
    for name, text in (("token", "first"), ("namespace", "system\n"), ("ca.crt", "PEM")):
        (tmp_path / "..1" / name).write_text(text)
        (tmp_path / name).symlink_to(f"..data/{name}")
    (tmp_path / "..data").symlink_to("..1")
    return tmp_path


class Time:
    """A clock that moves only by being slept on."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.slept: list[float] = []

    def clock(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.now += seconds


@pytest.fixture
def time() -> Time:
    return Time()


@pytest.fixture
def observed() -> list[tuple[str, str, str]]:
    return []


@pytest.fixture
def api(
    server: Server, time: Time, observed: list[tuple[str, str, str]]
) -> Iterator[client.Client]:
    """A client of ``server`` whose pauses take no time and are the longest allowed."""
    made = client.Client(
        access.Config(server.url),
        user_agent="tests/1",
        observe=lambda *facts: observed.append(facts),
        clock=time.clock,
        sleep=time.sleep,
        uniform=lambda low, high: high,
    )
    yield made
    made.close()


@dataclasses.dataclass
class Pair:
    """A certificate and its key, in PEM."""

    certificate: bytes
    key: bytes


class Authority:
    """A certificate authority as plain as kubeadm's: no authority key identifier."""

    def __init__(self) -> None:
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = x509.Name([x509.NameAttribute(oid.NameOID.COMMON_NAME, "tests")])
        self.pem = self._sign(self._name, self._key, x509.BasicConstraints(True, None)).decode()

    def _sign(self, subject: x509.Name, key: Any, *extensions: x509.ExtensionType) -> bytes:
        now = datetime.datetime.now(datetime.UTC)
        builder = (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(self._name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - datetime.timedelta(hours=1))
            .not_valid_after(now + datetime.timedelta(hours=1))
        )
        for extension in extensions:
            builder = builder.add_extension(extension, critical=False)
        made = builder.sign(self._key, hashes.SHA256())
        return made.public_bytes(serialization.Encoding.PEM)

    def issue(self, name: str, *addresses: str) -> Pair:
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(oid.NameOID.COMMON_NAME, name)])
        names: list[x509.GeneralName] = [x509.DNSName(name)]
        names += [x509.IPAddress(ipaddress.ip_address(address)) for address in addresses]
        certificate = self._sign(subject, key, x509.SubjectAlternativeName(names))
        encoded = key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
        return Pair(certificate, encoded)


@pytest.fixture(scope="session")
def authority() -> Authority:
    return Authority()
