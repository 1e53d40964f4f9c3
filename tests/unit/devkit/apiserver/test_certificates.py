import pathlib
import socket
import ssl
import threading

import pytest

from devkit.apiserver import certificates


def test_files_are_private(tmp_path: pathlib.Path) -> None:
    made = certificates.make()
    paths = made.write(tmp_path)
    assert [path.name for path in paths] == ["ca.crt", "tls.crt", "tls.key"]
    assert paths[2].stat().st_mode & 0o777 == 0o600
    assert [path.read_bytes() for path in paths] == [
        made.ca_pem,
        made.certificate_pem,
        made.key_pem,
    ]


@pytest.mark.parametrize("name", ["127.0.0.1", "localhost"])
def test_a_client_that_trusts_the_authority_gets_in(name: str) -> None:
    made = certificates.make()
    listening = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        plain, _ = listening.accept()
        with made.context().wrap_socket(plain, server_side=True) as secured:
            secured.sendall(b"hello")

    thread = threading.Thread(target=serve)
    thread.start()
    trusting = ssl.create_default_context(cadata=made.ca_pem.decode())
    with (
        socket.create_connection(listening.getsockname()) as plain,
        trusting.wrap_socket(plain, server_hostname=name) as secured,
    ):
        assert secured.recv(5) == b"hello"
    thread.join()
    listening.close()


def test_every_authority_is_another() -> None:
    assert certificates.make().ca_pem != certificates.make().ca_pem
