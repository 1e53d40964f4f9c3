"""Generate the Python modules of the wire contracts, or check them.

Run from anywhere as `python -m csi_spec.generate`. The generated files are
committed, so that neither an image build nor a user needs the compiler;
`--check` is what continuous integration runs to see that they are current.
Needs the development dependencies grpcio-tools and mypy-protobuf.
"""

import argparse
import pathlib
import subprocess
import sys
import sysconfig
import tempfile
from collections.abc import Iterator, Sequence

ROOT = pathlib.Path(__file__).resolve().parent.parent
"""The directory that `csi_spec/…` paths are relative to: the repository root."""

PROTOS = (
    "csi_spec/csi.proto",
    "csi_spec/provider.proto",
    "devkit/registration.proto",  # No product speaks it, only the stand-in kubelet.
)
SUFFIXES = ("_pb2.py", "_pb2.pyi", "_pb2_grpc.py", "_pb2_grpc.pyi")


class GenerateError(Exception):
    """The compiler refused a contract; the text is the compiler's own."""


def compile_protos(root: pathlib.Path, protos: Sequence[str], out: pathlib.Path) -> None:
    """Compile the contracts below `root` into modules and stubs below `out`.

    Args:
        root: directory the import paths are relative to.
        protos: paths relative to `root`, with forward slashes.
        out: existing directory; package directories are created below it.

    Raises:
        GenerateError: protoc failed.
    """
    scripts = pathlib.Path(sysconfig.get_path("scripts"))
    command = [
        sys.executable,
        "-m",
        "grpc_tools.protoc",
        # The plugins lie beside the interpreter; PATH may name other ones.
        f"--plugin=protoc-gen-mypy={scripts / 'protoc-gen-mypy'}",
        f"--plugin=protoc-gen-mypy_grpc={scripts / 'protoc-gen-mypy_grpc'}",
        "-I",
        ".",
        f"--python_out={out}",
        f"--grpc_python_out={out}",
        f"--mypy_out=quiet:{out}",
        f"--mypy_grpc_out=quiet:{out}",
        *protos,
    ]
    # Every argument is ours: the list above and constant paths.
    result = subprocess.run(command, cwd=root, capture_output=True, text=True, check=False)  # noqa: S603
    if result.returncode != 0:
        raise GenerateError(result.stderr.strip() or result.stdout.strip())


def generated_paths(protos: Sequence[str]) -> Iterator[str]:
    """Name the files that belong to the contracts, relative to the root."""
    for proto in protos:
        for suffix in SUFFIXES:
            yield proto.removesuffix(".proto") + suffix


def stale_paths(root: pathlib.Path, protos: Sequence[str], fresh: pathlib.Path) -> list[str]:
    """List the generated files below `root` that differ from those below `fresh`."""
    return [
        path
        for path in generated_paths(protos)
        if not (root / path).is_file() or (root / path).read_bytes() != (fresh / path).read_bytes()
    ]


def main(
    arguments: Sequence[str] | None = None,
    *,
    root: pathlib.Path = ROOT,
    protos: Sequence[str] = PROTOS,
) -> int:
    """Write what is stale, or with --check only name it.

    Args:
        arguments: command line without the program; None takes the process's.
        root: directory that holds the contracts.
        protos: the contracts, relative to `root`.

    Returns:
        0 when everything is (now) current, 1 when --check found a difference or
        a contract does not compile.
    """
    parser = argparse.ArgumentParser(prog="python -m csi_spec.generate", description=__doc__)
    parser.add_argument("--check", action="store_true", help="compare only; exit 1 if stale")
    options = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as directory:
        fresh = pathlib.Path(directory)
        try:
            compile_protos(root, protos, fresh)
        except GenerateError as error:
            print(error, file=sys.stderr)
            return 1
        stale = stale_paths(root, protos, fresh)
        for path in stale:
            if options.check:
                print(f"{path} is stale: run python -m csi_spec.generate", file=sys.stderr)
            else:
                (root / path).write_bytes((fresh / path).read_bytes())
                print(f"wrote {path}")
    return 1 if options.check and stale else 0


if __name__ == "__main__":
    sys.exit(main())
