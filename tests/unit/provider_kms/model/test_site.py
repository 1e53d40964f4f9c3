import pytest
from hypothesis import given
from hypothesis import strategies as st

from provider_kms import errors
from provider_kms.model import site

ANY = site.Policy(plain_http=True)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("https://kms.example.com", "https://kms.example.com/api"),
        ("  https://kms.example.com//  ", "https://kms.example.com/api"),
        ("https://kms.example.com/api", "https://kms.example.com/api"),
        ("https://kms.example.com/api/", "https://kms.example.com/api"),
        ("https://kms.example.com/kms", "https://kms.example.com/kms/api"),
        ("HTTPS://KMS.Example.com:443", "https://kms.example.com/api"),
        ("https://kms.example.com:8443", "https://kms.example.com:8443/api"),
        ("https://kms.example.com.", "https://kms.example.com/api"),
        ("https://[2001:db8::1]:9443", "https://[2001:db8::1]:9443/api"),
        ("http://10.0.0.1:80", "http://10.0.0.1/api"),
    ],
)
def test_addresses(text: str, shown: str) -> None:
    assert str(site.parse("kmsUrl", text, ANY)) == shown


@pytest.mark.parametrize(
    "text",
    [
        "kms.example.com",
        "ftp://kms.example.com",
        "https://",
        "https:///path",
        "https://user@kms.example.com",
        "https://user:pw@kms.example.com",
        "https://kms.example.com?x=1",
        "https://kms.example.com/?",
        "https://kms.example.com#x",
        "https://kms.example.com:99999",
        "https://kms.example.com:0",
        "https://kms.example.com:x",
        "https://kms example.com",
        "https://-kms.example.com",
        "https://[::1",
        "https://[fe80::1%25eth0]",
        "https://kms.example.com/a b",
        "https://kms.example.com/é",
        "https://kms.example.com/\r\nx: y",
    ],
)
def test_no_addresses(text: str) -> None:
    with pytest.raises(errors.InvalidRequest) as caught:
        site.parse("kmsUrl", text, ANY)
    assert "pw" not in str(caught.value)


@given(st.text(max_size=60))
def test_any_text_is_read_or_refused(text: str) -> None:
    try:
        found = site.parse_all("kmsUrl", text, ANY)
    except errors.ProviderError:
        return
    for one in found:
        assert one.base.endswith("/api")
        assert one.authority.isascii()
        assert not set(f"{one.authority}{one.base}") & set(" \r\n\0")


@pytest.mark.parametrize("host", ["localhost", "a.localhost", "127.0.0.1", "127.9.9.9", "::1"])
def test_this_machine(host: str) -> None:
    assert site.is_loopback(host)


@pytest.mark.parametrize("host", ["10.0.0.1", "example.com", "localhost.example.com", "::2"])
def test_another_machine(host: str) -> None:
    assert not site.is_loopback(host)


def test_plain_http_to_this_machine_only() -> None:
    policy = site.Policy()

    assert site.parse("kmsUrl", "http://127.0.0.1:1", policy).port == 1
    with pytest.raises(errors.InvalidRequest, match="allow-plain-http"):
        site.parse("kmsUrl", "http://kms.example.com", policy)


def test_several_addresses() -> None:
    text = "https://a.example.com, https://b.example.com,, https://a.example.com/"

    assert [one.host for one in site.parse_all("kmsUrl", text, ANY)] == [
        "a.example.com",
        "b.example.com",
    ]


@pytest.mark.parametrize("text", ["", " , ", ",".join(f"https://h{n}" for n in range(9))])
def test_none_or_too_many(text: str) -> None:
    with pytest.raises(errors.InvalidRequest):
        site.parse_all("kmsUrl", text, ANY)


@pytest.mark.parametrize(
    ("pattern", "url", "allowed"),
    [
        ("kms.example.com", "https://kms.example.com", True),
        ("KMS.example.com", "https://kms.example.com:8443", True),
        ("kms.example.com:8443", "https://kms.example.com:8443", True),
        ("kms.example.com:8443", "https://kms.example.com", False),
        ("kms.example.com", "https://kms.example.com.evil.org", False),
        ("*.example.com", "https://kms.example.com", True),
        ("*.example.com", "https://a.b.example.com", True),
        ("*.example.com", "https://example.com", False),
        ("*.example.com", "https://evilexample.com", False),
        ("*.example.com:8443", "https://a.example.com:8443", True),
        ("*.example.com:8443", "https://a.example.com", False),
        ("127.0.0.1", "http://127.0.0.1:5", True),
        ("::1", "http://[::1]:5", True),
        ("[::1]", "http://[::1]:5", True),
        ("[::1]:5", "http://[::1]:5", True),
        ("[::1]:6", "http://[::1]:5", False),
    ],
)
def test_allowed_hosts(pattern: str, url: str, allowed: bool) -> None:
    policy = site.Policy(allowed_hosts=(site.check_pattern(pattern),))

    if allowed:
        assert site.parse_all("kmsUrl", url, policy)
    else:
        with pytest.raises(errors.HostForbidden):
            site.parse_all("kmsUrl", url, policy)


def test_one_forbidden_of_several_is_enough() -> None:
    policy = site.Policy(allowed_hosts=("a.example.com",))

    with pytest.raises(errors.HostForbidden, match=r"b\.example\.com"):
        site.parse_all("kmsUrl", "https://a.example.com,https://b.example.com", policy)


@pytest.mark.parametrize("text", ["", "a b", "*", "*.", "https://a", "a/b", "*.*.a"])
def test_no_pattern(text: str) -> None:
    with pytest.raises(ValueError, match="not a host"):
        site.check_pattern(text)
