"""Every sort of file that people put a certificate or a key in."""

import base64
import datetime
import json
import secrets

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import pkcs12
from cryptography.x509.oid import NameOID
from hypothesis import given
from hypothesis import strategies as st

from secrets_store.model import certificates

Key = rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey
PEM, DER = serialization.Encoding.PEM, serialization.Encoding.DER
FORMS = serialization.PrivateFormat
PLAIN = serialization.NoEncryption()


def certificate(key: Key, name: str = "leaf") -> x509.Certificate:
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now = datetime.datetime.now(datetime.UTC)
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now)
        .not_valid_after(now + datetime.timedelta(days=1))
    )
    algorithm = None if isinstance(key, ed25519.Ed25519PrivateKey) else hashes.SHA256()
    return builder.sign(key, algorithm)


RSA = rsa.generate_private_key(public_exponent=65537, key_size=2048)
EC = ec.generate_private_key(ec.SECP256R1())
ED25519 = ed25519.Ed25519PrivateKey.generate()
KEYS: dict[str, Key] = {"rsa": RSA, "ec": EC, "ed25519": ED25519}
LEAF, ISSUER = certificate(EC), certificate(RSA, "issuer")
LEAF_PEM, ISSUER_PEM = LEAF.public_bytes(PEM), ISSUER.public_bytes(PEM)


def pkcs8(key: Key = EC) -> bytes:
    return key.private_bytes(PEM, FORMS.PKCS8, PLAIN)


def traditional(key: Key = EC) -> bytes:
    return key.private_bytes(PEM, FORMS.TraditionalOpenSSL, PLAIN)


@pytest.mark.parametrize("name", KEYS)
def test_files_of_one_kind_pass_byte_for_byte(name: str) -> None:
    key = KEYS[name]
    chain = b"a line of text\r\n" + certificate(key).public_bytes(PEM) + ISSUER_PEM + b"\n\n"
    assert certificates.unpack(chain).need_certificates() == chain
    windows = pkcs8(key).replace(b"\n", b"\r\n") + b"trailing text"
    assert certificates.unpack(windows).need_key() == windows


def test_parameters_beside_an_ec_key_stay() -> None:
    parameters = b"-----BEGIN EC PARAMETERS-----\nBggqhkjOPQMBBw==\n-----END EC PARAMETERS-----\n"
    for contents in (parameters + traditional(), traditional() + parameters):
        assert certificates.unpack(contents).need_key() == contents


@pytest.mark.parametrize("key_first", [True, False])
def test_certificates_and_key_in_one_file_are_taken_apart(key_first: bool) -> None:
    parts = [b"Bag Attributes\n", LEAF_PEM, ISSUER_PEM]
    parts.insert(0 if key_first else 3, pkcs8())
    bundle = certificates.unpack(b"".join(parts))
    assert bundle.need_certificates() == LEAF_PEM + ISSUER_PEM
    assert bundle.need_key() == pkcs8()


def test_of_several_keys_beside_certificates_the_last_counts() -> None:
    bundle = certificates.unpack(pkcs8(RSA) + LEAF_PEM + pkcs8(EC))
    assert bundle.need_key() == pkcs8(EC)


