import json
import logging

import pytest

from devkit.apiserver import dispatch, errors, http, server


def test_an_answer_is_decoded_or_raised() -> None:
    assert dispatch.decoded(http.Response(200, b'{"a": 1}')) == {"a": 1}
    failed = dispatch.failure(errors.too_many_requests(3))
    assert failed.headers == [("Retry-After", "3")]
    with pytest.raises(errors.StatusError) as caught:
        dispatch.decoded(failed)
    assert (caught.value.code, caught.value.reason) == (429, "TooManyRequests")


@pytest.mark.parametrize(
    ("method", "path", "code"),
    [
        ("GET", "/api/v1/odd", 404),
        ("GET", "/api/v1/pods/p", 404),
        ("GET", "/api/v1/namespaces/default/nodes", 404),
        ("GET", "/api/v1/namespaces/default/secrets/s/status", 404),
        ("POST", "/api/v1/namespaces/default/pods/p", 405),
        ("PUT", "/api/v1/namespaces/default/pods", 405),
        ("DELETE", "/api/v1/namespaces", 405),
        ("GET", "/apis/authentication.k8s.io/v1/tokenreviews", 405),
        ("POST", "/version", 405),
        ("OPTIONS", "/api/v1/pods", 405),
        ("POST", "/api/v1/pods", 405),
        ("DELETE", "/api/v1/pods", 405),
    ],
)
def test_what_is_not_served(api: server.APIServer, method: str, path: str, code: int) -> None:
    with pytest.raises(errors.StatusError) as caught:
        api.request(method, path, {})
    assert caught.value.code == code


def test_a_fault_of_its_own_is_logged_and_told(
    api: server.APIServer, caplog: pytest.LogCaptureFixture
) -> None:
    # A schema that no server would accept makes pruning fail.
    crd = api.get(
        "apiextensions.k8s.io/v1",
        "CustomResourceDefinition",
        "secretproviderclasses.secrets-store.csi.x-k8s.io",
    )
    version = crd["spec"]["versions"][0]
    version["schema"]["openAPIV3Schema"]["properties"]["spec"]["pattern"] = "("
    version["schema"]["openAPIV3Schema"]["properties"]["spec"]["type"] = "string"
    api.update(crd)
    body = {
        "apiVersion": "secrets-store.csi.x-k8s.io/v1",
        "kind": "SecretProviderClass",
        "metadata": {"name": "c"},
        "spec": "text",
    }
    with caplog.at_level(logging.ERROR), pytest.raises(errors.StatusError) as caught:
        api.create(body)
    assert (caught.value.code, caught.value.reason) == (500, "InternalError")
    assert "request failed" in caplog.text


def test_warnings_are_quoted(api: server.APIServer) -> None:
    body = {"metadata": {"name": "a"}, 'o"dd': 1}
    made = api.request("POST", "/api/v1/namespaces/default/secrets", body)
    assert 'o"dd' not in json.dumps(made)
