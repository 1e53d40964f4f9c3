"""One API server and one identity, as everything that talks to it needs them.

All of it is in memory, so that a file that is swapped later cannot leave half of an identity
behind. Only the bearer token is read again, because kubelet renews it under the running process.
"""

import dataclasses

from secrets_store import errors, log


@dataclasses.dataclass(frozen=True, slots=True)
class Config:
    """One API server and one identity.

    Attributes:
        server: ``https://host:port`` without a path.
        ca: PEM certificates to trust; empty means the system's.
        client_certificate: PEM chain to present; empty for none.
        client_key: Its PEM key.
        token: Bearer token that never changes.
        token_file: File to read the bearer token from, again and again; wins over ``token``.
        username: For basic authentication, with ``password``.
        namespace: Where the process is at home.
        tls_server_name: Name to expect in the certificate instead of the server's host.
        insecure: Accept any certificate.
        proxy: URL of an HTTP proxy, empty for none.
    """

    server: str
    ca: str = ""
    client_certificate: bytes = b""
    client_key: log.Sealed[bytes] = dataclasses.field(default_factory=lambda: log.Sealed(b""))
    token: log.Sealed[str] = dataclasses.field(default_factory=lambda: log.Sealed(""))
    token_file: str = ""
    username: str = ""
    password: log.Sealed[str] = dataclasses.field(default_factory=lambda: log.Sealed(""))
    namespace: str = "default"
    tls_server_name: str = ""
    insecure: bool = False
    proxy: str = dataclasses.field(default="", repr=False)


def read_text(path: str) -> str:
    """Return a small file's text.

    Raises: errors.ConfigurationError: it cannot be read; names the path, never the contents.
    """
    try:
        with open(path, encoding="utf-8") as file:
            return file.read()
    except OSError as error:
        reason = error.strerror or type(error).__name__
        raise errors.ConfigurationError(f"cannot read {path}: {reason}") from error
    except UnicodeDecodeError:
        reason = "not a text file"
    # Raised out here, for a decoding error carries the bytes it met.
    raise errors.ConfigurationError(f"cannot read {path}: {reason}")
