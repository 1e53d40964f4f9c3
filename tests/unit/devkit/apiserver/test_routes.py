import pytest

from devkit.apiserver import http, routes


def route(method: str, target: str) -> routes.Route:
    path, _, query = target.partition("?")
    pairs = dict(part.split("=") for part in query.split("&")) if query else {}
    return routes.route(http.Request(method, path, pairs, {}))


@pytest.mark.parametrize(
    ("method", "target", "verb", "group", "resource", "namespace", "name", "subresource"),
    [
        ("GET", "/api/v1/pods", "list", "", "pods", "", "", ""),
        ("GET", "/api/v1/pods?watch=1", "watch", "", "pods", "", "", ""),
        ("GET", "/api/v1/pods?watch=true", "watch", "", "pods", "", "", ""),
        ("GET", "/api/v1/pods?watch=0", "list", "", "pods", "", "", ""),
        ("GET", "/api/v1/namespaces/n/pods", "list", "", "pods", "n", "", ""),
        ("GET", "/api/v1/namespaces/n/pods/p", "get", "", "pods", "n", "p", ""),
        ("GET", "/api/v1/namespaces/n/pods/p?watch=1", "get", "", "pods", "n", "p", ""),
        ("HEAD", "/api/v1/namespaces/n/pods/p", "get", "", "pods", "n", "p", ""),
        ("PATCH", "/api/v1/namespaces/n/pods/p/status", "patch", "", "pods", "n", "p", "status"),
        ("GET", "/api/v1/watch/namespaces/n/pods", "watch", "", "pods", "n", "", ""),
        ("GET", "/api/v1/watch/namespaces/n/pods/p", "watch", "", "pods", "n", "p", ""),
        (
            "POST",
            "/apis/apps/v1/namespaces/n/deployments",
            "create",
            "apps",
            "deployments",
            "n",
            "",
            "",
        ),
        (
            "DELETE",
            "/apis/apps/v1/namespaces/n/deployments",
            "deletecollection",
            "apps",
            "deployments",
            "n",
            "",
            "",
        ),
        (
            "DELETE",
            "/apis/apps/v1/namespaces/n/deployments/d",
            "delete",
            "apps",
            "deployments",
            "n",
            "d",
            "",
        ),
        ("PUT", "/api/v1/namespaces/n", "update", "", "namespaces", "n", "n", ""),
        ("PUT", "/api/v1/namespaces/n/finalize", "update", "", "namespaces", "n", "n", "finalize"),
        ("GET", "/api/v1/namespaces", "list", "", "namespaces", "", "", ""),
    ],
)
def test_requests_for_resources(
    method: str,
    target: str,
    verb: str,
    group: str,
    resource: str,
    namespace: str,
    name: str,
    subresource: str,
) -> None:
    found = route(method, target)
    assert found.is_resource
    assert (found.verb, found.group, found.version) == (verb, group, "v1")
    assert (found.resource, found.subresource) == (resource, subresource)
    assert (found.namespace, found.name) == (namespace, name)


@pytest.mark.parametrize("path", ["/", "/api", "/api/v1", "/apis/apps/v1", "/healthz", "/version"])
def test_other_requests(path: str) -> None:
    found = route("GET", path)
    assert not found.is_resource
    assert (found.verb, found.path) == ("get", path)


@pytest.mark.parametrize(
    ("text", "truth"), [("1", True), ("true", True), ("0", False), ("", False)]
)
def test_truth(text: str, truth: bool) -> None:
    assert routes.truthy(text) is truth
