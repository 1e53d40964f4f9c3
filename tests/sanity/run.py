"""csi-sanity against the real driver as a process: `python -m tests.sanity.run`.

Two runs. In the first a controller beside the driver gives the suite volumes of the mock provider,
so that cases come to a publish that succeeds; in the second the driver stands alone, as on a node.
`SANITY_VERSION` names the version of csi-test, `-v` shows each case.
"""

import asyncio
import contextlib
import dataclasses
import os
import pathlib
import sys
from collections.abc import Sequence

from devkit import stage
from devkit.apiserver import server
from tests import conftest
from tests.sanity import controller, install, report

VERSION = "v5.6.0"
FOCUS = "|".join(report.CONTAINERS)
NEEDS_A_VOLUME = (
    "should remove target path",
    "should fail when volume does not exist on the specified path",
)
TIMEOUT_S = 300.0


@dataclasses.dataclass(frozen=True, slots=True)
class Run:
    """One run of the suite.

    Attributes:
        passed: The number of cases that pass with v5.6.0; fewer is a failure.
        left_out: Cases that cannot be run without a controller.
    """

    name: str
    passed: int
    with_controller: bool
    left_out: Sequence[str] = ()


RUNS = (
    Run("with volumes of the mock provider", passed=15, with_controller=True),
    Run("node only", passed=13, with_controller=False, left_out=NEEDS_A_VOLUME),
)


async def sanity(program: pathlib.Path, run: Run, flags: Sequence[str]) -> list[str]:
    """Run the suite once; return what is wrong."""
    with stage.Node("sanity") as node, server.APIServer() as api:
        driver = stage.DriverProcess(node, api.kubeconfig(node.root / "kubeconfig", tls=False))
        await driver.start()
        try:
            wrong = await _run(program, run, node, flags)
        finally:
            code = await driver.stop()
        if code:
            wrong.append(f"the driver ended with {code}")
        if node.mounts():
            wrong.append(f"mounts are left: {', '.join(node.mounts())}")
        return wrong


async def _run(
    program: pathlib.Path, run: Run, node: stage.Node, flags: Sequence[str]
) -> list[str]:
    results, parameters = node.root / "report.json", node.root / "parameters.yaml"
    arguments = [
        f"--csi.endpoint=unix://{node.csi_socket}",
        f"--csi.mountdir={node.root}/mnt",
        f"--csi.stagingdir={node.root}/stg",
        f"--ginkgo.focus={FOCUS}",
        f"--ginkgo.json-report={results}",
        "--ginkgo.silence-skips",
        *(f"--ginkgo.skip={text}" for text in run.left_out),
        *flags,
    ]
    async with contextlib.AsyncExitStack() as stack:
        if run.with_controller:
            socket = node.root / "controller.sock"
            await stack.enter_async_context(controller.serving(socket))
            parameters.write_text("providerName: mock_provider\n")
            arguments += [
                f"--csi.controllerendpoint=unix://{socket}",
                f"--csi.testvolumeparameters={parameters}",
            ]
        suite = await asyncio.create_subprocess_exec(str(program), *arguments, cwd=node.root)
        try:
            code = await asyncio.wait_for(suite.wait(), TIMEOUT_S)
        except TimeoutError:
            suite.kill()
            await suite.wait()
            return [f"csi-sanity did not end within {TIMEOUT_S} s"]
    if not results.exists():
        return [f"csi-sanity ended with {code} and left no report"]
    wrong = report.complaints(
        report.cases(results.read_text()), passed=run.passed, left_out=run.left_out
    )
    if code and not wrong:
        wrong.append(f"csi-sanity ended with {code}")
    return wrong


def main(arguments: Sequence[str]) -> int:
    """Install the suite, run it, and tell; return the exit code."""
    try:
        program = install.csi_sanity(os.environ.get("SANITY_VERSION", VERSION))
    except install.NotInstalled as error:
        print(error, file=sys.stderr)
        return 1
    if reason := conftest.missing_right_to_mount():
        print(f"csi-sanity makes the driver mount a volume: {reason}", file=sys.stderr)
        return 1
    flags = ["--ginkgo.v"] if "-v" in arguments else []
    if not sys.stdout.isatty():
        flags.append("--ginkgo.no-color")
    wrong = []
    for run in RUNS:
        print(f"== csi-sanity, {run.name}", flush=True)
        wrong += [f"{run.name}: {text}" for text in asyncio.run(sanity(program, run, flags))]
    for text in wrong:
        print(f"csi-sanity: {text}", file=sys.stderr)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
