import pytest

from secrets_store.ops import provider_rules


@pytest.mark.parametrize("name", sorted(provider_rules.RULES))
def test_the_rules_of_a_provider_hang_together(name: str) -> None:
    rules = provider_rules.RULES[name]
    known = rules.required | rules.optional
    assert not rules.required & rules.optional
    assert rules.booleans <= known
    assert rules.objects in known
    fields = rules.object_required | rules.object_optional
    assert set(rules.unique) <= fields
    assert set(rules.choices) <= fields
