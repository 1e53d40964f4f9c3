"""PKCS#12 containers, opened by the real child process."""

import asyncio
import datetime
import shutil
import subprocess
import sys
from collections.abc import Coroutine
from typing import Any, TypeVar

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import pkcs12 as library
from cryptography.x509.oid import NameOID

from secrets_store import tasks
from secrets_store.model import certificates
from secrets_store.volumes import pkcs12

T = TypeVar("T")

pytestmark = pytest.mark.timeout(30)

Key = rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey
PEM = serialization.Encoding.PEM
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


EC = ec.generate_private_key(ec.SECP256R1())
KEYS: dict[str, tuple[Key, serialization.PrivateFormat]] = {
    "rsa": (
        rsa.generate_private_key(public_exponent=65537, key_size=2048),
        FORMS.TraditionalOpenSSL,
    ),
    "ec": (EC, FORMS.TraditionalOpenSSL),
    "ed25519": (ed25519.Ed25519PrivateKey.generate(), FORMS.PKCS8),
}
LEAF, ISSUER = certificate(EC), certificate(EC, "issuer")


def container(
    key: Key | None = EC,
    leaf: x509.Certificate | None = LEAF,
    others: tuple[x509.Certificate, ...] = (ISSUER,),
    encryption: serialization.KeySerializationEncryption = PLAIN,
) -> bytes:
    return library.serialize_key_and_certificates(b"name", key, leaf, list(others), encryption)


def der(tag: int, *parts: bytes) -> bytes:
    contents = b"".join(parts)
    length = len(contents).to_bytes(4, "big")
    return bytes([tag, 0x84]) + length + contents


def insatiable() -> bytes:
    """Return a container that asks for 2^31 - 1 rounds of hashing before anything can be read."""
    sha256 = der(0x30, der(0x06, bytes.fromhex("608648016503040201")), der(0x05))
    mac = der(0x30, der(0x30, sha256, der(0x04, bytes(32))), der(0x04, bytes(8)),
              der(0x02, b"\x7f\xff\xff\xff"))  # fmt: skip
    data = der(0x06, bytes.fromhex("2a864886f70d010701"))
    inner = der(0x30, data, der(0xA0, der(0x04, der(0x30))))
    return der(0x30, b"\x02\x01\x03", inner, mac)


@pytest.fixture
async def opener() -> pkcs12.Opener:
    return pkcs12.Opener(tasks.Background())


async def opened(opener: pkcs12.Opener, contents: bytes) -> certificates.Bundle:
    found = (await opener.open_all({"f": contents}))["f"]
    assert isinstance(found, certificates.Bundle)
    return found


async def refused(opener: pkcs12.Opener, contents: bytes) -> str:
    found = (await opener.open_all({"f": contents}))["f"]
    assert isinstance(found, certificates.Unusable)
    return str(found)


@pytest.mark.parametrize("name", KEYS)
async def test_leaf_comes_first_and_the_key_in_its_usual_form(
    opener: pkcs12.Opener, name: str
) -> None:
    key, form = KEYS[name]
    leaf = certificate(key)
    bundle = await opened(opener, container(key, leaf))
    assert bundle.found == "PKCS#12"
    chain = leaf.public_bytes(PEM) + ISSUER.public_bytes(PEM)
    assert bundle.need_certificates() == chain
    assert bundle.need_key() == key.private_bytes(PEM, form, PLAIN)


@pytest.mark.skipif(shutil.which("openssl") is None, reason="needs the openssl program")
@pytest.mark.parametrize("legacy", [False, True])
async def test_containers_of_openssl_old_and_new(opener: pkcs12.Opener, legacy: bool) -> None:
    key = EC.private_bytes(PEM, FORMS.PKCS8, PLAIN)
    made = subprocess.run(
        ["openssl", "pkcs12", "-export", "-passout", "pass:", *(["-legacy"] if legacy else [])],
        input=key + LEAF.public_bytes(PEM),
        stdout=subprocess.PIPE,
        check=True,
    )
    bundle = await opened(opener, made.stdout)
    assert bundle.need_certificates() == LEAF.public_bytes(PEM)
    assert bundle.need_key() == EC.private_bytes(PEM, FORMS.TraditionalOpenSSL, PLAIN)


