"""Lay one program out below a folder, as its image shall have it. Runs while an image is built.

Needs Python alone: no shell, and no pip in the base, for a wheel of pip runs as it is. What is laid
out is for the target's architecture, whatever this one is: nothing of it is run here.
"""

import argparse
import compileall
import importlib.metadata
import importlib.util
import json
import os
import pathlib
import py_compile
import re
import shutil
import subprocess
import sys
import sysconfig

MACHINES = {"amd64": "x86_64", "arm64": "aarch64"}
OLDEST_GLIBC_MINOR = 17
"""Of glibc 2: what manylinux2014 stands for."""

LAUNCHER = """#!{interpreter} -IB
import sys

sys.path.insert(0, "{library}")
from {module} import main

sys.exit(main())
"""
"""-I: nothing of the environment or the working folder is imported; -B: nothing is written."""


def main() -> None:
    """Lay out what the command line says."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--root", type=pathlib.Path, required=True, help="folder of the new image")
    parser.add_argument(
        "--arch", choices=MACHINES, default=os.environ.get("TARGETARCH") or own_architecture()
    )
    parser.add_argument("--lock", type=pathlib.Path, required=True, help="packages with hashes")
    parser.add_argument("--wheels", type=pathlib.Path, required=True, help="folder, may be empty")
    parser.add_argument("--source", type=pathlib.Path, required=True, help="the project")
    parser.add_argument("--packages", required=True, help="comma list of the project's packages")
    parser.add_argument("--leave-out", default="", help="comma list of paths below the source")
    parser.add_argument("--module", type=pathlib.Path, help="one more file to import")
    parser.add_argument("--name", required=True, help="of the program")
    parser.add_argument("--program", action="append", required=True, help="PATH=MODULE")
    options = parser.parse_args()
    library = pathlib.Path("/opt") / options.name
    place = options.root / library.relative_to("/")
    install_locked(options.lock, options.wheels, place, MACHINES[options.arch])
    left_out = {options.source / path for path in options.leave_out.split(",") if path}
    for package in options.packages.split(","):
        copy_package(options.source / package, place / package, left_out)
    if options.module:
        shutil.copy(options.module, place)
    for program in options.program:
        path, _, module = program.partition("=")
        write_launcher(options.root / path.lstrip("/"), str(library), module)
    write_sbom(place, options.name, os.environ.get("VERSION", "unknown"))
    compile_below(place, str(library))
    compile_standard_library(options.root)


def own_architecture() -> str:
    """Return the name that images have for this machine's architecture."""
    machine = os.uname().machine
    return {name: arch for arch, name in MACHINES.items()}.get(machine, machine)


def install_locked(
    lock: pathlib.Path, wheels: pathlib.Path, place: pathlib.Path, machine: str
) -> None:
    """Install the packages of a lock, each with one of its hashes, from wheels alone.

    Raises: SystemExit: a package is absent or has another hash; pip has said which.
    """
    command = [*pip(wheels), "install", "--quiet", "--no-compile", "--no-deps", "--require-hashes"]
    command += [
        "--root-user-action=ignore",
        "--only-binary=:all:",
        "--target",
        str(place),
        "--requirement",
        str(lock),
    ]
    command += ["--python-version", f"{sys.version_info.major}.{sys.version_info.minor}"]
    for tag in platforms(machine):
        command += ["--platform", tag]
    if any(wheels.glob("*.whl")):
        command += ["--no-index", "--find-links", str(wheels)]
    done = subprocess.run(command, check=False)  # noqa: S603 - our own arguments
    if done.returncode != 0:
        sys.exit(f"the packages of {lock} cannot be installed for {machine}")
    # Scripts are for shells; the stubs of other packages are for type checkers.
    shutil.rmtree(place / "bin", ignore_errors=True)
    for stub in place.rglob("*.pyi"):
        stub.unlink()


def pip(wheels: pathlib.Path) -> list[str]:
    """Return how to run pip: this Python's own, or that of a wheel, which runs from its file.

    Raises: SystemExit: there is neither.
    """
    if importlib.util.find_spec("pip") is not None:
        return [sys.executable, "-m", "pip"]
    for wheel in sorted(wheels.glob("pip-*.whl")):
        return [sys.executable, f"{wheel}/pip"]
    sys.exit("this base has no pip and no wheels were given: build with deploy/images/build.sh")


