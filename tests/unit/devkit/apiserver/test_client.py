import socket

import pytest

from devkit.apiserver import client, errors, server


def test_answers() -> None:
    good = client.Answer(200, {}, [], b'{"a": 1}')
    assert good.decoded() == good.obj == {"a": 1}
    bad = client.Answer(404, {}, [], b'{"reason": "NotFound", "message": "gone"}')
    assert bad.obj["message"] == "gone"
    with pytest.raises(errors.StatusError, match="gone") as caught:
        bad.decoded()
    assert (caught.value.code, caught.value.reason) == (404, "NotFound")


@pytest.mark.parametrize(
    ("api_version", "kind", "path"),
    [
        ("v1", "Node", "/api/v1/nodes/x"),
        ("v1", "Secret", "/api/v1/namespaces/default/secrets/x"),
        (
            "secrets-store.csi.x-k8s.io/v1",
            "SecretProviderClass",
            "/apis/secrets-store.csi.x-k8s.io/v1/namespaces/default/secretproviderclasses/x",
        ),
    ],
)
def test_paths(api_version: str, kind: str, path: str) -> None:
    made = client.Client("http://127.0.0.1:1")
    obj = {"apiVersion": api_version, "kind": kind, "metadata": {"name": "x"}}
    assert made.path(obj) == path
    assert made.path(obj, named=False) == path.removesuffix("/x")


def test_nobody_there() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    made = client.Client(f"http://127.0.0.1:{port}")
    with pytest.raises(client.Unreachable):
        made.request("GET", "/")
    with pytest.raises(client.Unreachable):
        list(made.watch("/"))


def test_another_authority_is_not_trusted() -> None:
    with server.APIServer() as one, server.APIServer() as other:
        made = client.Client(one.tls_url, ca_pem=other.ca_pem)
        with pytest.raises(client.Unreachable, match="CERTIFICATE_VERIFY_FAILED"):
            made.request("GET", "/readyz")
        made.close()


def test_a_refused_watch() -> None:
    with server.APIServer(tls_port=None) as running:
        made = client.Client(running.url)
        with pytest.raises(errors.StatusError) as caught:
            list(made.watch("/api/v1/odd?watch=1"))
        assert caught.value.code == 404
        made.close()
