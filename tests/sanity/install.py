"""Gets csi-sanity, once per version, into a folder of the project that git ignores."""

import os
import pathlib
import re
import shutil
import subprocess

PACKAGE = "github.com/kubernetes-csi/csi-test/v5/cmd/csi-sanity"
TOOLS = pathlib.Path(__file__).parents[2] / ".tools"
_VERSION = re.compile(r"v5\.\d+\.\d+")


class NotInstalled(Exception):
    """The suite cannot be had; the text says why in one sentence."""


def csi_sanity(version: str, tools: pathlib.Path = TOOLS, path: str | None = None) -> pathlib.Path:
    """Return the program of a version, built by Go unless that was done before.

    Args:
        version: A tag of csi-test.
        tools: Where it is kept.
        path: Where to look for Go; None: where the shell does.
    Raises: NotInstalled.
    """
    if not _VERSION.fullmatch(version):
        raise NotInstalled(
            f"SANITY_VERSION must be a version of csi-test like v5.6.0, not {version!r}"
        )
    folder = tools / f"csi-sanity-{version}"
    program = folder / "csi-sanity"
    if program.exists():
        return program
    go = shutil.which("go", path=path)
    if go is None:
        raise NotInstalled(
            "csi-sanity is built by Go, and there is no `go` on the PATH; https://go.dev/doc/install"
        )
    folder.mkdir(parents=True, exist_ok=True)
    try:
        subprocess.run(
            [go, "install", f"{PACKAGE}@{version}"],
            env=dict(os.environ) | {"GOBIN": str(folder)},
            # Outside of any Go module, so that nobody's go.mod has a say.
            cwd=folder,
            check=True,
        )
    except subprocess.CalledProcessError as error:
        raise NotInstalled(f"go install {PACKAGE}@{version} failed, see above") from error
    return program