def platforms(machine: str) -> list[str]:
    """Return the names of all platforms whose wheels run on this base's C library."""
    minor = int((os.confstr("CS_GNU_LIBC_VERSION") or "glibc 2.17").rpartition(".")[2])
    newest_first = range(minor, OLDEST_GLIBC_MINOR - 1, -1)
    return [f"manylinux_2_{number}_{machine}" for number in newest_first] + [
        f"manylinux2014_{machine}"
    ]


def copy_package(source: pathlib.Path, place: pathlib.Path, left_out: set[pathlib.Path]) -> None:
    """Copy the modules of one of our packages and nothing else that lies beside them."""

    def ignored(folder: str, names: list[str]) -> list[str]:
        found = pathlib.Path(folder)
        return [
            name
            for name in names
            if found / name in left_out
            or name == "__pycache__"
            or not ((found / name).is_dir() or name.endswith(".py"))
        ]

    shutil.copytree(source, place, ignore=ignored)


def write_launcher(path: pathlib.Path, library: str, module: str) -> None:
    """Write the program that the image starts. It names the interpreter that runs this."""
    path.parent.mkdir(parents=True, exist_ok=True)
    interpreter = os.path.realpath(sys.executable)
    path.write_text(LAUNCHER.format(interpreter=interpreter, library=library, module=module))
    path.chmod(0o755)


def compile_below(place: pathlib.Path, seen_as: str) -> None:
    """Compile all modules below a folder. The result is never checked against the sources' times.

    Raises: SystemExit: a module does not compile.
    """
    mode = py_compile.PycInvalidationMode.UNCHECKED_HASH
    if not compileall.compile_dir(
        place, quiet=1, stripdir=str(place), prependdir=seen_as, invalidation_mode=mode
    ):
        sys.exit(f"a module below {place} does not compile")


def compile_standard_library(root: pathlib.Path) -> None:
    """Compile the standard library too where the base has not, as Debian's bare packages have not.

    Without it each start compiles what it imports: half a second and some MiB.
    """
    library = pathlib.Path(sysconfig.get_path("stdlib"))
    if os.path.exists(importlib.util.cache_from_source(str(library / "asyncio" / "tasks.py"))):
        return
    place = root / library.relative_to("/")
    skipped = shutil.ignore_patterns(
        *("test", "tests", "idlelib", "lib2to3", "tkinter", "turtledemo", "ensurepip", "pydoc*")
    )
    shutil.copytree(library, place, ignore=skipped)
    compile_below(place, str(library))
    for path in sorted(place.rglob("*"), reverse=True):
        if path.is_dir() and not path.is_symlink():
            if path.name != "__pycache__" and not any(path.iterdir()):
                path.rmdir()
        elif path.suffix != ".pyc":
            path.unlink()


def write_sbom(place: pathlib.Path, name: str, version: str) -> None:
    """Write what is inside, as CycloneDX 1.5."""
    found = importlib.metadata.distributions(path=[str(place)])
    components = [component(each.metadata) for each in found]
    document = {
        "bomFormat": "CycloneDX",
        "specVersion": "1.5",
        "version": 1,
        "metadata": {"component": {"type": "application", "name": name, "version": version}},
        "components": sorted(components, key=lambda each: str(each["name"])),
    }
    (place / "sbom.json").write_text(json.dumps(document, indent=1) + "\n")


def component(metadata: importlib.metadata.PackageMetadata) -> dict[str, object]:
    """Return one package as a component."""
    name = re.sub(r"[-_.]+", "-", metadata["Name"]).lower()
    version = metadata["Version"]
    told = [metadata[key] for key in ("License-Expression", "License") if key in metadata]
    licence = next((text for text in told if text.strip()), "unknown").strip()
    return {
        "type": "library",
        "name": name,
        "version": version,
        "purl": f"pkg:pypi/{name}@{version}",
        "licenses": [{"license": {"name": licence.splitlines()[0][:80]}}],
    }


if __name__ == "__main__":
    main()
