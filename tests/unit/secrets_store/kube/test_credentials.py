import pathlib
import subprocess
import sys

import pytest

from secrets_store import errors
from secrets_store.kube import bearer, credentials

IN_CLUSTER = {"KUBERNETES_SERVICE_HOST": "127.0.0.1", "KUBERNETES_SERVICE_PORT": "6443"}


def kubeconfig(path: pathlib.Path, server: str) -> pathlib.Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(
        f"current-context: c\ncontexts: [{{name: c, context: {{cluster: k}}}}]\n"
        f"clusters: [{{name: k, cluster: {{server: '{server}'}}}}]\n"
    )
    return path


def test_precedence(tmp_path: pathlib.Path, account: pathlib.Path) -> None:
    flag = kubeconfig(tmp_path / "flag", "https://flag:1")
    variable = kubeconfig(tmp_path / "variable", "https://variable:1")
    kubeconfig(tmp_path / ".kube/config", "https://home:1")
    home = {"HOME": str(tmp_path)}
    everything = home | IN_CLUSTER | {"KUBECONFIG": f"{tmp_path}/absent:{variable}"}

    def server(flag: str, environ: dict[str, str]) -> str:
        return credentials.load(flag, environ, service_account_dir=str(account)).server

    assert server(str(flag), everything) == "https://flag:1"
    assert server("", everything) == "https://variable:1"
    assert server("", home | IN_CLUSTER) == "https://127.0.0.1:6443"
    assert server("", home) == "https://home:1"


def test_nothing_found_names_the_place(tmp_path: pathlib.Path) -> None:
    with pytest.raises(errors.ConfigurationError, match=r"/\.kube/config"):
        credentials.load("", {"HOME": str(tmp_path)})


def test_in_cluster(account: pathlib.Path) -> None:
    config = credentials.load("", IN_CLUSTER, service_account_dir=str(account))
    assert (config.ca, config.namespace) == ("PEM", "system")
    assert bearer.Token(config).get() == "first"
    six = IN_CLUSTER | {"KUBERNETES_SERVICE_HOST": "fd00::1"}
    config = credentials.load("", six, service_account_dir=str(account))
    assert config.server == "https://[fd00::1]:6443"
    proxied = IN_CLUSTER | {"KUBERNETES_SERVICE_HOST": "10.0.0.1", "HTTPS_PROXY": "http://[::1]:1"}
    config = credentials.load("", proxied, service_account_dir=str(account))
    assert config.proxy == "http://[::1]:1"


@pytest.mark.parametrize("missing", ["token", "ca.crt"])
def test_in_cluster_without_a_file(account: pathlib.Path, missing: str) -> None:
    (account / missing).unlink()
    with pytest.raises(errors.ConfigurationError, match=missing):
        credentials.load("", IN_CLUSTER, service_account_dir=str(account))


def test_namespace_file_may_be_missing(account: pathlib.Path) -> None:
    (account / "namespace").unlink()
    config = credentials.load("", IN_CLUSTER, service_account_dir=str(account))
    assert config.namespace == "default"


def test_in_cluster_imports_neither_yaml_nor_kubernetes(account: pathlib.Path) -> None:
    program = (
        "import sys\n"
        "from secrets_store.kube import client, credentials, paths, reflector, store\n"
        f"config = credentials.load('', {IN_CLUSTER!r}, service_account_dir={str(account)!r})\n"
        "heavy = {'yaml', 'kubernetes', 'requests', 'pydantic', 'aiohttp', 'watchdog', 'grpc'}\n"
        "print(sorted(heavy & set(sys.modules)))\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert (done.stdout, done.stderr) == ("[]\n", "")
