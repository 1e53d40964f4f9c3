from typing import Any

import pytest

from devkit import assets
from devkit.apiserver import client, objects, resources
from devkit.apiserver.kinds import generate_types


class Source(client.Client):
    """Answers as a server would that knows each wanted kind as a type with one field."""

    def __init__(self) -> None:
        wanted = {(item.group, item.version, item.kind) for item in resources.BUILT_IN}
        wanted |= set(generate_types.BESIDES)
        self._wanted = wanted

    def request(self, method: str, target: str, *_: Any, **__: Any) -> client.Answer:
        return client.Answer(200, {}, [], objects.encode(self._document(target)))

    def _document(self, target: str) -> Any:
        if target == "/version":
            return {"gitVersion": "v1.99.0"}
        if target == "/openapi/v3":
            groups = {(group, version) for group, version, _ in self._wanted}
            paths = {
                f"apis/{group}/{version}" if group else f"api/{version}": {
                    "serverRelativeURL": f"/{group}/{version}"
                }
                for group, version in groups
            }
            return {"paths": paths}
        _, group, version = target.split("/")
        schemas = {
            f"io.k8s.api.{group or 'core'}.{version}.{kind}": self._schema(group, version, kind)
            for g, v, kind in self._wanted
            if (g, v) == (group, version)
        }
        schemas["io.k8s.api.core.v1.Unused"] = {"type": "object"}
        schemas["io.k8s.apimachinery.pkg.util.intstr.IntOrString"] = {"oneOf": []}
        schemas["io.k8s.apimachinery.pkg.api.resource.Quantity"] = {"oneOf": []}
        schemas["io.k8s.apimachinery.pkg.apis.meta.v1.FieldsV1"] = {"type": "object"}
        return {"components": {"schemas": schemas}}

    def _schema(self, group: str, version: str, kind: str) -> Any:
        root = "#/components/schemas/io.k8s.apimachinery.pkg."
        return {
            "type": "object",
            "description": "Prose.",
            "properties": {
                "port": {"$ref": f"{root}util.intstr.IntOrString"},
                "size": {"allOf": [{"$ref": f"{root}api.resource.Quantity"}], "default": {}},
                "fields": {"$ref": f"{root}apis.meta.v1.FieldsV1", "description": "Prose."},
                "protocol": {"type": "string", "default": "TCP", "description": "Prose."},
            },
            "x-kubernetes-group-version-kind": [{"group": group, "version": version, "kind": kind}],
        }


def test_schemas_lose_their_prose() -> None:
    found = generate_types.read(Source())
    assert found["version"] == "v1.99.0"
    assert found["kinds"]["v1/Pod"] == "core.v1.Pod"
    assert found["types"]["core.v1.Pod"] == {
        "type": "object",
        "properties": {
            "port": {"$ref": "util.intstr.IntOrString"},
            "size": {"$ref": "api.resource.Quantity", "default": {}},
            "fields": {"$ref": "meta.v1.FieldsV1"},
            "protocol": {"type": "string", "default": "TCP"},
        },
    }
    assert found["types"]["util.intstr.IntOrString"] == {"x-kubernetes-int-or-string": True}
    assert found["types"]["api.resource.Quantity"] == {"type": "string", "format": "quantity"}
    assert found["types"]["meta.v1.FieldsV1"]["x-kubernetes-preserve-unknown-fields"] is True
    assert "core.v1.Unused" not in found["types"]


def test_programs_are_needed(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(assets.VARIABLE, raising=False)
    assert generate_types.main() == 2
    assert assets.VARIABLE in capsys.readouterr().err
