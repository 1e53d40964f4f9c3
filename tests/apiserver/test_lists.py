"""Lists: selectors, pages, versions."""

import urllib.parse

import pytest

from devkit.apiserver import cluster


def fill(api: cluster.Cluster, *names: str) -> None:
    for name in names:
        body = {"metadata": {"name": name, "labels": {"n": name}}}
        api.client.request("POST", api.at("secrets"), body).decoded()


def names(api: cluster.Cluster, query: str = "") -> list[str]:
    items = api.client.items(f"{api.at('secrets')}?{query}")
    return [item["metadata"]["name"] for item in items]


def test_a_list_has_a_version_and_is_sorted(api: cluster.Cluster) -> None:
    fill(api, "b", "a", "c")
    found = api.client.request("GET", api.at("secrets")).obj
    assert (found["kind"], found["apiVersion"]) == ("SecretList", "v1")
    assert [item["metadata"]["name"] for item in found["items"]] == ["a", "b", "c"]
    newest = max(int(item["metadata"]["resourceVersion"]) for item in found["items"])
    assert int(found["metadata"]["resourceVersion"]) >= newest


def test_built_in_items_have_no_kind_and_custom_ones_do(api: cluster.Cluster) -> None:
    fill(api, "a")
    (item,) = api.client.items(api.at("secrets"))
    assert item.keys() == {"metadata", "type"}
    body = {
        "apiVersion": "secrets-store.csi.x-k8s.io/v1",
        "kind": "SecretProviderClass",
        "metadata": {"name": "c"},
    }
    api.client.request("POST", api.classes(), body)
    (item,) = api.client.items(api.classes())
    assert item["kind"] == "SecretProviderClass"


def test_an_empty_list_is_a_list(api: cluster.Cluster) -> None:
    assert api.client.request("GET", api.at("secrets")).obj["items"] == []


@pytest.mark.parametrize(
    ("selector", "found"),
    [
        ("n=a", ["a"]),
        ("n==a", ["a"]),
        ("n!=a", ["b", "c"]),
        ("n in (a, b)", ["a", "b"]),
        ("n notin (a,b)", ["c"]),
        ("n", ["a", "b", "c"]),
        ("!n", []),
        ("n,n!=b", ["a", "c"]),
        ("other!=x", ["a", "b", "c"]),
        ("", ["a", "b", "c"]),
    ],
)
def test_label_selectors(api: cluster.Cluster, selector: str, found: list[str]) -> None:
    fill(api, "a", "b", "c")
    assert names(api, f"labelSelector={urllib.parse.quote(selector)}") == found


@pytest.mark.parametrize("selector", ["n===a", "n in (a", "n=a,", "=a", "n in a"])
def test_a_bad_label_selector_is_refused(api: cluster.Cluster, selector: str) -> None:
    path = f"{api.at('secrets')}?labelSelector={urllib.parse.quote(selector)}"
    answer = api.client.request("GET", path)
    assert (answer.code, answer.obj["reason"]) == (400, "BadRequest")


@pytest.mark.parametrize(
    ("selector", "found"),
    [
        ("metadata.name=b", ["b"]),
        ("metadata.name!=b", ["a", "c"]),
        ("type=Opaque", ["a", "b", "c"]),
        ("type=other", []),
        ("metadata.name=a,type=Opaque", ["a"]),
    ],
)
def test_field_selectors(api: cluster.Cluster, selector: str, found: list[str]) -> None:
    fill(api, "a", "b", "c")
    assert names(api, f"fieldSelector={urllib.parse.quote(selector)}") == found


@pytest.mark.parametrize("selector", ["data=x", "metadata.uid=x", "nonsense"])
def test_a_field_that_cannot_be_selected_is_refused(api: cluster.Cluster, selector: str) -> None:
    answer = api.client.request("GET", f"{api.at('secrets')}?fieldSelector={selector}")
    assert (answer.code, answer.obj["reason"]) == (400, "BadRequest")


