"""The TLS client context that client-go's settings amount to."""

import contextlib
import os
import ssl
import tempfile
from collections.abc import Iterator

from secrets_store import errors, log
from secrets_store.kube import access


def context(config: access.Config) -> ssl.SSLContext:
    """Build the TLS client context that client-go's settings amount to.

    OpenSSL's strict mode stays off: it refuses CA certificates without an authority key
    identifier, which many clusters have and Go accepts.

    Raises: errors.ConfigurationError: a certificate or key is unusable.
    """
    made = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    made.minimum_version = ssl.TLSVersion.TLSv1_2
    made.set_alpn_protocols(["http/1.1"])
    if config.insecure:
        made.check_hostname = False
        made.verify_mode = ssl.CERT_NONE
    elif config.ca:
        # Go trusts every certificate of the bundle as a root, intermediates too.
        made.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
        # Between the certificates there may be names of authorities, in letters of any script.
        ca = config.ca.encode("ascii", "ignore").decode("ascii")
        try:
            made.load_verify_locations(cadata=ca)
        except (ssl.SSLError, ValueError) as error:
            raise errors.ConfigurationError("the API server's CA is not PEM") from error
    else:
        made.load_default_certs()
    if config.client_certificate:
        with _in_memory(config.client_certificate, config.client_key) as path:
            try:
                # Without a password OpenSSL would ask for one on the terminal.
                made.load_cert_chain(path, password="")
            except (ssl.SSLError, ValueError) as error:
                raise errors.ConfigurationError(
                    "the client certificate and key are not a pair in PEM"
                ) from error
    return made


@contextlib.contextmanager
def _in_memory(certificate: bytes, key: log.Sealed[bytes]) -> Iterator[str]:
    """Lend certificate and key as a path, for OpenSSL loads a pair from files only."""
    data = certificate.rstrip() + b"\n" + key.open()
    if hasattr(os, "memfd_create"):
        descriptor = os.memfd_create("client-certificate")
        try:
            os.write(descriptor, data)
            yield f"/proc/self/fd/{descriptor}"
        finally:
            os.close(descriptor)
    else:  # Developers' machines; the file has mode 0600 and is gone after the load.
        with tempfile.NamedTemporaryFile() as file:
            file.write(data)
            file.flush()
            yield file.name
