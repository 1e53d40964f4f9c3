from typing import Any

import pytest

from provider_kms import settings
from provider_kms.model import site


@pytest.mark.parametrize(
    ("field", "value", "flag"),
    [
        ("api_version", "v5", "-api-version"),
        ("cache_bound_s", -1.0, "-cache-bound"),
        ("cache_bound_s", 301.0, "-cache-bound"),
        ("refresh_bound_s", -1.0, "-refresh-bound"),
        ("mount_timeout_s", 0.5, "-mount-timeout"),
        ("mount_timeout_s", 111.0, "-mount-timeout"),
        ("login_max_age_s", 0.0, "-login-max-age"),
        ("max_message_bytes", 10, "-max-message-size"),
        ("endpoint", "kms.sock", "-endpoint"),
        ("endpoint", "@kms", "-endpoint"),
        ("endpoint", "tcp://1.2.3.4:5", "-endpoint"),
        ("alias_endpoint", "x", "-alias-endpoint"),
        ("health_port", "", "-health-port"),
        ("health_port", "65536", "-health-port"),
        ("health_port", "h:", "-health-port"),
        ("health_port", "٣", "-health-port"),
        ("kms_url", "http://kms.example.com", "-kms-url"),
        ("kubernetes_url", "x", "-kubernetes-url"),
        ("allowed_hosts", ("*",), "-allowed-hosts"),
    ],
)
def test_faults_name_the_flag(field: str, value: Any, flag: str) -> None:
    with pytest.raises(settings.Invalid) as caught:
        settings.Settings(**{field: value})
    assert str(caught.value).startswith(flag)


@pytest.mark.parametrize(
    ("text", "url"),
    [
        ("/run/kms.sock", "unix:///run/kms.sock"),
        ("unix:/run/kms.sock", "unix:///run/kms.sock"),
        ("unix:///run//kms.sock", "unix:///run/kms.sock"),
    ],
)
def test_sockets(text: str, url: str) -> None:
    assert settings.socket_url("-endpoint", text) == url


@pytest.mark.parametrize(
    ("text", "address"),
    [("8080", (None, 8080)), ("127.0.0.1:0", ("127.0.0.1", 0)), ("[::1]:80", ("::1", 80))],
)
def test_health_addresses(text: str, address: tuple[str | None, int]) -> None:
    assert settings.Settings(health_port=text).health_address() == address


def test_allowed_hosts_are_compared_in_lower_case() -> None:
    policy = settings.Settings(allowed_hosts=("KMS.Example.com",)).policy()

    assert site.parse_all("kmsUrl", "https://kms.example.com", policy)


def test_an_empty_default_makes_classes_name_their_kms() -> None:
    assert settings.Settings(kms_url="").policy().default == ""


def test_a_file_is_laid_over_the_flags() -> None:
    flags = settings.Settings(verbosity=2, cache_bound_s=9.0)
    text = """
    kms-url: https://a.example.com,https://b.example.com
    allowed-hosts: [a.example.com, b.example.com]
    allow-plain-http: true
    cache-bound: 2s
    max-message-size: 8388608
    """

    found = settings.overlay(flags, text)

    assert found.kms_url == "https://a.example.com,https://b.example.com"
    assert found.allowed_hosts == ("a.example.com", "b.example.com")
    assert found.allow_plain_http is True
    assert found.cache_bound_s == 2.0
    assert found.max_message_bytes == 8388608
    assert found.verbosity == 2


def test_an_empty_file_changes_nothing() -> None:
    flags = settings.Settings(verbosity=2)

    assert settings.overlay(flags, "# nothing\n") == flags


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("endpoint: /x", "endpoint"),
        ("allow-default-audience: true", "allow-default-audience"),
        ("cache-bond: 1s", "cache-bond"),
        ("cache-bound: 5", "cache-bound"),
        ("cache-bound: {a: b}", "cache-bound"),
        ("allowed-hosts: [[a]]", "allowed-hosts"),
        ("v: many", "v"),
        ("- a", "map"),
        ("{", "line"),
        ("cache-bound: 10m", "-cache-bound"),
    ],
)
def test_a_file_with_a_fault_is_refused_whole(text: str, word: str) -> None:
    with pytest.raises(settings.Invalid) as caught:
        settings.overlay(settings.Settings(), text)
    assert word in str(caught.value)
