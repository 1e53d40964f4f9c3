"""`python -m devkit.demo [--keep]`: the whole thing, live, on one machine and without a cluster.

Exits with 0 only if every step was checked, with 1 if one failed, with 130 after Ctrl-C. Whatever
happens, the processes are ended and mounts and directories removed before it exits.
"""

import argparse
import asyncio
import contextlib
import io
import signal
import sys
import time
import traceback
from collections.abc import Sequence

from devkit import stage
from devkit.apiserver import client, errors
from devkit.demo import checks, keep, processes, scene, screen, story, volumes, world
from devkit.kubelet import operations, pod_dirs

_INTERRUPTED = 130
_MOST_SHOWN = 600
_FAULTS = (
    checks.Failed,
    processes.NotReady,
    stage.DriverEnded,
    errors.StatusError,
    client.Unreachable,
    operations.VolumeFailed,
    pod_dirs.LeftBehind,
)
"""What can go wrong with the parts, and is told without a traceback."""


class _Demo:
    """One run.

    Args:
        to: where it is shown.
        keeps: leave everything up until Ctrl-C.
    """

    def __init__(self, to: screen.Screen, *, keeps: bool) -> None:
        self._screen, self._keeps = to, keeps
        self._kept: asyncio.Event | None = None

    def interrupt(self, work: "asyncio.Task[int]") -> None:
        """End what is kept up, else cancel the work; later signals do not disturb its clean-up."""
        if self._kept is not None and not self._kept.is_set():
            self._kept.set()
        elif not work.cancelling():
            work.cancel()

    async def run(self) -> int:
        """Set up, tell, clean up; return the exit code."""
        started = time.monotonic()
        node = stage.Node(prefix="demo-")
        try:
            code = await self._on(node)
        finally:
            node.remove()
        if node.root.exists() or node.mounts():
            self._screen.end(f"{node.root} could not be removed", good=False)
            return 1
        if code == 0:
            took = "" if self._keeps else f" in {time.monotonic() - started:.1f} s"
            self._screen.end(
                f"All {self._screen.steps} steps checked{took}; no process, mount or"
                " file of the demo is left.",
                good=True,
            )
        return code

    async def _on(self, node: stage.Node) -> int:
        why_not = volumes.why_no_mounts(node.root / "try")
        self._introduce(why_not)
        on = scene.Scene(node, mounts=not why_not)
        try:
            async with contextlib.AsyncExitStack() as ending:
                try:
                    await self._tell(on, ending)
                except Exception as fault:
                    self._explain(fault, on)
                    return 1
        except _FAULTS as fault:
            self._screen.end(f"Ending went wrong, the rest is removed: {fault}", good=False)
            return 1
        return 0

    async def _tell(self, on: scene.Scene, ending: contextlib.AsyncExitStack) -> None:
        files = world.make_up("first")
        world.save_seed(on.seed, files)
        with self._screen.step("Start, each part as a process of its own") as page:
            await on.start(ending)
            page.rows(on.table())
            page.good(f"the provider answers: {on.provider_version}")
            page.good(f"kubelet, in this process, has registered {on.driver_name}")
        tale = story.Story(on, self._screen, files)
        await on.during(self._chapters(on, tale))

    async def _chapters(self, on: scene.Scene, tale: story.Story) -> None:
        await tale.show()
        if self._keeps:
            self._kept = asyncio.Event()
            await keep.until_interrupted(on, self._screen, self._kept)
        await tale.delete()

    def _introduce(self, why_not: str) -> None:
        lines = ["Real: the driver and the KMS provider. Stand-ins: KMS, API server, kubelet."]
        if why_not:
            lines.append(f"Mounting is refused here ({why_not.lower()}): plain folders, no tmpfs.")
        self._screen.title("Secrets of a KMS as files in pods", *lines)

    def _explain(self, fault: Exception, on: scene.Scene) -> None:
        part = getattr(fault, "part", scene.DRIVER)
        if isinstance(fault, checks.Failed):
            facts = [
                ("looked at", fault.what),
                ("expected", _cut(fault.expected)),
                ("found", _cut(fault.found)),
            ]
        else:
            facts = [("fault", f"{type(fault).__name__}: {fault}")]
            if not isinstance(fault, _FAULTS):
                traceback.print_exception(fault)
        tail = on.tail(part)
        facts.append((f"log of {part}", "its end:" if tail else "empty"))
        self._screen.failure("This was not as it should be:", facts, tail)


def _cut(value: object) -> str:
    """Write a value; whole files in it would push everything else off the screen."""
    text = str(value)
    return text if len(text) <= _MOST_SHOWN else f"{text[:_MOST_SHOWN]}… ({len(text)} characters)"


async def _run(*, keeps: bool) -> int:
    to = screen.Screen(sys.stdout)
    demo = _Demo(to, keeps=keeps)
    work = asyncio.create_task(demo.run())
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        loop.add_signal_handler(number, demo.interrupt, work)
    try:
        return await work
    except asyncio.CancelledError:
        to.end("Interrupted; everything is ended and removed.", good=False)
        return _INTERRUPTED


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the demo and return its exit code."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        # An arrow that the terminal does not know must not end the demo.
        sys.stdout.reconfigure(errors="replace")
    parser = argparse.ArgumentParser(prog="python -m devkit.demo", description=__doc__)
    parser.add_argument("--keep", action="store_true", help="leave everything up until Ctrl-C")
    return asyncio.run(_run(keeps=parser.parse_args(arguments).keep))


if __name__ == "__main__":
    sys.exit(main())
