import pytest

from devkit.apiserver import errors, selectors

LABELS = {"a": "1", "b": "", "n": "5"}


@pytest.mark.parametrize(
    ("text", "matches"),
    [
        ("", True),
        ("a=1", True),
        ("a==1", True),
        ("a = 1", True),
        ("a=2", False),
        ("a!=1", False),
        ("a!=2", True),
        ("x!=2", True),
        ("a", True),
        ("x", False),
        ("!x", True),
        ("!a", False),
        ("a in (1,2)", True),
        ("a in (2)", False),
        ("x in (1)", False),
        ("a notin (2)", True),
        ("x notin (2)", True),
        ("b=", True),
        ("b in (,)", True),
        ("a=1,b", True),
        ("a=1,x", False),
        ("n>4", True),
        ("n<4", False),
        ("a.b/c=1", False),
    ],
)
def test_label_selectors(text: str, matches: bool) -> None:
    assert all(item.matches(LABELS) for item in selectors.parse_labels(text)) is matches


@pytest.mark.parametrize(
    "text", ["=1", "a===1", "a=1,", "a in 1", "a in (1", "a in (1 2)", ",", "a b", "n>x", "!", "("]
)
def test_broken_label_selectors(text: str) -> None:
    with pytest.raises(errors.StatusError) as caught:
        selectors.parse_labels(text)
    assert caught.value.code == 400


@pytest.mark.parametrize(
    ("selector", "matches"),
    [
        ({}, True),
        ({"matchLabels": {"a": "1"}}, True),
        ({"matchLabels": {"a": "2"}}, False),
        ({"matchExpressions": [{"key": "a", "operator": "In", "values": ["1"]}]}, True),
        ({"matchExpressions": [{"key": "a", "operator": "NotIn", "values": ["1"]}]}, False),
        ({"matchExpressions": [{"key": "a", "operator": "Exists"}]}, True),
        ({"matchExpressions": [{"key": "a", "operator": "DoesNotExist"}]}, False),
    ],
)
def test_label_selector_objects(selector: dict[str, object], matches: bool) -> None:
    found = selectors.from_label_selector(selector)
    assert all(item.matches(LABELS) for item in found) is matches


POD = {
    "metadata": {"name": "p", "namespace": "n"},
    "spec": {"nodeName": "n1", "hostNetwork": True},
    "status": {},
}


@pytest.mark.parametrize(
    ("text", "matches"),
    [
        ("", True),
        ("metadata.name=p", True),
        ("metadata.name==p,spec.nodeName!=n2", True),
        ("spec.nodeName=", False),
        ("status.phase=", True),
        ("spec.hostNetwork=true", True),
        ("metadata.namespace=other", False),
    ],
)
def test_field_selectors(text: str, matches: bool) -> None:
    assert selectors.parse("", text, "pods").matches(POD) is matches


@pytest.mark.parametrize("text", ["spec.containers=x", "nonsense", "data=x"])
def test_fields_that_cannot_be_selected(text: str) -> None:
    with pytest.raises(errors.StatusError) as caught:
        selectors.parse("", text, "pods")
    assert caught.value.code == 400


def test_a_kind_may_have_fields_of_its_own() -> None:
    chosen = selectors.parse("", "spec.color=red", "things", lambda path: path == "spec.color")
    assert chosen.matches({"spec": {"color": "red"}})
    assert not chosen.matches({"spec": {"color": "blue"}})


def test_values_may_hold_separators() -> None:
    assert selectors.parse_fields(r"reason=a\,b\=c") == [("reason", "a,b=c", True)]


def test_the_source_of_an_event() -> None:
    chosen = selectors.parse("", "source=kubelet", "events")
    assert chosen.matches({"source": {"component": "kubelet"}})
    assert chosen.matches({"reportingComponent": "kubelet"})


def test_whether_anything_is_asked() -> None:
    assert selectors.parse("", "", "pods").is_empty
    assert not selectors.parse("a", "", "pods").is_empty
