from collections.abc import Callable
from typing import Any

import pytest

from devkit.apiserver.kinds import strategy

Rules = Callable[[str, str], strategy.Strategy]
RBAC = "rbac.authorization.k8s.io/v1"
ROLE = {"kind": "ClusterRole", "name": "r"}
USER = {"kind": "User", "name": "u"}


def fields_of(found: strategy.Strategy, **fields: Any) -> list[str]:
    obj = {"metadata": {"name": "x"}, **fields}
    found.decode(obj)
    found.complete(obj)
    return [cause.field for cause in found.validate(obj)]


@pytest.mark.parametrize(
    ("rule", "fields"),
    [
        ({"apiGroups": [""], "resources": ["pods"], "verbs": ["get"]}, []),
        ({"nonResourceURLs": ["/x"], "verbs": ["get"]}, []),
        ({}, ["rules[0].verbs", "rules[0].apiGroups", "rules[0].resources"]),
    ],
)
def test_rules(rules: Rules, rule: dict[str, Any], fields: list[str]) -> None:
    assert fields_of(rules(RBAC, "ClusterRole"), rules=[rule]) == fields


def test_a_role_without_rules(rules: Rules) -> None:
    assert fields_of(rules(RBAC, "Role")) == []


@pytest.mark.parametrize(
    ("kind", "reference", "subject", "fields"),
    [
        ("ClusterRoleBinding", ROLE, USER, []),
        ("ClusterRoleBinding", {**ROLE, "kind": "Role"}, USER, ["roleRef.kind"]),
        ("RoleBinding", {**ROLE, "kind": "Role"}, USER, []),
        ("RoleBinding", {"kind": "Role"}, USER, ["roleRef.name"]),
        ("RoleBinding", ROLE, {"kind": "Odd"}, ["subjects[0].name", "subjects[0].kind"]),
        ("RoleBinding", ROLE, {"kind": "ServiceAccount", "name": "s"}, []),
        (
            "ClusterRoleBinding",
            ROLE,
            {"kind": "ServiceAccount", "name": "s"},
            ["subjects[0].namespace"],
        ),
    ],
)
def test_bindings(rules: Rules, kind: str, reference: Any, subject: Any, fields: list[str]) -> None:
    found = rules(RBAC, kind)
    assert fields_of(found, roleRef=dict(reference), subjects=[dict(subject)]) == fields


def test_groups_are_filled_in(rules: Rules) -> None:
    found = rules(RBAC, "RoleBinding")
    account = {"kind": "ServiceAccount", "name": "s"}
    obj = {"metadata": {}, "roleRef": dict(ROLE), "subjects": [dict(USER), dict(account)]}
    found.complete(obj)
    assert obj["roleRef"] == {**ROLE, "apiGroup": "rbac.authorization.k8s.io"}
    assert obj["subjects"] == [{**USER, "apiGroup": "rbac.authorization.k8s.io"}, account]


def test_a_binding_keeps_its_role(rules: Rules) -> None:
    found = rules(RBAC, "RoleBinding")
    assert found.validate_update({"roleRef": ROLE}, {"roleRef": dict(ROLE)}) == []
    assert found.validate_update({"roleRef": ROLE}, {"roleRef": {}})
    assert found.name_rule("A:b") == ""
