import pathlib
import secrets

import pytest

from devkit.apiserver import client, errors, server

CRD = ("apiextensions.k8s.io/v1", "CustomResourceDefinition")


def test_what_there_is_from_the_start(api: server.APIServer) -> None:
    names = {item["metadata"]["name"] for item in api.list_all("v1", "Namespace")}
    assert names == {"default", "kube-system", "kube-public", "kube-node-lease"}
    assert len(api.list_all(*CRD)) == 2
    assert server.APIServer(tls_port=None, secrets_store=False).list_all(*CRD) == []


def test_nothing_reaches_back_before_the_start(api: server.APIServer) -> None:
    path = f"/api/v1/pods?resourceVersion={api.resource_version - 1}&resourceVersionMatch=Exact"
    with pytest.raises(errors.StatusError) as caught:
        api.request("GET", path)
    assert caught.value.code == 410


def test_addresses_and_files(tmp_path: pathlib.Path) -> None:
    with server.APIServer() as running:
        assert running.url.startswith("http://127.0.0.1:")
        assert running.tls_url.startswith("https://127.0.0.1:")
        assert b"BEGIN CERTIFICATE" in running.ca_pem
        plain = running.kubeconfig(tmp_path / "plain", tls=False).read_text()
        assert running.url in plain
        assert running.admin_token in plain
        token = secrets.token_hex(8)
        secured = running.kubeconfig(tmp_path / "secured", token=token).read_text()
        assert running.tls_url in secured
        assert token in secured
        assert running.admin_token not in secured


def test_without_tls() -> None:
    with server.APIServer(tls_port=None) as running:
        assert running.ca_pem == b""
        with pytest.raises(KeyError):
            _ = running.tls_url


def test_rights_only_if_wanted() -> None:
    for rbac, code in ((False, 200), (True, 403)):
        with server.APIServer(tls_port=None, rbac=rbac) as running:
            token = secrets.token_hex(8)
            running.add_user(token, "jane")
            made = client.Client(running.url, token)
            assert made.request("GET", "/api/v1/pods").code == code
            made.close()


def test_the_control_paths_are_for_administrators() -> None:
    with server.APIServer(tls_port=None) as running:
        stranger, admin = (
            client.Client(running.url),
            client.Client(running.url, running.admin_token),
        )
        assert stranger.request("POST", "/devkit/compact").code == 401
        assert admin.request("POST", "/devkit/compact").code == 200
        for made in (stranger, admin):
            made.close()


def test_a_start_that_fails_can_be_stopped() -> None:
    with server.APIServer(tls_port=None) as first:
        second = server.APIServer(port=int(first.url.rpartition(":")[2]), tls_port=None)
        with pytest.raises(OSError, match="in use"):
            second.start()
        second.stop()
