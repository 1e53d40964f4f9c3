import os
import pathlib
import ssl
from typing import Any

import pytest

from secrets_store import errors, log
from secrets_store.kube import access, tls


def test_accepts_what_go_accepts(authority: Any) -> None:
    context = tls.context(access.Config("https://x", ca=authority.pem))
    assert context.verify_mode is ssl.CERT_REQUIRED
    assert context.check_hostname
    assert not context.verify_flags & ssl.VERIFY_X509_STRICT
    assert context.verify_flags & ssl.VERIFY_X509_PARTIAL_CHAIN
    assert context.minimum_version is ssl.TLSVersion.TLSv1_2


def test_a_bundle_may_name_its_authorities_in_any_script(authority: Any) -> None:
    context = tls.context(access.Config("https://x", ca=f"# Főtanúsítvány\n{authority.pem}"))
    assert len(context.get_ca_certs()) == 1
    with pytest.raises(errors.ConfigurationError, match="CA"):
        tls.context(access.Config("https://x", ca="Főtanúsítvány"))


def test_insecure() -> None:
    context = tls.context(access.Config("https://x", insecure=True))
    assert context.verify_mode is ssl.CERT_NONE


def test_unusable_certificates_are_refused_without_a_word_of_them(authority: Any) -> None:
    with pytest.raises(errors.ConfigurationError, match="CA"):
        tls.context(access.Config("https://x", ca="nonsense"))
    one, other = authority.issue("one"), authority.issue("other")
    with pytest.raises(errors.ConfigurationError, match="pair"):
        tls.context(
            access.Config(
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
    tls.context(
        access.Config(
            "https://x",
            ca=authority.pem,
            client_certificate=pair.certificate,
            client_key=log.Sealed(pair.key),
        )
    )
    assert set(os.listdir("/proc/self/fd")) == before
