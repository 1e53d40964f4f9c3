"""Figures of the KMS provider over its real socket: `python tests/bench/provider.py`.

Three processes: the stand-in KMS, the provider, and this one, which calls as the driver does.
Prints a table and, last, one JSON line. PEER='command line' measures another provider in the same
run; ``{endpoint}``, ``{port}`` and ``{url}`` in it are filled in, and appended as Go flags if
absent.

A first Mount comes with a service account that has not been seen before; "again" is the same pod
once more, with our own short cache switched off, so that the login alone is spared. A bound stands
beside a figure where the design sets one, and beside every first Mount: 1.2 times the round trips
that are needed, and 10 ms.
"""

import asyncio
import dataclasses
import json
import os
import pathlib
import secrets
import shlex
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import click
import grpc.aio
import urllib3

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from csi_spec import provider_pb2, provider_pb2_grpc  # noqa: E402
from devkit.kms import review, tls  # noqa: E402

OURS = f"{sys.executable} -m provider_kms"
ROUTES = {
    "POST /api/v1/auth/kubernetes-auth/login": "login",
    "GET /api/v3/secrets/raw/{secretName}": "get",
    "GET /api/v3/secrets/raw": "list",
}
PODS, ACCOUNTS = 110, 10
FIRST = {(0, 1): 2.5, (20, 10): 50.0, (20, 100): 60.0}
AGAIN = {(20, 10): 25.0, (20, 100): 35.0}
"""Bounds of the design in ms: (ms that the KMS adds, secrets) → first Mount, again."""


@dataclasses.dataclass
class Row:
    """One line of the table."""

    who: str
    what: str
    figure: float
    unit: str
    bound: float | None = None
    note: str = ""

    @property
    def kept(self) -> bool | None:
        return None if self.bound is None else self.figure <= self.bound


