import socket
import ssl
import stat
import threading

import pytest

from devkit.kms import tls


def handshake(server_context, authority, host, *, strict=False):
    """Connect over TLS and return the server's first bytes."""
    client_context = ssl.create_default_context(cadata=authority.certificate_pem)
    if strict:
        client_context.verify_flags |= ssl.VERIFY_X509_STRICT | ssl.VERIFY_X509_PARTIAL_CHAIN

    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve():
            raw, _ = listener.accept()
            with raw:
                try:
                    with server_context.wrap_socket(raw, server_side=True) as connection:
                        connection.sendall(b"hello")
                except (ssl.SSLError, ConnectionError):
                    return

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            with (
                socket.create_connection(listener.getsockname()) as raw,
                client_context.wrap_socket(raw, server_hostname=host) as connection,
            ):
                return connection.recv(5)
        finally:
            thread.join()


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
def test_the_certificate_is_good_for_loopback(host):
    authority = tls.Authority()
    context = authority.issue().server_context()
    assert handshake(context, authority, host, strict=True) == b"hello"


def test_and_for_nothing_else():
    authority = tls.Authority()
    context = authority.issue().server_context()
    with pytest.raises(ssl.SSLCertVerificationError, match="mismatch"):
        handshake(context, authority, "kms.example")


def test_other_names_can_be_asked_for():
    authority = tls.Authority()
    context = authority.issue(("kms.example",), ()).server_context()
    assert handshake(context, authority, "kms.example") == b"hello"


def test_another_authority_does_not_vouch_for_it():
    context = tls.Authority().issue().server_context()
    with pytest.raises(ssl.SSLCertVerificationError):
        handshake(context, tls.Authority(), "localhost")


def test_files(tmp_path):
    authority = tls.Authority()
    certificate, key = authority.issue().write(tmp_path, "kms")
    assert (certificate.name, key.name) == ("kms.crt", "kms.key")
    assert stat.S_IMODE(key.stat().st_mode) == 0o600
    assert handshake(tls.server_context(certificate, key), authority, "localhost") == b"hello"


def test_the_key_is_not_in_the_repr():
    pair = tls.Authority().issue()
    assert pair.key_pem not in repr(pair)
    assert "PRIVATE" not in repr(pair)
