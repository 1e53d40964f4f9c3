"""Certificates and private keys in what a provider returned, for Secrets of type kubernetes.io/tls.

PEM is passed on byte for byte: what a tool wrote, its readers can read, whatever the algorithm.
Only a file that holds certificates and a key together is taken apart, for a key has no place in
``tls.crt``. Anything else is an error that names the format found and never shows a byte of it.

PKCS#12 is only recognised here, also in base64; ``volumes.pkcs12`` opens it.
Source: RFC 7468 (PEM), RFC 7292 (PKCS#12), RFC 1421 §4.6.1.1 (Proc-Type); upstream splits alike.
"""

import base64
import binascii
import dataclasses
import re

_BEGIN, _DASHES = b"-----BEGIN ", b"-----"
_CERTIFICATE = "CERTIFICATE"
_KEY = "PRIVATE KEY"
_ENCRYPTED = "ENCRYPTED PRIVATE KEY"
_OPENSSH = "OPENSSH PRIVATE KEY"
PKCS12 = "PKCS#12"
_LABELS = frozenset(
    {
        _CERTIFICATE, "X509 CERTIFICATE", "TRUSTED CERTIFICATE", "CERTIFICATE REQUEST",
        "NEW CERTIFICATE REQUEST", "X509 CRL", "PKCS7", "CMS", "DH PARAMETERS", "DSA PARAMETERS",
        "EC PARAMETERS", "PUBLIC KEY", "RSA PUBLIC KEY", _KEY, "RSA PRIVATE KEY",
        "EC PRIVATE KEY", "DSA PRIVATE KEY", _ENCRYPTED, _OPENSSH,
    }
)  # fmt: skip
"""Labels that may be told; any other could be a piece of somebody's secret."""


class Unusable(ValueError):
    """A file does not hold what is wanted of it; the text tells its format, never its contents."""


@dataclasses.dataclass(frozen=True, slots=True)
class Bundle:
    """One file, opened; ``found`` names its format.

    Attributes:
        certificates: PEM; empty if there are none.
        key: PEM of the private key; empty if there is none that a server can use.
        key_fault: Why there is none although something like it is there.
    """

    found: str
    certificates: bytes = dataclasses.field(default=b"", repr=False)
    key: bytes = dataclasses.field(default=b"", repr=False)
    key_fault: str = ""

    def need_certificates(self) -> bytes:
        """Return the certificates. Raises: Unusable: there are none."""
        if not self.certificates:
            raise Unusable(f"no certificate found, the object is {self.found}")
        return self.certificates

    def need_key(self) -> bytes:
        """Return the private key. Raises: Unusable: there is none, or it is encrypted or broken."""
        if not self.key:
            fault = self.key_fault or "no private key found"
            raise Unusable(f"{fault}, the object is {self.found}")
        return self.key


@dataclasses.dataclass(frozen=True, slots=True)
class _Block:
    """One PEM block: its label and its lines as they were, without the last line's end."""

    label: str
    raw: bytes = dataclasses.field(repr=False)

    @property
    def is_key(self) -> bool:
        return self.label.endswith(_KEY)


def unpack(contents: bytes) -> Bundle:
    """Open a file that should hold certificates, a private key or both in PEM.

    Args:
        contents: As the provider returned them.
    Raises: Unusable: PEM that is broken.
    """
    blocks = _blocks(contents)
    return _unpack_pem(contents, blocks) if blocks else Bundle(found=_format(contents))


def pkcs12_of(contents: bytes) -> bytes | None:
    """Return the PKCS#12 container that a file is, plain or in base64; None if it is none."""
    for candidate in (contents, _unbase64(b"".join(contents.split()))):
        if _PKCS12_START.match(candidate):
            return candidate
    return None


def _unpack_pem(contents: bytes, blocks: list[_Block]) -> Bundle:
    found = _told(blocks)
    certificates = [block for block in blocks if block.label == _CERTIFICATE]
    keys = [block for block in blocks if block.is_key]
    if not all(_is_sequence(_der(block)) for block in certificates):
        raise Unusable(f"a certificate is broken, the object is {found}")
    # As upstream: of several keys the last one counts.
    fault = _key_fault(keys[-1]) if keys else ""
    if certificates and keys:
        return Bundle(
            found=found,
            certificates=b"".join(block.raw + b"\n" for block in certificates),
            key=b"" if fault else keys[-1].raw + b"\n",
            key_fault=fault,
        )
    return Bundle(
        found=found,
        certificates=contents if certificates else b"",
        key=contents if keys and not fault else b"",
        key_fault=fault,
    )