class Kms:
    """The stand-in KMS as a process; counts what it was asked by its request log."""

    def __init__(self, folder: pathlib.Path, delay_ms: float, pair: tls.Pair | None) -> None:
        key = secrets.token_bytes(32)
        self._issue = review.PodTokens(key)
        seed, key_file = folder / "seed.yaml", folder / "pod-token-key"
        seed.write_text(_seed())
        key_file.write_bytes(key)
        command = [sys.executable, "-m", "devkit.kms", "--seed", str(seed), "--log-requests"]
        command += ["--delay-ms", str(delay_ms), "--pod-token-key-file", str(key_file)]
        if pair is not None:
            certificate, private = pair.write(folder, "kms")
            command += ["--tls-cert", str(certificate), "--tls-key", str(private)]
        self.process = subprocess.Popen(
            command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if not line:
            assert self.process.stderr is not None
            raise RuntimeError(f"the KMS did not start: {self.process.stderr.read()}")
        self.url = json.loads(line)["url"]
        self.counts: Counter[str] = Counter()
        threading.Thread(target=self._count, daemon=True).start()

    def _count(self) -> None:
        assert self.process.stderr is not None
        for line in self.process.stderr:
            self.counts[ROUTES.get(json.loads(line)["route"], "other")] += 1

    def token(self, account: str) -> str:
        return self._issue.issue_token("shop", account, audience="kms")

    def take_counts(self) -> str:
        """Return logins/single reads/lists since the last call."""
        time.sleep(0.05)
        counts, self.counts = self.counts, Counter()
        return f"{counts['login']}/{counts['get']}/{counts['list']}"


def _seed() -> str:
    keys = "\n".join(f"            KEY_{number}: {secrets.token_hex(20)}" for number in range(100))
    return f"""
projects:
  shop:
    id: P
    environments:
      prod:
        /app:
          secrets:
{keys}
identities:
  I:
    kubernetes: {{allowedNamespaces: [shop], allowedAudience: kms}}
    accessTokenTTL: 3600
"""


class Provider:
    """A provider as a process."""

    def __init__(self, command: str, folder: pathlib.Path, url: str, *more: str) -> None:
        self.socket = str(folder / f"{secrets.token_hex(4)}.sock")
        port = _free_port()
        words = [
            word.format(endpoint=self.socket, port=port, url=url) for word in shlex.split(command)
        ]
        if "{endpoint}" not in command:
            words += [f"-endpoint={self.socket}", f"-host-url={url}"]
            words.append(f"-health-port={port if command != OURS else f'127.0.0.1:{port}'}")
        began = time.perf_counter()
        environment = os.environ | {"MALLOC_ARENA_MAX": "1"}
        self.process = subprocess.Popen(
            [*words, *more], cwd=ROOT, env=environment, stderr=subprocess.DEVNULL
        )
        while not os.path.exists(self.socket):
            if self.process.poll() is not None:
                raise RuntimeError(f"{words[0]} ended with {self.process.returncode}")
            time.sleep(0.002)
        self.started_s = time.perf_counter() - began

    def rss_mib(self) -> float:
        status = pathlib.Path(f"/proc/{self.process.pid}/status").read_text()
        return int(status.split("VmRSS:")[1].split()[0]) / 1024

    def descriptors(self) -> int:
        return len(os.listdir(f"/proc/{self.process.pid}/fd"))

    def cpu_s(self) -> float:
        fields = (
            pathlib.Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()
        )
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _free_port() -> int:
    import socket

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _ended(process: "subprocess.Popen[Any]") -> None:
    process.send_signal(signal.SIGTERM)
    process.wait(15)


@contextmanager
def running(command: str, delay_ms: float, *flags: str, pair: Any = None) -> Iterator[Any]:
    """Run a KMS and a provider in a folder of their own."""
    with ExitStack() as stack:
        folder = pathlib.Path(tempfile.mkdtemp(prefix="kms", dir="/tmp"))
        stack.callback(shutil.rmtree, folder)
        kms = Kms(folder, delay_ms, pair)
        stack.callback(_ended, kms.process)
        provider = Provider(command, folder, kms.url, *(flags if command == OURS else ()))
        stack.callback(_ended, provider.process)
        yield kms, provider


def alone(kms: Kms) -> Row:
    """Ask the KMS for the list without any provider: what an answer takes by itself."""
    base = f"{kms.url}/api"
    with urllib3.PoolManager() as pool:
        body = {"identityId": "I", "jwt": kms.token("alone")}
        login = pool.request("POST", f"{base}/v1/auth/kubernetes-auth/login", json=body).json()
        headers = {"Authorization": f"Bearer {login['accessToken']}"}
        query = "workspaceId=P&environment=prod&secretPath=/app&include_imports=true"
        took = []
        for _ in range(15):
            began = time.perf_counter()
            pool.request("GET", f"{base}/v3/secrets/raw?{query}", headers=headers)
            took.append((time.perf_counter() - began) * 1000)
    return Row("kms", "the stand-in alone, one list, 20 ms", statistics.median(took), "ms")


def request(
    kms: Kms, account: str, count: int, ca_pem: str, known: Any = None
) -> provider_pb2.MountRequest:
    entries = [
        {"secretPath": "/app", "secretKey": f"KEY_{number}", "fileName": f"key-{number}"}
        for number in range(count)
    ]
    attributes = {
        "kmsUrl": kms.url,
        "infisicalUrl": kms.url,
        "caCertificate": ca_pem,
        "audience": "kms",
        "authMethod": "kubernetes",
        "identityId": "I",
        "projectId": "P",
        "envSlug": "prod",
        "secrets": json.dumps(entries),
        "csi.storage.k8s.io/pod.name": f"{account}-0",
        "csi.storage.k8s.io/pod.namespace": "shop",
        "csi.storage.k8s.io/pod.uid": f"uid-{account}",
        "csi.storage.k8s.io/serviceAccount.name": account,
        "csi.storage.k8s.io/serviceAccount.tokens": json.dumps(
            {"kms": {"token": kms.token(account), "expirationTimestamp": "2030-01-01T00:00:00Z"}}
        ),
    }
    return provider_pb2.MountRequest(
        attributes=json.dumps({k: v for k, v in attributes.items() if v}),
        secrets="null",
        target_path="/var/lib/kubelet/pods/u/volumes/kubernetes.io~csi/v/mount",
        permission="420",
        current_object_version=list(known or ()),
    )


async def timed(stub: Any, wanted: provider_pb2.MountRequest) -> tuple[float, Any]:
    began = time.perf_counter()
    answer = await stub.Mount(wanted, timeout=60)
    return (time.perf_counter() - began) * 1000, answer


async def singles(
    who: str, command: str, delay_ms: float, count: int, pair: Any, ca_pem: str
) -> list[Row]:
    """Mounts one after the other: first, again, at once."""
    label = f"{count} secret{'s' * (count > 1)}, KMS {delay_ms:.0f} ms{', TLS' if pair else ''}"
    rows = []
    # Where the KMS takes no time, what else the machine does counts for much.
    rounds = 15 if delay_ms else 45
    with running(command, delay_ms, "-cache-bound=0", "-refresh-bound=0", pair=pair) as (kms, one):
        async with grpc.aio.insecure_channel(f"unix:{one.socket}") as channel:
            stub = provider_pb2_grpc.CSIDriverProviderStub(channel)
            await timed(stub, request(kms, "warm", count, ca_pem))
            kms.take_counts()
            asked = [request(kms, f"a{number}", count, ca_pem) for number in range(rounds)]
            cpu = one.cpu_s()
            first = [(await timed(stub, each))[0] for each in asked]
            cpu = (one.cpu_s() - cpu) / rounds * 1000
            first_asked = kms.take_counts()
            again = [(await timed(stub, each))[0] for each in asked]
            again_asked = kms.take_counts()
    logins, gets, lists = (int(number) / rounds for number in first_asked.split("/"))
    trips = logins + (1 if gets <= 1 else gets) * (gets > 0) + lists
    ours = who == "ours"
    case = (int(delay_ms), count) if pair is None else (0, 0)
    bound = min(1.2 * trips * delay_ms + 10, FIRST.get(case, 1e9)) if ours else None
    note = f"CPU {cpu:.1f} ms; asked {first_asked} by {rounds}"
    rows.append(Row(who, f"{label}: first, p50", statistics.median(first), "ms", bound, note))
    bound = AGAIN.get(case) if ours else None
    note = f"asked {again_asked} by {rounds}"
    rows.append(Row(who, f"{label}: again, p50", statistics.median(again), "ms", bound, note))
    return rows


async def storms(who: str, command: str) -> list[Row]:
    """110 Mounts at once of 10 accounts, seven times; then memory and descriptors."""
    rows = []
    ours = who == "ours"
    with running(command, 20) as (kms, one):
        async with grpc.aio.insecure_channel(f"unix:{one.socket}") as channel:
            stub = provider_pb2_grpc.CSIDriverProviderStub(channel)
            await stub.Version(provider_pb2.VersionRequest(version="v1alpha1"))
            await asyncio.sleep(1)
            rows.append(await asyncio.to_thread(alone, kms))
            rows.append(Row(who, "exec → socket served", one.started_s * 1000, "ms"))
            rows.append(Row(who, "RSS at start", one.rss_mib(), "MiB", 45 if ours else None))
            descriptors = one.descriptors()
            asked = [request(kms, f"front-{number % ACCOUNTS}", 10, "") for number in range(PODS)]
            for number in range(7):
                kms.take_counts()
                began = time.perf_counter()
                took = await asyncio.gather(*(timed(stub, each) for each in asked))
                wall = time.perf_counter() - began
                slowest = sorted(each for each, _ in took)[int(PODS * 0.99) - 1]
                if number < 2:
                    what = "storm of 110, KMS 20 ms" + (", the same pods again" if number else "")
                    note = f"p99 {slowest:.0f} ms; asked {kms.take_counts()}"
                    rows.append(Row(who, what, wall, "s", 0.25 if ours else None, note))
                known = took[0][1].object_version
                asked = [
                    request(kms, f"front-{number % ACCOUNTS}", 10, "", known)
                    for number in range(PODS)
                ]
            rows.append(
                Row(who, "RSS after seven storms", one.rss_mib(), "MiB", 52 if ours else None)
            )
            rows.append(
                Row(
                    who,
                    "descriptors: start, after",
                    one.descriptors(),
                    "",
                    descriptors + 16 if ours else None,
                    f"{descriptors} at start",
                )
            )
            cpu = one.cpu_s()
            await asyncio.sleep(3)
            rows.append(Row(who, "CPU at rest, a minute", (one.cpu_s() - cpu) * 20, "s"))
    return rows


async def measure(quick: bool) -> list[Row]:
    """Run every case for our provider, and for PEER if there is one."""
    compiled = tempfile.mkdtemp(prefix="kmspyc", dir="/tmp")
    # Images are built with compiled modules, so a run without them would measure the compiler.
    os.environ["PYTHONPYCACHEPREFIX"] = compiled
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
    subprocess.run([sys.executable, "-c", "import provider_kms.app"], cwd=ROOT, check=True)
    try:
        return await cases(quick)
    finally:
        shutil.rmtree(compiled)


async def cases(quick: bool) -> list[Row]:
    """Run every case; the table's rows in order."""
    authority = tls.Authority()
    pair = authority.issue()
    rows: list[Row] = []
    commands = [("ours", OURS)]
    if os.environ.get("PEER"):
        commands.append(("peer", os.environ["PEER"]))
    chosen: list[tuple[float, int, bool]] = [(0, 1, False), (20, 1, False), (20, 10, False)]
    if not quick:
        chosen += [(0, 10, False), (20, 100, False), (0, 10, True), (20, 10, True)]
    for who, command in commands:
        for delay_ms, count, secure in chosen:
            rows += await singles(
                who,
                command,
                delay_ms,
                count,
                pair if secure else None,
                authority.certificate_pem if secure else "",
            )
        rows += await storms(who, command)
    return rows


@click.command()
@click.option("--quick", is_flag=True, help="A few cases only.")
@click.option("--check", is_flag=True, help="End with 1 if a bound is broken.")
def main(quick: bool, check: bool) -> None:
    """Measure the KMS provider, and PEER beside it."""
    rows = asyncio.run(measure(quick))
    for row in rows:
        bound = f"≤ {row.bound:g}" if row.bound is not None else ""
        mark = {True: "ok", False: "BROKEN", None: ""}[row.kept]
        figure = f"{row.figure:9.2f} {row.unit:4} {bound:>8} {mark:6}"
        print(f"{row.who:5} {row.what:42} {figure} {row.note}".rstrip())
    print(json.dumps([dataclasses.asdict(row) for row in rows]))
    if check and any(row.kept is False for row in rows):
        raise SystemExit(1)


if __name__ == "__main__":
    main()
