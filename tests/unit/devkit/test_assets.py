import os
import pathlib

import pytest

from devkit import assets


def program(folder: pathlib.Path, name: str, text: str = "exit 3") -> None:
    path = folder / name
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)


def test_the_environment_names_a_folder(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(assets.VARIABLE, raising=False)
    assert assets.folder() is None
    monkeypatch.setenv(assets.VARIABLE, str(tmp_path))
    program(tmp_path, "etcd")
    with pytest.raises(assets.StartFailed, match="kube-apiserver"):
        assets.folder()
    program(tmp_path, "kube-apiserver")
    assert assets.folder() == tmp_path


def test_a_program_that_ends_is_told_with_its_log(tmp_path: pathlib.Path) -> None:
    program(tmp_path, "etcd", "exec sleep 30")
    program(tmp_path, "kube-apiserver", "echo no such flag; exit 3")
    server = assets.RealAPIServer(tmp_path)
    with pytest.raises(assets.StartFailed, match=r"ended with 3: \s*no such flag"):
        server.start()
    server.stop()


def test_nothing_is_left_behind(tmp_path: pathlib.Path) -> None:
    noted = tmp_path / "pid"
    program(tmp_path, "etcd", f"echo $$ > {noted}; exec sleep 30")
    program(tmp_path, "kube-apiserver", f"while [ ! -s {noted} ]; do :; done; exit 1")
    with pytest.raises(assets.StartFailed):
        assets.RealAPIServer(tmp_path).start()
    with pytest.raises(ProcessLookupError):
        os.kill(int(noted.read_text()), 0)
