"""The program that opens a container, run as a file as the driver runs it."""

import datetime
import json
import pathlib
import secrets
import signal
import subprocess
import sys

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import pkcs12
from cryptography.x509 import oid

from secrets_store.volumes import pkcs12_child

pytestmark = pytest.mark.timeout(30)

KEY = ec.generate_private_key(ec.SECP256R1())
PEM, PLAIN = serialization.Encoding.PEM, serialization.NoEncryption()


def certificate(name: str) -> x509.Certificate:
    subject = x509.Name([x509.NameAttribute(oid.NameOID.COMMON_NAME, name)])
    now = datetime.datetime.now(datetime.UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(KEY.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now)
        .not_valid_after(now + datetime.timedelta(days=1))
        .sign(KEY, hashes.SHA256())
    )


LEAF, ISSUER = certificate("leaf"), certificate("issuer")


def container(
    key: ec.EllipticCurvePrivateKey | None = KEY,
    leaf: x509.Certificate | None = LEAF,
    others: tuple[x509.Certificate, ...] = (ISSUER,),
    password: str = "",
) -> bytes:
    encryption = serialization.BestAvailableEncryption(password.encode()) if password else PLAIN
    return pkcs12.serialize_key_and_certificates(b"name", key, leaf, list(others), encryption)


def run(contents: bytes, cpu_limit_s: int = 5) -> subprocess.CompletedProcess[bytes]:
    program = pathlib.Path(pkcs12_child.__file__)
    return subprocess.run(
        [sys.executable, "-I", program, str(cpu_limit_s)],
        input=contents,
        capture_output=True,
        env={},
    )


def pem(*certificates: x509.Certificate) -> str:
    return b"".join(one.public_bytes(PEM) for one in certificates).decode()


KEY_PEM = KEY.private_bytes(PEM, serialization.PrivateFormat.TraditionalOpenSSL, PLAIN).decode()


@pytest.mark.parametrize(
    ("contents", "certificates", "key"),
    [
        (container(), pem(LEAF, ISSUER), KEY_PEM),
        (container(key=None), pem(LEAF, ISSUER), ""),
        (container(leaf=None, others=()), "", KEY_PEM),
    ],
    ids=["all", "certificates alone", "key alone"],
)
def test_a_good_container_is_told_in_pem(contents: bytes, certificates: str, key: str) -> None:
    ran = run(contents)

    assert (ran.returncode, ran.stderr) == (0, b"")
    told = json.loads(ran.stdout)
    assert told.keys() == {"certificates", "key"}
    # Certificates without a key have no order of their own in a container.
    assert sorted(told["certificates"].split("-----BEGIN")) == sorted(
        certificates.split("-----BEGIN")
    )
    assert told["key"] == key


def test_the_leaf_comes_first() -> None:
    assert json.loads(run(container()).stdout)["certificates"] == pem(LEAF, ISSUER)


@pytest.mark.parametrize(
    "contents",
    [
        b"",
        secrets.token_hex(200).encode(),
        KEY_PEM.encode(),
        container()[:-20],
        container(password=secrets.token_hex(8)),
    ],
    ids=["empty", "garbage", "a key in PEM", "cut off", "with a password"],
)
def test_of_all_others_nothing_is_told_but_the_exit_code(contents: bytes) -> None:
    ran = run(contents)

    assert (ran.returncode, ran.stdout, ran.stderr) == (pkcs12_child.CANNOT_OPEN, b"", b"")


def der(tag: int, *parts: bytes) -> bytes:
    contents = b"".join(parts)
    return bytes([tag, 0x84]) + len(contents).to_bytes(4, "big") + contents


def test_a_container_that_asks_for_too_much_ends_with_the_processor_time() -> None:
    sha256 = der(0x30, der(0x06, bytes.fromhex("608648016503040201")), der(0x05))
    rounds = der(0x02, b"\x7f\xff\xff\xff")
    mac = der(0x30, der(0x30, sha256, der(0x04, bytes(32))), der(0x04, bytes(8)), rounds)
    data = der(0x06, bytes.fromhex("2a864886f70d010701"))
    inner = der(0x30, data, der(0xA0, der(0x04, der(0x30))))

    ran = run(der(0x30, b"\x02\x01\x03", inner, mac), cpu_limit_s=1)

    assert -ran.returncode in (signal.SIGXCPU, signal.SIGKILL)
    assert (ran.stdout, ran.stderr) == (b"", b"")
