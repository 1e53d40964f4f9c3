from collections.abc import Callable

import pytest

from devkit.apiserver.kinds import strategy


@pytest.mark.parametrize(
    ("namespace", "about", "good"),
    [("n", "n", True), ("n", "m", False), ("n", "", False), ("default", "", True)],
)
def test_an_event_lies_with_what_it_is_about(
    rules: Callable[[str, str], strategy.Strategy], namespace: str, about: str, good: bool
) -> None:
    obj = {"metadata": {"namespace": namespace}, "involvedObject": {"namespace": about}}
    assert (rules("v1", "Event").validate(obj) == []) is good


def test_both_forms_have_the_same_rules(rules: Callable[[str, str], strategy.Strategy]) -> None:
    assert rules("events.k8s.io/v1", "Event") is rules("v1", "Event")
