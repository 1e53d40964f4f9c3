from typing import Any

import pytest

from devkit.apiserver import crds


def test_the_drivers_own_kinds() -> None:
    classes, statuses = (crds.define(crd) for crd in crds.secrets_store_crds())
    assert [item.version for item in classes.served] == ["v1", "v1alpha1"]
    assert [item.plural for item in statuses.served] == ["secretproviderclasspodstatuses"] * 2
    assert classes.storage_api_version == "secrets-store.csi.x-k8s.io/v1"
    for item in (*classes.served, *statuses.served):
        assert item.custom
        assert item.subresources == ()
        assert item.counts_generation
        assert not item.overwrites
    assert classes.served[0].deprecated == ""
    assert classes.served[1].deprecated.endswith("Use secrets-store.csi.x-k8s.io/v1 instead.")
    assert statuses.served[1].deprecated.endswith(
        "is deprecated; use secrets-store.csi.x-k8s.io/v1 SecretProviderClassPodStatus"
    )


def definition(*versions: dict[str, Any], **spec: Any) -> crds.Definition:
    names = {"plural": "things", "kind": "Thing"}
    body = {"group": "example.com", "scope": "Cluster", "names": names} | spec
    return crds.define({"spec": body | {"versions": list(versions)}})


def version(name: str, schema: Any = None, **more: Any) -> dict[str, Any]:
    shape = {"schema": {"openAPIV3Schema": schema}} if schema else {}
    return {"name": name, "served": True, "storage": True, **shape, **more}


def test_what_is_not_served_is_left_out() -> None:
    found = definition(version("v1"), version("v2", served=False, storage=False))
    assert [item.version for item in found.served] == ["v1"]
    assert not found.served[0].namespaced
    assert found.served[0].singular_name == "thing"


def test_the_status_subresource_and_selectable_fields() -> None:
    fields = [{"jsonPath": ".spec.color"}]
    found = definition(version("v1", subresources={"status": {}}, selectableFields=fields))
    assert found.served[0].subresources == ("status",)
    assert found.served[0].status_apart
    assert found.served[0].selectable_fields == ("spec.color",)


SPEC = {"type": "object", "properties": {"a": {"type": "string", "default": "x"}}}
OLD = {"type": "object", "properties": {"spec": {**SPEC, "properties": {"b": {"type": "string"}}}}}
NEW = {"type": "object", "properties": {"spec": SPEC}}


def test_a_custom_object_is_pruned_filled_and_checked() -> None:
    rules = definition(version("v1", NEW)).strategies["v1"]
    obj: dict[str, Any] = {"metadata": {"name": "n", "odd": 1}, "spec": {"odd": 1}, "odd": 1}
    decoded = rules.decode(obj)
    assert decoded.dropped == ["metadata.odd", "spec.odd", "odd"]
    rules.complete(obj)
    assert obj == {"metadata": {"name": "n"}, "spec": {"a": "x"}}
    assert rules.validate(obj) == []
    assert [cause.field for cause in rules.validate({"spec": {"a": 1}})] == ["spec.a"]


def test_what_the_stored_version_does_not_know_is_lost() -> None:
    rules = definition(version("v1", NEW), version("v2", OLD, storage=False)).strategies["v2"]
    obj: dict[str, Any] = {"metadata": {}, "spec": {"b": "1"}}
    assert rules.decode(obj).dropped == []
    rules.complete(obj)
    assert obj["spec"] == {}


def test_without_a_schema_everything_stays() -> None:
    rules = definition(version("v1")).strategies["v1"]
    obj: dict[str, Any] = {"metadata": {}, "any": {"thing": None}}
    assert rules.decode(obj).dropped == []
    rules.complete(obj)
    assert obj["any"] == {"thing": None}


@pytest.mark.parametrize("crd", crds.secrets_store_crds(), ids=lambda crd: crd["metadata"]["name"])
def test_names_fit(crd: dict[str, Any]) -> None:
    spec = crd["spec"]
    assert crd["metadata"]["name"] == f"{spec['names']['plural']}.{spec['group']}"