def test_pods_are_selected_by_node(api: cluster.Cluster) -> None:
    for name, node in (("a", "n1"), ("b", "n2"), ("c", "")):
        spec = {"nodeName": node, "containers": [{"name": "c", "image": "i"}]}
        body = {"metadata": {"name": name}, "spec": spec}
        api.client.request("POST", api.at("pods"), body).decoded()

    def found(selector: str) -> list[str]:
        items = api.client.items(f"{api.at('pods')}?fieldSelector={selector}")
        return [item["metadata"]["name"] for item in items]

    assert found("spec.nodeName%3Dn1") == ["a"]
    assert found("spec.nodeName%3D") == ["c"]
    assert found("spec.nodeName%21%3Dn1,status.phase%3DPending") == ["b", "c"]


def test_pages_show_one_state(api: cluster.Cluster) -> None:
    fill(api, "a", "b", "c", "d", "e")
    path = api.at("secrets")
    first = api.client.request("GET", f"{path}?limit=2").obj
    assert [item["metadata"]["name"] for item in first["items"]] == ["a", "b"]
    assert first["metadata"]["remainingItemCount"] == 3
    api.client.request("DELETE", f"{path}/c")
    fill(api, "bb")
    token = urllib.parse.quote(first["metadata"]["continue"])
    second = api.client.request("GET", f"{path}?limit=2&continue={token}").obj
    assert [item["metadata"]["name"] for item in second["items"]] == ["c", "d"]
    assert second["metadata"]["resourceVersion"] == first["metadata"]["resourceVersion"]
    token = urllib.parse.quote(second["metadata"]["continue"])
    last = api.client.request("GET", f"{path}?limit=2&continue={token}").obj
    assert [item["metadata"]["name"] for item in last["items"]] == ["e"]
    assert not last["metadata"].get("continue")


def test_pages_of_a_selection_do_not_tell_how_many_are_left(api: cluster.Cluster) -> None:
    fill(api, "a", "b", "c")
    found = api.client.request("GET", f"{api.at('secrets')}?limit=1&labelSelector=n").obj
    assert found["metadata"]["continue"]
    assert "remainingItemCount" not in found["metadata"]


def test_any_version_will_do_gives_no_pages(api: cluster.Cluster) -> None:
    fill(api, "a", "b")
    assert names(api, "resourceVersion=0&limit=1") == ["a", "b"]


def test_an_exact_version_shows_the_past(api: cluster.Cluster) -> None:
    fill(api, "a")
    version = api.client.request("GET", api.at("secrets")).obj["metadata"]["resourceVersion"]
    fill(api, "b")
    assert names(api, f"resourceVersion={version}&resourceVersionMatch=Exact") == ["a"]
    assert names(api, f"resourceVersion={version}&limit=5") == ["a"]
    assert names(api, f"resourceVersion={version}&resourceVersionMatch=NotOlderThan") == ["a", "b"]
    assert names(api, f"resourceVersion={version}") == ["a", "b"]


@pytest.mark.parametrize(
    ("query", "code"),
    [
        ("resourceVersion=x", 400),
        ("resourceVersionMatch=Exact", 422),
        ("resourceVersion=1&resourceVersionMatch=Odd", 422),
        ("continue=odd", 400),
        ("limit=x", 400),
    ],
)
def test_bad_list_options_are_refused(api: cluster.Cluster, query: str, code: int) -> None:
    assert api.client.request("GET", f"{api.at('secrets')}?{query}").code == code


def test_the_future_is_not_served(api: cluster.Cluster) -> None:
    answer = api.client.request("GET", f"{api.at('secrets')}?resourceVersion=9999999999")
    assert (answer.code, answer.obj["reason"]) == (504, "Timeout")
    assert answer.obj["details"]["causes"][0]["reason"] == "ResourceVersionTooLarge"


def test_all_namespaces_are_listed(api: cluster.Cluster) -> None:
    fill(api, "a")
    places = {
        (item["metadata"]["namespace"], item["metadata"]["name"])
        for item in api.client.items("/api/v1/secrets")
    }
    assert (api.namespace, "a") in places
    path = f"/api/v1/secrets?fieldSelector=metadata.namespace%3D{api.namespace}"
    assert len(api.client.items(path)) == 1
