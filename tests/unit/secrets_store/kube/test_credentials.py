import os
import pathlib
import secrets
import ssl
import subprocess
import sys
from typing import Any

import pytest

from secrets_store import errors, log
from secrets_store.kube import credentials

IN_CLUSTER = {"KUBERNETES_SERVICE_HOST": "127.0.0.1", "KUBERNETES_SERVICE_PORT": "6443"}


@pytest.fixture
def account(tmp_path: pathlib.Path) -> pathlib.Path:
    """A service account as kubelet mounts it: files behind two symlinks."""
    (tmp_path / "..1").mkdir()
    for name, text in (("token", "first"), ("namespace", "system\n"), ("ca.crt", "PEM")):
        (tmp_path / "..1" / name).write_text(text)
        (tmp_path / name).symlink_to(f"..data/{name}")
    (tmp_path / "..data").symlink_to("..1")
    return tmp_path


def renew(account: pathlib.Path, token: str) -> None:
    """Swap the token as kubelet does: new directory, symlink renamed over the old one."""
    new = account / f"..{secrets.token_hex(4)}"
    new.mkdir()
    (new / "token").write_text(token)
    (account / "..tmp").symlink_to(new.name)
    (account / "..tmp").rename(account / "..data")


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
    assert credentials.Token(config).get() == "first"
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


def test_token_is_looked_at_once_a_second(account: pathlib.Path, time: Any) -> None:
    token = credentials.Token(
        credentials.Config("https://x", token_file=str(account / "token")), time.clock
    )
    assert token.get() == "first"
    renew(account, "second")
    time.sleep(0.9)
    assert token.get() == "first"
    time.sleep(0.1)
    assert token.get() == "second"


def test_token_refused_is_read_at_once(account: pathlib.Path, time: Any) -> None:
    token = credentials.Token(
        credentials.Config("https://x", token_file=str(account / "token")), time.clock
    )
    assert token.get() == "first"
    assert not token.reload("first")
    renew(account, "second")
    assert token.reload("first")
    assert token.get() == "second"
    assert not token.reload("second")


def test_token_refused_is_read_even_if_the_file_looks_the_same(
    account: pathlib.Path, time: Any
) -> None:
    file = account / "..1" / "token"
    token = credentials.Token(
        credentials.Config("https://x", token_file=str(account / "token")), time.clock
    )
    assert token.get() == "first"
    facts = file.stat()
    file.write_text("other")
    os.utime(file, ns=(facts.st_atime_ns, facts.st_mtime_ns))
    time.sleep(5)
    assert token.get() == "first"
    assert token.reload("first")
    assert token.get() == "other"


@pytest.mark.parametrize("bad", ["", "\n", "a\nb", "ä", "a\0b"])
def test_file_that_is_no_token_leaves_the_last_one(
    account: pathlib.Path, time: Any, bad: str
) -> None:
    token = credentials.Token(
        credentials.Config("https://x", token_file=str(account / "token")), time.clock
    )
    assert token.get() == "first"
    renew(account, bad)
    time.sleep(2)
    assert token.get() == "first"
    (account / "token").unlink()
    time.sleep(2)
    assert token.get() == "first"


def test_fixed_token() -> None:
    token = credentials.Token(credentials.Config("https://x", token=log.Sealed("fixed")))
    assert token.get() == "fixed"
    assert not token.reload("fixed")


def test_config_shows_no_secret() -> None:
    secret = secrets.token_hex(8)
    config = credentials.Config(
        "https://x",
        token=log.Sealed(secret),
        password=log.Sealed(secret),
        client_key=log.Sealed(secret.encode()),
        proxy=f"http://me:{secret}@127.0.0.1:1",
    )
    assert secret not in repr(config)


def test_tls_context_accepts_what_go_accepts(authority: Any) -> None:
    context = credentials.tls_context(credentials.Config("https://x", ca=authority.pem))
    assert context.verify_mode is ssl.CERT_REQUIRED
    assert context.check_hostname
    assert not context.verify_flags & ssl.VERIFY_X509_STRICT
    assert context.verify_flags & ssl.VERIFY_X509_PARTIAL_CHAIN
    assert context.minimum_version is ssl.TLSVersion.TLSv1_2


def test_tls_context_insecure() -> None:
    context = credentials.tls_context(credentials.Config("https://x", insecure=True))
    assert context.verify_mode is ssl.CERT_NONE


def test_unusable_certificates_are_refused_without_a_word_of_them(authority: Any) -> None:
    with pytest.raises(errors.ConfigurationError, match="CA"):
        credentials.tls_context(credentials.Config("https://x", ca="nonsense"))
    one, other = authority.issue("one"), authority.issue("other")
    with pytest.raises(errors.ConfigurationError, match="pair"):
        credentials.tls_context(
            credentials.Config(
                "https://x",
                client_certificate=one.certificate,
                client_key=log.Sealed(other.key),
                ca=authority.pem,
            )
        )


def test_client_key_leaves_no_file_and_no_descriptor(
    authority: Any, tmp_path: pathlib.Path
) -> None:
    pair = authority.issue("one")
    before = set(os.listdir("/proc/self/fd"))
    credentials.tls_context(
        credentials.Config(
            "https://x",
            ca=authority.pem,
            client_certificate=pair.certificate,
            client_key=log.Sealed(pair.key),
        )
    )
    assert set(os.listdir("/proc/self/fd")) == before
