from typing import Any

from devkit.apiserver import schema
from devkit.apiserver.kinds import strategy

SHAPE: schema.Schema = {
    "type": "object",
    schema.ALWAYS: ["spec"],
    "properties": {"spec": {"type": "object", "default": {}, "properties": {}}},
}


def test_a_kind_without_rules_of_its_own() -> None:
    plain = strategy.Strategy("Thing", SHAPE)
    obj: dict[str, Any] = {"odd": 1}
    decoded = plain.decode(obj)
    assert (decoded.dropped, decoded.causes) == (["odd"], [])
    plain.complete(obj)
    plain.prepare_create(obj)
    plain.prepare_update(obj, obj)
    assert obj == {"spec": {}}
    assert plain.validate(obj) == plain.validate_update(obj, obj) == []
    assert plain.empty == {"spec": {}}
    assert plain.name_rule("A") != ""
