"""What goes into an image, laid out from this machine's files; and what the image files say."""

import json
import os
import pathlib
import re
import subprocess
import sys

import pytest

from deploy.images import install
from tests.deploy import manifests

DOCKERFILES = ("Dockerfile.driver", "Dockerfile.provider")


def test_platforms_end_where_the_c_library_is_too_old() -> None:
    found = install.platforms("aarch64")
    minor = int((os.confstr("CS_GNU_LIBC_VERSION") or "").rpartition(".")[2])
    assert found[0] == f"manylinux_2_{minor}_aarch64"
    assert found[-2:] == ["manylinux_2_17_aarch64", "manylinux2014_aarch64"]


def test_only_modules_are_copied(tmp_path: pathlib.Path) -> None:
    source = tmp_path / "source"
    for name in ("a.py", "a.pyi", "a.proto", "below/b.py", "__pycache__/a.pyc", "ops/c.py"):
        (source / name).parent.mkdir(parents=True, exist_ok=True)
        (source / name).touch()
    install.copy_package(source, tmp_path / "out", {source / "ops"})
    found = [p.relative_to(tmp_path / "out") for p in (tmp_path / "out").rglob("*") if p.is_file()]
    assert sorted(map(str, found)) == ["a.py", "below/b.py"]


def test_the_launcher_runs_compiled_modules_and_writes_nothing(tmp_path: pathlib.Path) -> None:
    library = tmp_path / "lib"
    library.mkdir()
    (library / "program.py").write_text(
        "import sys\ndef main():\n    print(__spec__.cached, sys.argv[1:], sys.flags.isolated)\n"
        "    return 3\n"
    )
    install.compile_below(library, "/seen/as")
    install.write_launcher(tmp_path / "run", str(library), "program")
    # A module of the same name in the working folder must not come first.
    (tmp_path / "program.py").write_text("raise SystemExit(9)\n")
    before = sorted(tmp_path.rglob("*"))
    done = subprocess.run(
        [tmp_path / "run", "-v=2"],
        cwd=tmp_path,
        env={"PYTHONPATH": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=10,
    )
    assert (done.returncode, done.stderr) == (3, "")
    assert done.stdout.endswith(".pyc ['-v=2'] 1\n")
    assert sorted(tmp_path.rglob("*")) == before


def test_a_broken_module_stops_the_build(tmp_path: pathlib.Path) -> None:
    (tmp_path / "broken.py").write_text("def :\n")
    with pytest.raises(SystemExit, match="does not compile"):
        install.compile_below(tmp_path, "/seen/as")


def test_compiled_modules_are_not_checked_against_times(tmp_path: pathlib.Path) -> None:
    (tmp_path / "module.py").write_text("x = 1\n")
    install.compile_below(tmp_path, "/seen/as")
    (compiled,) = tmp_path.rglob("*.pyc")
    assert int.from_bytes(compiled.read_bytes()[4:8], "little") == 0b01
    assert b"/seen/as/module.py" in compiled.read_bytes()


def test_list_of_what_is_inside(tmp_path: pathlib.Path) -> None:
    for name, licence in (("Some_Package", "License-Expression: MIT"), ("other", "License: BSD")):
        info = tmp_path / f"{name}-1.2.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(
            f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.2\n{licence}\n"
        )
    install.write_sbom(tmp_path, "program", "v1")
    document = json.loads((tmp_path / "sbom.json").read_text())
    assert document["metadata"]["component"]["name"] == "program"
    assert [each["purl"] for each in document["components"]] == [
        "pkg:pypi/other@1.2",
        "pkg:pypi/some-package@1.2",
    ]
    licences = [each["licenses"][0]["license"]["name"] for each in document["components"]]
    assert licences == ["BSD", "MIT"]


def test_no_pip_and_no_wheels_say_what_to_do(tmp_path: pathlib.Path) -> None:
    done = subprocess.run(
        [
            *(sys.executable, "-I", "-S", "-c"),
            "import sys, pathlib; sys.path.insert(0, sys.argv[1]); import install\n"
            "install.pip(pathlib.Path(sys.argv[2]))",
            manifests.ROOT / "deploy" / "images",
            tmp_path,
        ],
        capture_output=True,
        text=True,
        timeout=10,
    )
    assert done.returncode == 1
    assert "build.sh" in done.stderr


@pytest.mark.parametrize("name", DOCKERFILES)
def test_image_files_name_what_exists_and_need_no_shell(name: str) -> None:
    text = (manifests.ROOT / name).read_text()
    for run in re.findall(r"^RUN (?:--\S+ )*\\?\s*(\S)", text, re.MULTILINE):
        assert run == "[", "a RUN in shell form"
    for option in re.findall(r'"--(?:lock|module)=/source/([^"]+)"', text):
        assert (manifests.ROOT / option).is_file()
    (packages,) = re.findall(r'"--packages=([^"]+)"', text)
    assert all((manifests.ROOT / package).is_dir() for package in packages.split(","))
    programs = dict(re.findall(r'"--program=([^="]+)=([^"]+)"', text))
    assert json.loads(text.partition("ENTRYPOINT ")[2].splitlines()[0])[0] in programs


def test_programs_are_those_that_manifests_name() -> None:
    provider = (manifests.ROOT / "Dockerfile.provider").read_text()
    obj = manifests.one(manifests.folder(), "DaemonSet", manifests.PROVIDER)
    (init,) = obj["spec"]["template"]["spec"]["initContainers"]
    assert f'"--program={init["command"][0]}=' in provider
    user = obj["spec"]["template"]["spec"]["containers"][0]["securityContext"]["runAsUser"]
    assert f"\nUSER {user}:{user}\n" in provider


def test_every_lock_has_a_hash_for_each_package() -> None:
    for path in (
        "requirements/driver.lock",
        "requirements/provider.lock",
        "deploy/images/pip.lock",
    ):
        text = (manifests.ROOT / path).read_text().replace("\\\n", " ")
        lines = [line for line in text.splitlines() if line.strip() and line[0] != "#"]
        assert lines
        for line in lines:
            assert "==" in line, line
            assert "--hash=sha256:" in line, line