def test_a_request_or_public_key_is_no_private_key() -> None:
    public = EC.public_key().public_bytes(PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    bundle = certificates.unpack(LEAF_PEM + public)
    with pytest.raises(certificates.Unusable, match="no private key found, the object is PEM with"):
        bundle.need_key()


@pytest.mark.parametrize("password", [b"", b"x"])
def test_pkcs12_is_recognised_and_left_closed(password: bytes) -> None:
    container = pkcs12.serialize_key_and_certificates(
        b"name",
        EC,
        LEAF,
        [ISSUER],
        serialization.BestAvailableEncryption(password) if password else PLAIN,
    )
    assert certificates.pkcs12_of(container) == container
    assert certificates.pkcs12_of(base64.encodebytes(container)) == container
    with pytest.raises(certificates.Unusable, match="no private key found, the object is PKCS#12"):
        certificates.unpack(container).need_key()


@pytest.mark.parametrize("contents", [b"", b"text", LEAF_PEM, LEAF.public_bytes(DER)])
def test_other_files_are_no_pkcs12(contents: bytes) -> None:
    assert certificates.pkcs12_of(contents) is None


def _encrypted(form: serialization.PrivateFormat) -> bytes:
    encryption = serialization.BestAvailableEncryption(secrets.token_hex(8).encode())
    return RSA.private_bytes(PEM, form, encryption)


BAD_KEYS = {
    "encrypted PKCS#8": (_encrypted(FORMS.PKCS8), "the private key is encrypted"),
    "encrypted PKCS#1": (_encrypted(FORMS.TraditionalOpenSSL), "the private key is encrypted"),
    "encrypted, CRLF": (
        _encrypted(FORMS.TraditionalOpenSSL).replace(b"\n", b"\r\n"),
        "the private key is encrypted",
    ),
    "encrypted, with certificate": (
        LEAF_PEM + _encrypted(FORMS.PKCS8),
        "the private key is encrypted, the object is PEM with CERTIFICATE, ENCRYPTED PRIVATE KEY",
    ),
    "OpenSSH": (
        ED25519.private_bytes(PEM, FORMS.OpenSSH, PLAIN),
        "the private key is in OpenSSH's own format",
    ),
    "not base64": (
        b"-----BEGIN PRIVATE KEY-----\n!!!!\n-----END PRIVATE KEY-----\n",
        "the private key is broken",
    ),
    "no DER": (
        b"-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n",
        "the private key is broken",
    ),
    "empty body": (
        b"-----BEGIN PRIVATE KEY-----\n-----END PRIVATE KEY-----\n",
        "the private key is broken",
    ),
    "cut short": (
        pkcs8(RSA).replace(pkcs8(RSA).splitlines()[3] + b"\n", b""),
        "the private key is broken",
    ),
    "certificate only": (LEAF_PEM, "no private key found, the object is PEM with CERTIFICATE"),
    "no end": (pkcs8()[:-10], "PEM with a block that does not end"),
    "escaped": (
        pkcs8().replace(b"\n", rb"\n"),
        r"PEM with the two characters \\n in place of line breaks",
    ),
    "indented": (b"  " + pkcs8().replace(b"\n", b"\n  "), "does not start at the left margin"),
    "JSON": (json.dumps({"key": pkcs8().decode()}).encode(), "the object is JSON"),
    "PEM in base64": (base64.b64encode(pkcs8()), "the object is PEM in base64"),
    "DER": (
        EC.private_bytes(DER, FORMS.PKCS8, PLAIN),
        "the object is DER, which is binary",
    ),
    "DER in base64": (
        base64.b64encode(EC.private_bytes(DER, FORMS.PKCS8, PLAIN)),
        "the object is DER in base64",
    ),
    "text": (b"hunter2", "the object is text"),
    "binary": (b"\xff\x00\x01", "the object is binary data"),
    "empty": (b" \n", "the object is empty"),
    "unknown label": (
        b"-----BEGIN HUNTER2-----\nAAAA\n-----END HUNTER2-----\n",
        "the object is PEM with another label",
    ),
}


@pytest.mark.parametrize("case", BAD_KEYS)
def test_key_that_no_server_could_use_is_named_by_its_format(case: str) -> None:
    contents, told = BAD_KEYS[case]
    with pytest.raises(certificates.Unusable, match=told) as caught:
        certificates.unpack(contents).need_key()
    assert "hunter2" not in str(caught.value).lower()


def test_an_encrypted_key_does_not_cost_the_certificate() -> None:
    bundle = certificates.unpack(LEAF_PEM + _encrypted(FORMS.PKCS8))
    assert bundle.need_certificates() == LEAF_PEM


@pytest.mark.parametrize(
    ("contents", "told"),
    [
        (pkcs8(), "no certificate found, the object is PEM with PRIVATE KEY"),
        (b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", "is broken"),
        (LEAF.public_bytes(DER), "the object is DER"),
        (b"-----BEGIN CERTIFICATE", "PEM with a block that does not end"),
        (b"-----BEGIN X\ny-----\n-----END X\ny-----", "PEM with a block that does not end"),
        (b"{not json", "the object is text"),
        (LEAF_PEM.rstrip() + pkcs8(), "does not start on a line of its own"),
    ],
)
def test_no_certificate(contents: bytes, told: str) -> None:
    with pytest.raises(certificates.Unusable, match=told):
        certificates.unpack(contents).need_certificates()


@pytest.mark.parametrize(
    ("der", "whole"),
    [
        (b"\x30\x00", True),
        (b"\x30\x02ab", True),
        (b"\x30\x81\x80" + bytes(128), True),
        (b"\x30\x82\x01\x00" + bytes(256), True),
        (b"\x30", False),
        (b"\x31\x00", False),
        (b"\x30\x02a", False),
        (b"\x30\x80", False),
        (b"\x30\x85\x00\x00\x00\x00\x00", False),
    ],
)
def test_sequences_are_known_by_their_length(der: bytes, whole: bool) -> None:
    text = base64.b64encode(der).decode()
    contents = f"-----BEGIN PRIVATE KEY-----\n{text}\n-----END PRIVATE KEY-----\n".encode()
    assert bool(certificates.unpack(contents).key) is whole


def test_a_bundle_does_not_show_what_it_holds() -> None:
    shown = repr(certificates.unpack(LEAF_PEM + pkcs8()))
    assert shown == "Bundle(found='PEM with CERTIFICATE, PRIVATE KEY', key_fault='')"


PIECES = [LEAF_PEM, pkcs8(), b"-----BEGIN ", b"-----END ", b"-----", b"\n", b"CERTIFICATE", b"x"]


@given(st.lists(st.sampled_from(PIECES), max_size=8).map(b"".join) | st.binary(max_size=200))
def test_any_file_is_opened_or_refused(contents: bytes) -> None:
    try:
        bundle = certificates.unpack(contents)
    except certificates.Unusable:
        return
    assert b"-----BEGIN PRIVATE KEY-----" not in bundle.certificates
    assert b"-----BEGIN CERTIFICATE-----" not in bundle.key
