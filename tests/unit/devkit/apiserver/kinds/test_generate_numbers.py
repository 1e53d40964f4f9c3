import pathlib

import pytest

from devkit.apiserver.kinds import generate_numbers

CORE = """
package k8s.io.api.core.v1;

message LocalObjectReference {
  // The name.
  optional string name = 7;
}

message SecretVolumeSource {
  optional string secretName = 1;
  repeated KeyToPath items = 2;
  optional int32 defaultMode = 3;
}

message VolumeSource {
  optional SecretVolumeSource secret = 6;
}

message Volume {
  optional string name = 1;

  optional VolumeSource volumeSource = 2;
}

message Secret {
  optional .k8s.io.apimachinery.pkg.apis.meta.v1.ObjectMeta metadata = 1;
  map<string, bytes> data = 2;
}
"""
META = """
package k8s.io.apimachinery.pkg.apis.meta.v1;

message ObjectMeta {
  optional string name = 1;
  optional string uID = 5;
  optional string notInJson = 99;
}
"""


@pytest.fixture
def folder(tmp_path: pathlib.Path) -> pathlib.Path:
    for name, text in (("core", CORE), ("meta", META)):
        (tmp_path / name).mkdir()
        (tmp_path / name / "generated.proto").write_text(text)
    return tmp_path


def test_numbers_by_the_names_of_the_schemas(folder: pathlib.Path) -> None:
    found = generate_numbers.read([folder])
    assert found["core.v1.Secret"] == {"metadata": 1, "data": 2}
    assert found["meta.v1.ObjectMeta"] == {"name": 1, "uid": 5}


def test_fields_of_messages_that_stand_among_others(folder: pathlib.Path) -> None:
    found = generate_numbers.read([folder])
    assert found["core.v1.Volume"] == {"name": 1, "2": {"secret": 6}}
    assert "core.v1.VolumeSource" not in found


def test_folders_are_needed(capsys: pytest.CaptureFixture[str]) -> None:
    assert generate_numbers.main([]) == 2
    assert "k8s.io/api" in capsys.readouterr().err
