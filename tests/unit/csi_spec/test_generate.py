"""The generator on contracts of its own, and on the committed ones."""

import pathlib

import pytest

from csi_spec import generate

PROTO = 'syntax = "proto3";\npackage sample;\nmessage Sample {{\n  string {field} = 1;\n}}\n'


@pytest.fixture
def root(tmp_path: pathlib.Path) -> pathlib.Path:
    (tmp_path / "pkg").mkdir()
    (tmp_path / "pkg" / "sample.proto").write_text(PROTO.format(field="first"))
    return tmp_path


def run(root: pathlib.Path, *arguments: str) -> int:
    return generate.main(arguments, root=root, protos=["pkg/sample.proto"])


@pytest.mark.timeout(60)
def test_writes_modules_and_stubs_and_then_finds_them_current(root: pathlib.Path) -> None:
    assert run(root) == 0
    assert sorted(path.name for path in (root / "pkg").iterdir()) == [
        "sample.proto",
        "sample_pb2.py",
        "sample_pb2.pyi",
        "sample_pb2_grpc.py",
        "sample_pb2_grpc.pyi",
    ]
    assert run(root, "--check") == 0


@pytest.mark.timeout(60)
def test_check_names_what_is_stale_and_writes_nothing(
    root: pathlib.Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run(root)
    (root / "pkg" / "sample.proto").write_text(PROTO.format(field="renamed"))
    (root / "pkg" / "sample_pb2_grpc.py").unlink()
    before = (root / "pkg" / "sample_pb2.py").read_bytes()
    capsys.readouterr()
    assert run(root, "--check") == 1
    told = capsys.readouterr().err
    assert "pkg/sample_pb2.py is stale" in told
    assert "pkg/sample_pb2.pyi is stale" in told
    assert "pkg/sample_pb2_grpc.py is stale" in told
    assert (root / "pkg" / "sample_pb2.py").read_bytes() == before


@pytest.mark.timeout(60)
def test_a_contract_that_does_not_compile_is_told_in_the_compilers_words(
    root: pathlib.Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (root / "pkg" / "sample.proto").write_text('syntax = "proto3";\nmessage {')
    assert run(root) == 1
    assert "sample.proto:2" in capsys.readouterr().err


@pytest.mark.timeout(60)
def test_the_committed_modules_are_current() -> None:
    assert generate.main(["--check"]) == 0