def _key_fault(block: _Block) -> str:
    if block.label == _ENCRYPTED or b"\nProc-Type: 4,ENCRYPTED" in block.raw.replace(b"\r", b""):
        return "the private key is encrypted"
    if block.label == _OPENSSH:
        return "the private key is in OpenSSH's own format"
    return "" if _is_sequence(_der(block)) else "the private key is broken"


def _blocks(contents: bytes) -> list[_Block]:
    """Find all PEM blocks in one pass. Raises: Unusable: one does not end."""
    blocks: list[_Block] = []
    at = _find_begin(contents, 0)
    while at >= 0:
        label_ends = contents.find(_DASHES, at + len(_BEGIN))
        label = contents[at + len(_BEGIN) : label_ends]
        end = b"\n-----END " + label + _DASHES
        ends = contents.find(end, label_ends) if label_ends >= 0 else -1
        if ends < 0 or b"\n" in label:
            raise Unusable(f"the object is {_unfinished(contents)}")
        ends += len(end)
        blocks.append(_Block(label.decode("latin-1"), contents[at:ends]))
        at = _find_begin(contents, ends)
    if blocks and contents.count(_BEGIN) != len(blocks):
        # Files put together without a line break between: a key could hide behind a certificate.
        raise Unusable("the object is PEM with a block that does not start on a line of its own")
    return blocks


def _find_begin(contents: bytes, start: int) -> int:
    """Return where the next block begins; only at the start of a line, or nobody would read it."""
    if start == 0 and contents.startswith(_BEGIN):
        return 0
    at = contents.find(b"\n" + _BEGIN, start)
    return at + 1 if at >= 0 else -1


def _unfinished(contents: bytes) -> str:
    if rb"\n" in contents:
        return r"PEM with the two characters \n in place of line breaks"
    return "PEM with a block that does not end"


def _told(blocks: list[_Block]) -> str:
    labels = dict.fromkeys(
        block.label if block.label in _LABELS else "another label" for block in blocks
    )
    return f"PEM with {', '.join(labels)}"


def _der(block: _Block) -> bytes:
    """Return a block's bytes; empty if it is no base64."""
    lines = [line.strip() for line in block.raw.splitlines()[1:-1]]
    # Headers, as on old encrypted keys, end with an empty line.
    body = lines[lines.index(b"") + 1 :] if any(b":" in line for line in lines) else lines
    return _unbase64(b"".join(body))


def _unbase64(text: bytes) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except binascii.Error:
        return b""


def _is_sequence(der: bytes) -> bool:
    """Tell whether bytes are one DER SEQUENCE from first to last, as every key and certificate."""
    if len(der) < 2 or der[0] != 0x30:
        return False
    if der[1] < 0x80:
        return len(der) == 2 + der[1]
    count = der[1] & 0x7F
    return 0 < count <= 4 and len(der) == 2 + count + int.from_bytes(der[2 : 2 + count], "big")


_PKCS12_START = re.compile(rb"\x30(?:[\x00-\x80]|\x81.|\x82..|\x83...|\x84....)\x02\x01\x03", re.S)
"""A SEQUENCE that starts with the INTEGER 3, the only version there is."""


def _format(contents: bytes) -> str:
    """Name the format of a file that is neither PEM nor PKCS#12."""
    if not contents.strip():
        return "empty"
    if pkcs12_of(contents) is not None:
        return PKCS12
    if _is_sequence(contents):
        return "DER, which is binary; PEM or PKCS#12 is needed"
    decoded = _unbase64(b"".join(contents.split()))
    if decoded.startswith(_BEGIN):
        return "PEM in base64"
    if _is_sequence(decoded):
        return "DER in base64"
    ends = contents.strip()
    if ends[:1] + ends[-1:] in (b"{}", b"[]"):
        return "JSON"
    if _BEGIN in contents:
        return "PEM whose first line does not start at the left margin"
    return "text" if _is_text(contents) else "binary data"


def _is_text(contents: bytes) -> bool:
    try:
        contents.decode()
    except UnicodeDecodeError:
        return False
    return b"\0" not in contents
