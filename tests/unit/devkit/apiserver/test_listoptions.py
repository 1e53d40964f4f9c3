import pytest

from devkit.apiserver import calls, errors, http, listoptions, resources, routes
from devkit.apiserver.kinds import strategy

PODS = resources.Resource("", "v1", "pods", "Pod", selectable_fields=("spec.own",))


def call(name: str = "", verb: str = "list", **query: str) -> calls.Call:
    route = routes.Route(verb, "/x", "", "v1", "pods", "", "n", name)
    plain = strategy.Strategy("Pod", {"properties": {}})
    return calls.Call(http.Request("GET", "/x", query, {}), route, PODS, plain, calls.ADMIN)


def test_a_name_in_the_path_selects_too() -> None:
    chosen = listoptions.selector_of(call("p", labelSelector="a"))
    assert chosen.matches({"metadata": {"name": "p", "labels": {"a": ""}}})
    assert not chosen.matches({"metadata": {"name": "q", "labels": {"a": ""}}})
    assert not chosen.matches({"metadata": {"name": "p"}})


def test_a_kinds_own_fields() -> None:
    assert not listoptions.selector_of(call(fieldSelector="spec.own=x")).matches({})


def test_versions() -> None:
    assert listoptions.version_of(call()) is None
    assert listoptions.version_of(call(resourceVersion="17")) == 17


@pytest.mark.parametrize(("verb", "code"), [("list", 400), ("watch", 500)])
def test_what_is_no_version(verb: str, code: int) -> None:
    with pytest.raises(errors.StatusError) as caught:
        listoptions.version_of(call(verb=verb, resourceVersion="x"))
    assert caught.value.code == code


def test_options_that_do_not_fit() -> None:
    error = listoptions.invalid([errors.required("a")])
    assert error.details is not None
    assert (error.code, error.details["kind"]) == (422, "ListOptions")
