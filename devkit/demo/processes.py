"""The parts of the demo that are processes: started, waited for, ended by their id."""

import asyncio
import contextlib
import json
import os
import pathlib
import signal
import sys
from collections.abc import Iterator, Mapping
from typing import Any

import grpc.aio

from csi_spec import provider_pb2, provider_pb2_grpc
from devkit.demo import checks

READY_S = 20.0
STOP_S = 12.0
_LOOK_EVERY_S = 0.01
_WATCH_EVERY_S = 0.2


class NotReady(Exception):
    """A process ended, or said nothing, before it was ready.

    Attributes:
        part: its name, which is also that of its log.
    """

    def __init__(self, part: str, why: str) -> None:
        super().__init__(f"{part}: {why}")
        self.part = part


@contextlib.contextmanager
def spared_from_ctrl_c() -> Iterator[None]:
    """Let a process started meanwhile not hear the terminal's signals, whoever starts it.

    Ctrl-C and the closing of the terminal go to the whole group at once. The parts must survive
    them, for the clean-up needs them; we end them later, in their order.
    """
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT, signal.SIGHUP})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


class Child:
    """One Python module as a process.

    Args:
        part: what it is called in the demo.
        arguments: the module and its command line.
        log: file for its standard error.
    """

    def __init__(self, part: str, *arguments: str, log: pathlib.Path) -> None:
        self.part = part
        self._arguments, self._log = arguments, log
        self._process: asyncio.subprocess.Process | None = None

    @property
    def pid(self) -> int:
        """Process id, of one that was started."""
        assert self._process is not None
        return self._process.pid

    async def start(self) -> None:
        """Start the process; it is not ready then."""
        with self._log.open("ab") as log:
            self._process = await asyncio.create_subprocess_exec(
                sys.executable,
                "-m",
                *self._arguments,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=asyncio.subprocess.PIPE,
                stderr=log,
                # A group of its own, which no signal of the terminal reaches.
                process_group=0,
            )

    async def start_and_read(self) -> dict[str, Any]:
        """Start the process and return the line of JSON that it prints when ready.

        Raises: NotReady.
        """
        await self.start()
        assert self._process is not None
        assert self._process.stdout is not None
        try:
            line = await asyncio.wait_for(self._process.stdout.readline(), READY_S)
        except TimeoutError:
            raise NotReady(self.part, f"not ready within {READY_S:.0f} s") from None
        if not line:
            raise NotReady(self.part, f"ended with {await self._process.wait()}")
        ready: dict[str, Any] = json.loads(line)
        return ready

    async def start_and_ask(self, socket: pathlib.Path) -> str:
        """Start a provider and return what its Version says, once it answers.

        Raises: NotReady.
        """
        await self.start()
        assert self._process is not None
        loop = asyncio.get_running_loop()
        ends = loop.time() + READY_S
        while loop.time() < ends:
            if self._process.returncode is not None:
                raise NotReady(self.part, f"ended with {self._process.returncode}")
            if socket.exists() and (version := await _version(socket)):
                return version
            await asyncio.sleep(_LOOK_EVERY_S)
        raise NotReady(self.part, f"not ready within {READY_S:.0f} s")

    async def stop(self) -> None:
        """End the process; by force if it does not listen."""
        process = self._process
        if process is None or process.returncode is not None:
            return
        with contextlib.suppress(ProcessLookupError):
            process.terminate()
        try:
            await asyncio.wait_for(process.wait(), STOP_S)
        except TimeoutError:
            process.kill()
            await process.wait()


async def watch(pids: Mapping[str, int]) -> None:
    """Watch over processes of ours until cancelled.

    Args:
        pids: part → process id.
    Raises: checks.Failed: one has ended.
    """
    while True:
        for part, pid in pids.items():
            if _has_ended(pid):
                raise checks.Failed(f"process {part}", "that it runs", "that it has ended", part)
        await asyncio.sleep(_WATCH_EVERY_S)


def _has_ended(pid: int) -> bool:
    try:
        # WNOWAIT leaves the exit status to whoever started it.
        return os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None
    except ChildProcessError:
        return True


async def _version(socket: pathlib.Path) -> str:
    async with grpc.aio.insecure_channel(f"unix:{socket}") as channel:
        stub = provider_pb2_grpc.CSIDriverProviderStub(channel)
        try:
            answer = await stub.Version(
                provider_pb2.VersionRequest(version="v1alpha1"), timeout=1.0
            )
        except grpc.aio.AioRpcError:
            return ""
    return f"{answer.runtime_name} {answer.runtime_version}"
