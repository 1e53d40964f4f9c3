from collections.abc import Callable
from typing import Any

import pytest

from devkit.apiserver import crds
from devkit.apiserver.kinds import strategy

Rules = Callable[[str, str], strategy.Strategy]


@pytest.fixture
def definitions(rules: Rules) -> strategy.Strategy:
    return rules("apiextensions.k8s.io/v1", "CustomResourceDefinition")


def made(found: strategy.Strategy, **spec: Any) -> dict[str, Any]:
    obj = crds.secrets_store_crds()[0]
    obj["spec"] |= spec
    found.decode(obj)
    found.complete(obj)
    found.prepare_create(obj)
    return obj


def fields_of(found: strategy.Strategy, obj: dict[str, Any]) -> list[str]:
    return [cause.field for cause in found.validate(obj)]


def test_a_good_one_is_established(definitions: strategy.Strategy) -> None:
    obj = made(definitions)
    assert definitions.validate(obj) == []
    assert obj["spec"]["conversion"] == {"strategy": "None"}
    assert {item["type"]: item["status"] for item in obj["status"]["conditions"]} == {
        "NamesAccepted": "True",
        "Established": "True",
    }
    assert obj["status"]["storedVersions"] == ["v1"]


def test_an_update_keeps_times_and_stored_versions(definitions: strategy.Strategy) -> None:
    old, new = made(definitions), made(definitions)
    for condition in old["status"]["conditions"]:
        condition["lastTransitionTime"] = "2000-01-01T00:00:00Z"
    old["status"]["storedVersions"] = ["v0"]
    definitions.prepare_update(new, old)
    assert new["status"]["conditions"] == old["status"]["conditions"]
    assert new["status"]["storedVersions"] == ["v0", "v1"]


SCHEMA = {"openAPIV3Schema": {"type": "object"}}


def version(name: str = "v1", schema: Any = SCHEMA, **more: Any) -> dict[str, Any]:
    return {"name": name, "served": True, "storage": True, "schema": schema, **more}


@pytest.mark.parametrize(
    ("spec", "fields"),
    [
        ({"group": "other.example.com"}, ["metadata.name"]),
        ({"scope": "Odd"}, ["spec.scope"]),
        ({"names": {}}, ["spec.names.plural", "spec.names.kind"]),
        ({"versions": []}, ["spec.versions"]),
        ({"versions": [version(storage=False)]}, ["spec.versions"]),
        ({"versions": [version("v1"), version("v2")]}, ["spec.versions"]),
        (
            {"versions": [version(schema={})]},
            ["spec.versions[0].schema.openAPIV3Schema"],
        ),
        (
            {"versions": [version(schema={"openAPIV3Schema": {"type": "string"}})]},
            ["spec.versions[0].schema.openAPIV3Schema.type"],
        ),
        (
            {"versions": [version(schema={"openAPIV3Schema": {"description": "x"}})]},
            ["spec.versions[0].schema.openAPIV3Schema.type"],
        ),
    ],
)
def test_faults_are_found(
    definitions: strategy.Strategy, spec: dict[str, Any], fields: list[str]
) -> None:
    assert fields_of(definitions, made(definitions, **spec)) == fields


def test_every_value_says_its_type(definitions: strategy.Strategy) -> None:
    items = {"type": "array", "items": {"description": "x"}}
    values = {"type": "object", "additionalProperties": {"description": "x"}}
    free = {"x-kubernetes-preserve-unknown-fields": True}
    properties = {"a": {"description": "x"}, "b": items, "c": values, "d": free}
    schema = {"openAPIV3Schema": {"type": "object", "properties": properties}}
    root = "spec.versions[0].schema.openAPIV3Schema.properties"
    assert fields_of(definitions, made(definitions, versions=[version(schema=schema)])) == [
        f"{root}[a].type",
        f"{root}[b].items.type",
        f"{root}[c].additionalProperties.type",
    ]


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"group": "x"}, "spec.group"),
        ({"scope": "Cluster"}, "spec.scope"),
        ({"names": {"plural": "x", "kind": "SecretProviderClass"}}, "spec.names.plural"),
    ],
)
def test_what_cannot_change(
    definitions: strategy.Strategy, change: dict[str, Any], field: str
) -> None:
    old, new = made(definitions), made(definitions, **change)
    assert field in [cause.field for cause in definitions.validate_update(new, old)]
