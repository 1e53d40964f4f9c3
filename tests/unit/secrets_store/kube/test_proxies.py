import secrets

import pytest

from secrets_store import errors
from secrets_store.kube import proxies

PROXY = "http://127.0.0.1:3128"


def choose(server: str, no_proxy: str = "", **environ: str) -> str:
    return proxies.choose(server, {"HTTPS_PROXY": PROXY, "NO_PROXY": no_proxy, **environ})


@pytest.mark.parametrize(
    ("server", "no_proxy"),
    [
        ("https://10.96.0.1:443", "*"),
        ("https://10.96.0.1:443", "10.96.0.1"),
        ("https://10.96.0.1:443", "example.org, 10.96.0.0/12"),
        ("https://10.96.0.1:6443", "10.96.0.1:6443"),
        ("https://[fd00::1]:443", "fd00::/8"),
        ("https://[fd00::1]:443", "fd00::1"),
        ("https://[fd00::1]:443", "[fd00::1]:443"),
        ("https://api.example.org", "example.org"),
        ("https://api.example.org", ".example.org"),
        ("https://api.example.org", "*.example.org"),
        ("https://api.example.org", "API.example.org"),
        ("https://api.example.org", "api.example.org:443"),
        ("https://localhost:6443", ""),
        ("https://127.0.0.1:6443", ""),
        ("https://[::1]:6443", ""),
        ("http://10.96.0.1:80", ""),
    ],
)
def test_server_reached_directly(server: str, no_proxy: str) -> None:
    assert choose(server, no_proxy) == ""


@pytest.mark.parametrize(
    ("server", "no_proxy"),
    [
        ("https://10.96.0.1:443", ""),
        ("https://10.96.0.1:443", "10.96.0.2,10.97.0.0/16,nonsense/33"),
        ("https://10.96.0.1:443", "10.96.0.1:6443"),
        ("https://api.example.org", "ample.org"),
        ("https://example.org", ".example.org"),
        ("https://api.example.org", "api.example.org:6443"),
    ],
)
def test_server_reached_through_the_proxy(server: str, no_proxy: str) -> None:
    assert choose(server, no_proxy) == PROXY


def test_names_of_variables() -> None:
    assert proxies.choose("https://10.0.0.1", {}) == ""
    assert proxies.choose("https://10.0.0.1", {"https_proxy": PROXY}) == PROXY
    assert proxies.choose("https://10.0.0.1", {"HTTP_PROXY": PROXY}) == ""
    lower = {"HTTPS_PROXY": PROXY, "no_proxy": "10.0.0.1"}
    assert proxies.choose("https://10.0.0.1", lower) == ""


def test_proxy_without_a_scheme_speaks_http() -> None:
    assert choose("https://10.0.0.1", HTTPS_PROXY="127.0.0.1:3128") == PROXY


@pytest.mark.parametrize("scheme", ["https", "socks5"])
def test_proxy_of_another_kind_is_refused_without_its_password(scheme: str) -> None:
    password = secrets.token_hex(8)
    with pytest.raises(errors.ConfigurationError, match=scheme) as caught:
        choose("https://10.0.0.1", HTTPS_PROXY=f"{scheme}://me:{password}@127.0.0.1:1")
    assert password not in str(caught.value)


@pytest.mark.parametrize("rest", ["127.0.0.1:99999", "127.0.0.1:x", "[::1", ""])
def test_proxy_that_is_no_url_is_not_shown(rest: str) -> None:
    secret = secrets.token_hex(8)
    with pytest.raises(errors.ConfigurationError, match="proxy") as caught:
        proxies.choose("https://10.0.0.1", {"HTTPS_PROXY": f"http://me:{secret}@{rest}"})
    assert secret not in f"{caught.value}{caught.value.__context__}"


def test_server_that_is_no_url() -> None:
    with pytest.raises(errors.ConfigurationError, match="not the URL of an API server"):
        choose("https://10.96.0.1:tcp://10.96.0.1:443")