async def test_part_that_is_not_there_is_told(opener: pkcs12.Opener) -> None:
    bundle = await opened(opener, container(leaf=None, others=()))
    with pytest.raises(certificates.Unusable, match="no certificate found, the object is PKCS#12"):
        bundle.need_certificates()
    bundle = await opened(opener, container(key=None))
    with pytest.raises(certificates.Unusable, match="no private key found, the object is PKCS#12"):
        bundle.need_key()


async def test_broken_container_and_one_with_a_password_are_refused(
    opener: pkcs12.Opener,
) -> None:
    told = "the object is PKCS#12, which is broken or needs a password; only the empty one is tried"
    encryption = serialization.BestAvailableEncryption(b"password")
    assert await refused(opener, container(encryption=encryption)) == told
    assert await refused(opener, container()[:-20]) == told


@pytest.mark.parametrize("limits", [{"timeout_s": 1.5}, {"cpu_limit_s": 1}])
async def test_container_that_asks_for_too_much_is_given_up(limits: dict[str, Any]) -> None:
    opener = pkcs12.Opener(tasks.Background(), **limits)
    assert certificates.pkcs12_of(insatiable()) == insatiable()
    greedy = asyncio.ensure_future(refused(opener, insatiable()))
    honest = asyncio.ensure_future(opened(opener, container()))
    assert await greedy == (
        "the object is PKCS#12, which takes too long to open: "
        "it asks for too many rounds of hashing"
    )
    assert (await honest).key


async def test_turn_that_does_not_come_is_told() -> None:
    background = tasks.Background()
    opener = pkcs12.Opener(background, timeout_s=0.1)
    told = await asyncio.gather(*(refused(opener, insatiable() + bytes(n)) for n in range(8)))
    assert told[0].endswith("too many rounds of hashing")
    assert told[-1] == "the object is PKCS#12, which had to wait too long for its turn"
    # To their end, for a child that is only killed may outlive the loop by a moment.
    await background.drain(10.0)


class Counting(tasks.Background):
    """Notes what is started."""

    def __init__(self) -> None:
        super().__init__()
        self.names: list[str] = []

    def spawn(self, name: str, work: Coroutine[Any, Any, T]) -> "asyncio.Task[T]":
        self.names.append(name)
        return super().spawn(name, work)


async def test_same_container_at_the_same_time_is_opened_once() -> None:
    background = Counting()
    opener = pkcs12.Opener(background)
    one, other = container(), container()
    bundles = await asyncio.gather(*(opened(opener, one) for _ in range(20)), opened(opener, other))
    assert len({bundle.key for bundle in bundles}) == 1
    assert len(background.names) == 2
    await opened(opener, one)
    assert len(background.names) == 3


async def test_caller_that_gives_up_does_not_take_the_others_along(opener: pkcs12.Opener) -> None:
    contents = container()
    first = asyncio.ensure_future(opened(opener, contents))
    second = asyncio.ensure_future(opened(opener, contents))
    await asyncio.sleep(0)
    first.cancel()
    assert (await second).need_key()
    with pytest.raises(asyncio.CancelledError):
        await first


async def test_nothing_to_open_starts_nothing(opener: pkcs12.Opener) -> None:
    assert await opener.open_all({}) == {}


async def test_driver_itself_never_imports_the_library() -> None:
    program = (
        "import asyncio, sys\n"
        "from secrets_store import app, tasks\n"
        "from secrets_store.volumes import pkcs12\n"
        "async def main():\n"
        "    opener = pkcs12.Opener(tasks.Background())\n"
        "    return await opener.open_all({'f': sys.stdin.buffer.read()})\n"
        "bundle = asyncio.run(main())['f']\n"
        "print(bool(bundle.key), 'cryptography' in sys.modules)\n"
    )
    ran = subprocess.run(
        [sys.executable, "-c", program], input=container(), stdout=subprocess.PIPE, check=True
    )
    assert ran.stdout.decode().split() == ["True", "False"]
