"""Opening PKCS#12 containers, each in a process of its own that ends with it.

The library that can is large and would stay in memory for good, and it holds the interpreter for as
long as a container asks for: whoever may write a secret could stop the driver of a whole node. The
child gets the time of an honest container and no more. Source: docs/decisions/0006-secret-sync.md.
"""

import asyncio
import hashlib
import json
import pathlib
import secrets
import signal
import sys
from collections.abc import Mapping

from secrets_store import tasks
from secrets_store.model import certificates, secret_objects
from secrets_store.volumes import pkcs12_child

TIMEOUT_S = 10.0
CPU_LIMIT_S = 5
TURNS = 3
"""So many containers that take all their time one waits for, its own included."""

_CHILD = pathlib.Path(pkcs12_child.__file__)


class Opener:
    """Opens containers, one at a time; one per process, on the event loop.

    Those who bring the same container at the same time share its opening. Nothing is kept.

    Args:
        timeout_s: Real time for one container.
        cpu_limit_s: Processor time for it.
    """

    def __init__(
        self,
        background: tasks.Background,
        *,
        timeout_s: float = TIMEOUT_S,
        cpu_limit_s: int = CPU_LIMIT_S,
    ) -> None:
        self._background, self._timeout_s = background, timeout_s
        self._cpu_limit_s = cpu_limit_s
        self._turn = asyncio.Semaphore(1)
        self._key = secrets.token_bytes(32)
        self._flights: dict[bytes, asyncio.Task[certificates.Bundle | certificates.Unusable]] = {}

    async def open_all(self, containers: Mapping[str, bytes]) -> secret_objects.Opened:
        """Open the containers of one class, by path, with an empty password."""
        return {path: await self._shared(container) for path, container in containers.items()}

    async def _shared(self, container: bytes) -> certificates.Bundle | certificates.Unusable:
        mark = hashlib.blake2b(container, key=self._key, digest_size=32).digest()
        flight = self._flights.get(mark)
        if flight is None:
            flight = self._background.spawn("open container", self._open(container))
            self._flights[mark] = flight
            flight.add_done_callback(lambda _: self._flights.pop(mark, None))
        # Not cancelled when this caller has waited enough: others may share it.
        await asyncio.wait({flight}, timeout=TURNS * self._timeout_s)
        return flight.result() if flight.done() else _unusable("had to wait too long for its turn")

    async def _open(self, container: bytes) -> certificates.Bundle | certificates.Unusable:
        async with self._turn:
            try:
                code, answer = await self._run(container)
            except OSError as error:
                return _unusable(f"cannot be opened now: {error.strerror}")
        match code:
            case 0:
                parts = json.loads(answer)
                return certificates.Bundle(
                    found=certificates.PKCS12,
                    certificates=parts["certificates"].encode(),
                    key=parts["key"].encode(),
                )
            case pkcs12_child.CANNOT_OPEN:
                return _unusable("is broken or needs a password; only the empty one is tried")
            case pkcs12_child.NO_LIBRARY:
                return _unusable("needs the Python package cryptography, which is not installed")
            case _ if -code in (signal.SIGXCPU, signal.SIGKILL):
                return _unusable("takes too long to open: it asks for too many rounds of hashing")
        return _unusable(f"could not be opened: exit code {code}")

    async def _run(self, container: bytes) -> tuple[int, bytes]:
        """Run the child; return its exit code, negative for a signal, and what it said."""
        # Isolated: neither the environment nor the working directory has a say in what it imports.
        child = await asyncio.create_subprocess_exec(
            sys.executable,
            "-I",
            _CHILD,
            str(self._cpu_limit_s),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.DEVNULL,
            env={},
        )
        try:
            async with asyncio.timeout(self._timeout_s):
                answer, _ = await child.communicate(container)
        except TimeoutError:
            answer = b""
        finally:
            if child.returncode is None:
                child.kill()
            code = await child.wait()
        return code, answer


def _unusable(what: str) -> certificates.Unusable:
    return certificates.Unusable(f"the object is {certificates.PKCS12}, which {what}")
