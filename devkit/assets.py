"""The real kube-apiserver and etcd on loopback, for tests that hold the stand-in against them.

Both programs come from a folder that the environment names, by the convention of envtest. They get
an authority, a token and a data folder of their own, and end with the context they are used in.
What the controller manager would do does not happen: no garbage collection, no default
ServiceAccounts, and namespaces never finish terminating.
"""

import os
import pathlib
import secrets
import shutil
import socket
import subprocess
import tempfile
import time
from types import TracebackType
from typing import Self

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from devkit.apiserver import certificates, client, crds, kubeconfig, objects

VARIABLE = "KUBEBUILDER_ASSETS"
ISSUER = "https://kubernetes.default.svc.cluster.local"
_READY_S = 60.0
_PROGRAMS = ("etcd", "kube-apiserver")


class StartFailed(Exception):
    """One of the programs ended or did not get ready; the text has the end of its log."""


def folder() -> pathlib.Path | None:
    """Return the folder with both programs, None if the environment names none.

    Raises: StartFailed: it names a folder that lacks one of them.
    """
    named = os.environ.get(VARIABLE)
    if not named:
        return None
    found = pathlib.Path(named)
    for program in _PROGRAMS:
        if not os.access(found / program, os.X_OK):
            raise StartFailed(f"{VARIABLE} names a folder without {program}")
    return found


def _free_ports(count: int) -> list[int]:
    """Return ports that are free now; they are held open together so that they differ."""
    held = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [item.getsockname()[1] for item in held]
    for item in held:
        item.close()
    return ports


class RealAPIServer:
    """etcd and kube-apiserver as child processes, with RBAC on and the driver's CRDs installed.

    Args:
        programs: folder with `etcd` and `kube-apiserver`.
    """

    def __init__(self, programs: pathlib.Path) -> None:
        self._programs = programs
        self._serving = certificates.make()
        self._folder = pathlib.Path(tempfile.mkdtemp(prefix="apiserver-"))
        self._processes: list[subprocess.Popen[bytes]] = []
        self.admin_token = secrets.token_hex(16)
        self.url = ""

    @property
    def ca_pem(self) -> bytes:
        return self._serving.ca_pem

    def start(self) -> Self:
        """Start both programs and wait until they serve. Raises: StartFailed."""
        try:
            etcd_port, peer_port, port = _free_ports(3)
            self.url = f"https://127.0.0.1:{port}"
            self._start_etcd(etcd_port, peer_port)
            self._start_apiserver(etcd_port, port)
            self._wait_ready()
            admin = self.client()
            for crd in crds.secrets_store_crds():
                admin.create(crd)
                self._wait_watchable(admin, crd)
        except BaseException:
            self.stop()
            raise
        return self

    def _spawn(self, program: str, arguments: list[str]) -> None:
        with (self._folder / f"{program}.log").open("wb") as log:
            process = subprocess.Popen(
                [self._programs / program, *arguments], stdout=log, stderr=subprocess.STDOUT
            )
        self._processes.append(process)

    def _start_etcd(self, port: int, peer_port: int) -> None:
        client_url, peer_url = f"http://127.0.0.1:{port}", f"http://127.0.0.1:{peer_port}"
        self._spawn(
            "etcd",
            [
                f"--data-dir={self._folder / 'etcd'}",
                f"--listen-client-urls={client_url}",
                f"--advertise-client-urls={client_url}",
                f"--listen-peer-urls={peer_url}",
                f"--initial-advertise-peer-urls={peer_url}",
                f"--initial-cluster=default={peer_url}",
                "--unsafe-no-fsync",
            ],
        )

    def _start_apiserver(self, etcd_port: int, port: int) -> None:
        _, certificate, key = self._serving.write(self._folder)
        signing, public = self._write_account_keys()
        users = self._folder / "tokens.csv"
        users.touch(0o600)
        users.write_text(f'{self.admin_token},admin,admin,"system:masters"\n')
        self._spawn(
            "kube-apiserver",
            [
                "--bind-address=127.0.0.1",
                "--advertise-address=127.0.0.1",
                f"--secure-port={port}",
                f"--etcd-servers=http://127.0.0.1:{etcd_port}",
                f"--cert-dir={self._folder}",
                f"--tls-cert-file={certificate}",
                f"--tls-private-key-file={key}",
                f"--token-auth-file={users}",
                f"--service-account-issuer={ISSUER}",
                f"--service-account-key-file={public}",
                f"--service-account-signing-key-file={signing}",
                f"--api-audiences={ISSUER}",
                "--authorization-mode=RBAC",
                "--disable-admission-plugins=ServiceAccount",
                "--service-cluster-ip-range=10.0.0.0/24",
                "--allow-privileged=true",
                "--endpoint-reconciler-type=none",
            ],
        )

    def _write_account_keys(self) -> tuple[pathlib.Path, pathlib.Path]:
        key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
        signing, public = self._folder / "sa.key", self._folder / "sa.pub"
        signing.touch(0o600)
        pem = serialization.Encoding.PEM
        signing.write_bytes(
            key.private_bytes(
                pem,
                serialization.PrivateFormat.TraditionalOpenSSL,
                serialization.NoEncryption(),
            )
        )
        public.write_bytes(
            key.public_key().public_bytes(pem, serialization.PublicFormat.SubjectPublicKeyInfo)
        )
        return signing, public

    def _wait_ready(self) -> None:
        deadline_mono = time.monotonic() + _READY_S
        probe = self.client()
        while True:
            for process in self._processes:
                if process.poll() is not None:
                    raise StartFailed(f"a program ended with {process.returncode}: {self._logs()}")
            try:
                if probe.request("GET", "/readyz").code == 200:
                    return
            except client.Unreachable:
                # Not listening yet; the deadline below bounds this.
                pass
            if time.monotonic() > deadline_mono:
                raise StartFailed(f"not ready after {_READY_S} s: {self._logs()}")
            time.sleep(0.1)

    def _wait_watchable(self, admin: client.Client, crd: objects.Object) -> None:
        """Wait until a new custom resource is served and its watch cache is filled."""
        spec = crd["spec"]
        path = f"/apis/{spec['group']}/v1/{spec['names']['plural']}"
        deadline_mono = time.monotonic() + _READY_S
        # From a version before its time the watch ends at once, with Gone.
        while admin.request("GET", f"{path}?watch=1&resourceVersion=1").code != 200:
            if time.monotonic() > deadline_mono:
                raise StartFailed(f"{spec['names']['plural']} are not served: {self._logs()}")
            time.sleep(0.05)

    def _logs(self) -> str:
        ends = [path.read_text()[-600:] for path in sorted(self._folder.glob("*.log"))]
        return "\n".join(ends)

    def client(self, token: str = "") -> client.Client:
        """Return a client with the administrator's token or another."""
        return client.Client(self.url, token or self.admin_token, self.ca_pem)

    def kubeconfig(self, path: pathlib.Path, *, token: str = "") -> pathlib.Path:
        """Write a kubeconfig file and return its path."""
        return kubeconfig.write(path, self.url, token=token or self.admin_token, ca_pem=self.ca_pem)

    def stop(self) -> None:
        """End both programs and remove their folder."""
        for process in reversed(self._processes):
            process.terminate()
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        self._processes.clear()
        shutil.rmtree(self._folder, ignore_errors=True)

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()
