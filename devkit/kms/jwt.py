"""JSON Web Tokens signed with HS256: enough for the tokens that the stand-ins issue themselves.

Source: RFC 7515 (compact serialization), RFC 7519 (claims). Claims are not judged here: whoever
decodes knows which clock and which audience count.
"""

import base64
import binascii
import functools
import hashlib
import hmac
import json
from collections.abc import Mapping

Claims = Mapping[str, object]

_HEADER = {"alg": "HS256", "typ": "JWT"}


class Malformed(Exception):
    """The text is not a token signed by this key. Never carries the token."""


def encode(claims: Claims, key: bytes) -> str:
    """Sign claims with HMAC-SHA256."""
    signed = f"{_pack(_HEADER)}.{_pack(claims)}"
    return f"{signed}.{_signature(signed, key)}"


# Each request of a mount shows the same token; checking it is a quarter of what an answer costs.
@functools.lru_cache(maxsize=4096)
def decode(token: str, key: bytes) -> Claims:
    """Check form, algorithm and signature and return the claims, expired or not.

    Raises: Malformed: the token is not three parts, not HS256, or signed with another key.
    """
    signed, dot, signature = token.rpartition(".")
    header, inner_dot, payload = signed.partition(".")
    if not dot or not inner_dot or "." in payload:
        raise Malformed("not three parts")
    if _unpack(header).get("alg") != "HS256":
        raise Malformed("not HS256")
    if not hmac.compare_digest(signature.encode(), _signature(signed, key).encode()):
        raise Malformed("wrong signature")
    return _unpack(payload)


def _signature(signed: str, key: bytes) -> str:
    return _text(hmac.digest(key, signed.encode(), hashlib.sha256))


def _pack(part: Claims) -> str:
    return _text(json.dumps(part, separators=(",", ":")).encode())


def _unpack(part: str) -> Claims:
    try:
        found = json.loads(base64.urlsafe_b64decode(part + "=" * (-len(part) % 4)))
    except (binascii.Error, ValueError) as e:
        raise Malformed("a part is not base64url JSON") from e
    if not isinstance(found, dict):
        raise Malformed("a part is not an object")
    return found


def _text(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()
