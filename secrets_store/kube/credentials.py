"""Where the API server is and how to be believed there.

``load`` finds the configuration as client-go does; everything it returns is in memory, so that a
file that is swapped later cannot leave half of an identity behind. Only the bearer token is read
again, because kubelet renews it under the running process.
"""

import contextlib
import dataclasses
import os
import ssl
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping

from secrets_store import errors, log
from secrets_store.kube import proxies

SERVICE_ACCOUNT_DIR = "/var/run/secrets/kubernetes.io/serviceaccount"
RECHECK_S = 1.0
"""At most so often the token file is looked at."""


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


def load(
    kubeconfig: str = "",
    environ: Mapping[str, str] = os.environ,
    *,
    service_account_dir: str = SERVICE_ACCOUNT_DIR,
) -> Config:
    """Find the configuration: flag, ``KUBECONFIG``, in-cluster, ``~/.kube/config``.

    Args:
        kubeconfig: The flag's value; empty when not given.
        environ: Environment to look into.
        service_account_dir: Where kubelet mounts the service account.

    Raises:
        errors.ConfigurationError: nothing was found, or what was found cannot be used.

    Source: controller-runtime's config loading order.
    """
    files = [kubeconfig] if kubeconfig else _listed(environ.get("KUBECONFIG", ""))
    if not files:
        host = environ.get("KUBERNETES_SERVICE_HOST", "")
        port = environ.get("KUBERNETES_SERVICE_PORT", "")
        if host and port:
            return in_cluster(host, port, environ, service_account_dir)
        home = environ.get("HOME") or os.path.expanduser("~")
        files = [os.path.join(home, ".kube", "config")]
    # The driver in its pod never needs YAML, which would cost it a MiB.
    from secrets_store.kube import kubeconfig as kubeconfigs

    return kubeconfigs.load(files, environ)


def in_cluster(host: str, port: str, environ: Mapping[str, str], directory: str) -> Config:
    """Return the configuration of a pod with a service account."""
    authority = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    server = f"https://{authority}"
    token_file = os.path.join(directory, "token")
    read_text(token_file)
    try:
        namespace = read_text(os.path.join(directory, "namespace")).strip()
    except errors.ConfigurationError:
        namespace = ""
    return Config(
        server=server,
        ca=read_text(os.path.join(directory, "ca.crt")),
        token_file=token_file,
        namespace=namespace or "default",
        proxy=proxies.choose(server, environ),
    )


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


def _listed(value: str) -> list[str]:
    return [part for part in value.split(os.pathsep) if part]


def tls_context(config: Config) -> ssl.SSLContext:
    """Build the TLS client context that client-go's settings amount to.

    OpenSSL's strict mode stays off: it refuses CA certificates without an authority key
    identifier, which many clusters have and Go accepts.

    Raises: errors.ConfigurationError: a certificate or key is unusable.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(["http/1.1"])
    if config.insecure:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    elif config.ca:
        # Go trusts every certificate of the bundle as a root, intermediates too.
        context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
        try:
            context.load_verify_locations(cadata=config.ca)
        except (ssl.SSLError, ValueError) as error:
            raise errors.ConfigurationError("the API server's CA is not PEM") from error
    else:
        context.load_default_certs()
    if config.client_certificate:
        with _in_memory(config.client_certificate, config.client_key) as path:
            try:
                # Without a password OpenSSL would ask for one on the terminal.
                context.load_cert_chain(path, password="")
            except (ssl.SSLError, ValueError) as error:
                raise errors.ConfigurationError(
                    "the client certificate and key are not a pair in PEM"
                ) from error
    return context


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


def is_token(text: str) -> bool:
    """Tell whether a text can be a bearer token.

    What cannot be a header is kept away from the HTTP library, whose error would show it.
    """
    return bool(text) and text.isascii() and text.isprintable()


class Token:
    """The bearer token, read again when kubelet has renewed it. Safe in any thread."""

    def __init__(self, config: Config, clock: Callable[[], float] = time.monotonic) -> None:
        self._config, self._clock = config, clock
        self._lock = threading.Lock()
        self._value = config.token
        self._seen: tuple[int, int, int] | None = None
        self._looked_mono = float("-inf")

    def get(self) -> str:
        """Return the token; empty when the identity is not a token.

        A file that cannot be read just now leaves the last token in use.
        """
        if not self._config.token_file:
            return self._value.open()
        with self._lock:
            if self._clock() - self._looked_mono >= RECHECK_S:
                self._look()
            return self._value.open()

    def reload(self, refused: str) -> bool:
        """Read the file at once, because ``refused`` was not believed; tell if it has another."""
        if not self._config.token_file:
            return False
        with self._lock:
            self._look(force=True)
            return self._value.open() not in ("", refused)

    def _look(self, *, force: bool = False) -> None:
        self._looked_mono = self._clock()
        try:
            # stat follows kubelet's symlinks: a swapped directory shows as another inode.
            facts = os.stat(self._config.token_file)
            seen = (facts.st_ino, facts.st_mtime_ns, facts.st_size)
            if seen == self._seen and not force:
                return
            with open(self._config.token_file, encoding="utf-8") as file:
                value = file.read().strip()
        except (OSError, UnicodeDecodeError):
            return
        if is_token(value):
            self._value, self._seen = log.Sealed(value), seen
