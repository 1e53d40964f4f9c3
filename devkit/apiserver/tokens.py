"""Service account tokens: signed JWTs, and what the server reads from them again.

Source: kubernetes `pkg/serviceaccount` (claims of bound tokens), RFC 7519, RFC 7518 (ES256).
"""

import base64
import binascii
import hashlib
import json
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, utils

from devkit.apiserver import objects

_COORDINATE_BYTES = 32
SHORTEST_S = 600
DEFAULT_S = 3600
LONGEST_S = 1 << 32


class Rejected(Exception):
    """A token is not one of ours, or no longer good; the text says why."""


@dataclass(frozen=True, slots=True)
class Claims:
    """What a valid token says."""

    namespace: str
    account: str
    account_uid: str
    audiences: tuple[str, ...]
    pod: str
    pod_uid: str
    node: str
    expires_s: int
    token_id: str


def _encode(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def _decode(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


class Issuer:
    """Signs tokens with a key made at start and checks them.

    Args:
        url: the `iss` claim, and the audience of tokens asked for without one.
        clock: seconds since the epoch.
    """

    def __init__(self, url: str, clock: Callable[[], float] = time.time) -> None:
        self.url = url
        self._clock = clock
        self._key = ec.generate_private_key(ec.SECP256R1())
        numbers = self._key.public_key().public_numbers()
        self._x = _encode(numbers.x.to_bytes(_COORDINATE_BYTES, "big"))
        self._y = _encode(numbers.y.to_bytes(_COORDINATE_BYTES, "big"))
        self._key_id = _encode(hashlib.sha256(f"{self._x}.{self._y}".encode()).digest())

    def jwks(self) -> objects.Object:
        """Return the public key as a JSON web key set."""
        key = {
            "use": "sig",
            "kty": "EC",
            "kid": self._key_id,
            "crv": "P-256",
            "alg": "ES256",
            "x": self._x,
            "y": self._y,
        }
        return {"keys": [key]}

    def issue(
        self,
        account: objects.Object,
        audiences: list[str],
        lifetime_s: int,
        bound_to: objects.Object | None = None,
        node: dict[str, str] | None = None,
    ) -> tuple[str, int]:
        """Return a signed token for a stored ServiceAccount and when it ends (epoch seconds).

        Args:
            account: the ServiceAccount.
            audiences: empty for the server's own.
            lifetime_s: how long it is good.
            bound_to: the stored Pod it ends with; None for a token bound to the account only.
            node: name and, if it is registered, uid of the node that pod is on.
        """
        now = int(self._clock())
        namespace, name = objects.namespace_of(account), objects.name_of(account)
        bound: objects.Object = {"namespace": namespace}
        if node:
            bound["node"] = node
        if bound_to is not None:
            bound["pod"] = {"name": objects.name_of(bound_to), "uid": objects.uid_of(bound_to)}
        bound["serviceaccount"] = {"name": name, "uid": objects.uid_of(account)}
        claims: objects.Object = {
            "aud": audiences or [self.url],
            "exp": now + lifetime_s,
            "iat": now,
            "iss": self.url,
            "jti": str(uuid.uuid4()),
            "kubernetes.io": bound,
            "nbf": now,
            "sub": f"system:serviceaccount:{namespace}:{name}",
        }
        return self._sign(claims), now + lifetime_s

    def _sign(self, claims: objects.Object) -> str:
        header = {"alg": "ES256", "kid": self._key_id}
        signed = f"{_encode(objects.encode(header))}.{_encode(objects.encode(claims))}"
        der = self._key.sign(signed.encode(), ec.ECDSA(hashes.SHA256()))
        r, s = utils.decode_dss_signature(der)
        raw = r.to_bytes(_COORDINATE_BYTES, "big") + s.to_bytes(_COORDINATE_BYTES, "big")
        return f"{signed}.{_encode(raw)}"

    def check(self, token: str) -> Claims:
        """Return the claims of a token that this issuer signed and that is in its time.

        Raises: Rejected: it is not such a token.
        """
        try:
            head, payload, signature = token.split(".")
            raw = _decode(signature)
            claims = json.loads(_decode(payload))
        except (ValueError, binascii.Error):
            raise Rejected("invalid bearer token") from None
        r = int.from_bytes(raw[:_COORDINATE_BYTES], "big")
        s = int.from_bytes(raw[_COORDINATE_BYTES:], "big")
        try:
            self._key.public_key().verify(
                utils.encode_dss_signature(r, s),
                f"{head}.{payload}".encode(),
                ec.ECDSA(hashes.SHA256()),
            )
        except InvalidSignature:
            raise Rejected("invalid bearer token") from None
        return self._read(claims)

    def _read(self, claims: dict[str, Any]) -> Claims:
        now = self._clock()
        if now >= claims["exp"]:
            raise Rejected("service account token has expired")
        if now < claims["nbf"]:
            raise Rejected("service account token is not valid yet")
        bound = claims["kubernetes.io"]
        pod = bound.get("pod") or {}
        return Claims(
            bound["namespace"],
            bound["serviceaccount"]["name"],
            bound["serviceaccount"]["uid"],
            tuple(claims["aud"]),
            pod.get("name", ""),
            pod.get("uid", ""),
            (bound.get("node") or {}).get("name", ""),
            claims["exp"],
            claims["jti"],
        )
