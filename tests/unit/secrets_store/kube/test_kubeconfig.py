import base64
import json
import pathlib
import secrets
from typing import Any

import pytest

from secrets_store import errors
from secrets_store.kube import kubeconfig


def document(cluster: dict[str, Any], user: dict[str, Any], **context: str) -> dict[str, Any]:
    return {
        "current-context": "here",
        "contexts": [{"name": "here", "context": {"cluster": "k", "user": "u", **context}}],
        "clusters": [{"name": "k", "cluster": cluster}],
        "users": [{"name": "u", "user": user}],
    }


def write(path: pathlib.Path, content: Any) -> str:
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return str(path)


SERVER = {"server": "https://127.0.0.1:6443"}


def test_inline_data(tmp_path: pathlib.Path) -> None:
    def encoded(text: str) -> str:
        return base64.b64encode(text.encode()).decode()

    cluster = SERVER | {
        "certificate-authority-data": encoded("CA"),
        "tls-server-name": "kubernetes",
        "proxy-url": "http://127.0.0.1:3128",
    }
    user = {"client-certificate-data": encoded("CERT"), "client-key-data": encoded("KEY")}
    path = write(tmp_path / "config", document(cluster, user, namespace="web"))
    config = kubeconfig.load([path], {})
    assert config.server == "https://127.0.0.1:6443"
    assert (config.ca, config.tls_server_name, config.namespace) == ("CA", "kubernetes", "web")
    assert (config.client_certificate, config.client_key.open()) == (b"CERT", b"KEY")
    assert config.proxy == "http://127.0.0.1:3128"


def test_files_are_relative_to_the_kubeconfig(tmp_path: pathlib.Path) -> None:
    (tmp_path / "pki").mkdir()
    for name in ("ca", "cert", "key", "token"):
        (tmp_path / "pki" / name).write_text(name.upper())
    user = {
        "client-certificate": "pki/cert",
        "client-key": str(tmp_path / "pki/key"),
        "tokenFile": "pki/token",
    }
    cluster = SERVER | {"certificate-authority": "pki/ca"}
    config = kubeconfig.load([write(tmp_path / "config", document(cluster, user))], {})
    assert (config.ca, config.client_certificate) == ("CA", b"CERT")
    assert config.client_key.open() == b"KEY"
    assert config.token_file == str(tmp_path / "pki/token")
    assert config.namespace == "default"


def test_yaml_and_other_credentials(tmp_path: pathlib.Path) -> None:
    text = """
current-context: b
contexts:
- name: a
  context: {cluster: other, user: other}
- name: b
  context:
    cluster: k
    user: u
clusters:
- name: k
  cluster:
    server: https://[::1]:6443/
    insecure-skip-tls-verify: true
users:
- name: u
  user: {username: me, password: "123", token: abc}
"""
    config = kubeconfig.load([write(tmp_path / "config", text)], {})
    assert config.server == "https://[::1]:6443"
    assert config.insecure
    assert (config.username, config.password.open()) == ("me", "123")
    assert config.token.open() == "abc"


def test_first_file_to_name_a_thing_has_it(tmp_path: pathlib.Path) -> None:
    first = write(tmp_path / "1", document(SERVER, {"token": "first"}) | {"clusters": []})
    second = write(tmp_path / "2", document({"server": "https://two:1"}, {"token": "second"}))
    config = kubeconfig.load([first, str(tmp_path / "absent"), second], {})
    assert (config.server, config.token.open()) == ("https://two:1", "first")


def test_proxy_from_the_environment(tmp_path: pathlib.Path) -> None:
    path = write(tmp_path / "config", document({"server": "https://10.0.0.1:6443"}, {}))
    assert kubeconfig.load([path], {"HTTPS_PROXY": "127.0.0.1:1"}).proxy == "http://127.0.0.1:1"
    assert kubeconfig.load([path], {}).proxy == ""


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (document(SERVER, {"exec": {"command": "x"}}), "'u' uses exec"),
        (document(SERVER, {"auth-provider": {"name": "x"}}), "'u' uses auth-provider"),
        (document(SERVER, {"as": "system:masters"}), "'u' uses as,"),
        (document(SERVER, {"as-groups": ["g"]}), "'u' uses as-groups"),
        (document(SERVER, {"tokenFile": "absent"}), "absent"),
        (document({}, {}), "no server"),
        (document({"server": "https://127.0.0.1:99999"}, {}), "server is no URL"),
        (document({"server": "https://127.0.0.1:x"}, {}), "server is no URL"),
        (document({"server": "https://[::1"}, {}), "server is no URL"),
        (document({"server": "https://127.0.0.1:1/k8s/clusters/c"}, {}), "path"),
        (document({"server": "https://me:x@127.0.0.1:1"}, {}), "user name"),
        (document(SERVER | {"proxy-url": "socks5://127.0.0.1:1"}, {}), "socks5"),
        (document(SERVER | {"certificate-authority-data": "%"}, {}), "not base64"),
        (document(SERVER | {"certificate-authority": "absent"}, {}), "absent"),
        (
            document(
                SERVER | {"insecure-skip-tls-verify": True, "certificate-authority-data": "QQ=="},
                {},
            ),
            "exclude each other",
        ),
        (document(SERVER, {}) | {"current-context": ""}, "current-context"),
        (document(SERVER, {}) | {"contexts": []}, "'here' is not among the contexts"),
        (document(SERVER, {}) | {"clusters": []}, "'k' is not among the clusters"),
        (document(SERVER, {}) | {"users": []}, "'u' is not among the users"),
        (document(SERVER, {}) | {"users": ["u"]}, "malformed"),
        (document(SERVER, {}) | {"users": 5}, "malformed"),
        (document(SERVER, {}) | {"contexts": {"a": 1}}, "malformed"),
        (document(SERVER, {}) | {"contexts": [{"name": ["a"]}]}, "malformed"),
        (document(SERVER, {}) | {"clusters": [{"cluster": {}}]}, "malformed"),
        ("- a list", "not a YAML mapping"),
    ],
)
def test_what_cannot_be_used_is_named(tmp_path: pathlib.Path, content: Any, words: str) -> None:
    with pytest.raises(errors.ConfigurationError, match=words):
        kubeconfig.load([write(tmp_path / "config", content)], {})


@pytest.mark.parametrize(
    "text", ["token: {secret}: [", 'users: [{{user: {{token: "{secret}', "\t{secret}"]
)
def test_broken_file_is_not_shown(tmp_path: pathlib.Path, text: str) -> None:
    secret = secrets.token_hex(8)
    path = write(tmp_path / "config", text.format(secret=secret))
    with pytest.raises(errors.ConfigurationError) as caught:
        kubeconfig.load([path], {})
    assert secret not in str(caught.value)
    assert caught.value.__context__ is None


def test_malformed_token_is_not_shown(tmp_path: pathlib.Path) -> None:
    secret = secrets.token_hex(8)
    path = write(tmp_path / "config", document(SERVER, {"token": f"{secret}\nx"}))
    with pytest.raises(errors.ConfigurationError, match="malformed") as caught:
        kubeconfig.load([path], {})
    assert secret not in str(caught.value)
