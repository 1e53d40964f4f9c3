import ssl

import pytest

from devkit.kms import tls
from provider_kms import errors
from provider_kms.http1 import trust


def subjects(context: ssl.SSLContext) -> int:
    return len(context.get_ca_certs())


def test_both_are_added_to_the_systems() -> None:
    system = subjects(trust.context("", ""))
    one, two = tls.Authority("one").certificate_pem, tls.Authority("two").certificate_pem

    assert subjects(trust.context(one, "")) == system + 1
    assert subjects(trust.context(one, two)) == system + 2
    assert subjects(trust.context(one, two + one)) == system + 2


def test_comments_in_any_script_are_passed_over() -> None:
    pem = f"# Főtanúsítvány\n{tls.Authority().certificate_pem}"
    system = subjects(trust.context("", ""))

    assert subjects(trust.only(pem)) == 1
    assert subjects(trust.context(pem, "")) == system + 1
    assert subjects(trust.context("", pem)) == system + 1


def test_only() -> None:
    assert subjects(trust.only(tls.Authority().certificate_pem)) == 1


@pytest.mark.parametrize(
    "context",
    [trust.context("", ""), trust.only(tls.Authority().certificate_pem)],
    ids=["context", "only"],
)
def test_nothing_is_left_unverified(context: ssl.SSLContext) -> None:
    assert context.verify_mode is ssl.CERT_REQUIRED
    assert context.check_hostname
    assert not context.hostname_checks_common_name
    assert context.minimum_version >= ssl.TLSVersion.TLSv1_2


@pytest.mark.parametrize(
    ("trusted", "ca_pem", "parameter"),
    [
        ("x", "", "-ca-file"),
        ("", "x", "caCertificate"),
        ("", "-----BEGIN CERTIFICATE-----é", "caCertificate"),
    ],
)
def test_what_is_no_certificate_is_named(trusted: str, ca_pem: str, parameter: str) -> None:
    with pytest.raises(errors.InvalidRequest, match=parameter):
        trust.context(trusted, ca_pem)


@pytest.mark.parametrize("text", ["x", "", " \n"])
def test_only_of_nothing(text: str) -> None:
    with pytest.raises((ssl.SSLError, ValueError), match="certificate"):
        trust.only(text)
