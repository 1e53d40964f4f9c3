"""Service account tokens as kubelet hands them to a driver.

Kubelet asks the API server for one token per audience of the CSIDriver object, bound
to the pod, and keeps it until four fifths of its life are over. Here a `Mint` stands
in for the API server.
"""

import dataclasses
import datetime
import json
import time
from collections.abc import Awaitable, Callable, Sequence

from devkit.kms import review
from devkit.kubelet import objects

REFRESH_AT = 0.8
"""Part of a token's life after which kubelet asks for a new one."""

MAX_AGE_S = 24 * 3600.0
"""Age at which kubelet replaces even a long-lived token."""


@dataclasses.dataclass(frozen=True, slots=True)
class Token:
    """A signed token and when it ends; `expires_s` is in seconds since the epoch."""

    text: str = dataclasses.field(repr=False)
    expires_s: float


class MintFailed(Exception):
    """No token could be made; that publish attempt fails, a later one may not."""


Mint = Callable[[objects.Pod, objects.TokenRequest], Awaitable[Token]]
"""Makes a token for a pod, or raises MintFailed."""


def mint_from(issuer: review.PodTokens, clock: Callable[[], float] = time.time) -> Mint:
    """Let the issuer that the stand-in KMS trusts make the tokens."""

    async def mint(pod: objects.Pod, request: objects.TokenRequest) -> Token:
        expires_s = int(clock()) + request.expiration_s
        text = issuer.issue_token(
            pod.namespace,
            pod.service_account,
            request.audience or None,
            request.expiration_s,
            pod.uid,
        )
        return Token(text, expires_s)

    return mint


@dataclasses.dataclass(frozen=True, slots=True)
class _Kept:
    token: Token
    made_s: float


class Cache:
    """Keeps the tokens of each pod until they are due for a new one."""

    def __init__(self, mint: Mint, clock: Callable[[], float] = time.time) -> None:
        self._mint = mint
        self._clock = clock
        self._kept: dict[tuple[str, objects.TokenRequest], _Kept] = {}

    async def encoded(
        self, pod: objects.Pod, requests: Sequence[objects.TokenRequest]
    ) -> str | None:
        """Return the JSON text for the driver: audience → token and expirationTimestamp.

        Returns:
            Compact JSON with sorted keys; None when nothing is requested.
        """
        if not requests:
            return None
        tokens = {request.audience: await self._token(pod, request) for request in requests}
        return json.dumps(
            {
                audience: {
                    "token": tokens[audience].text,
                    "expirationTimestamp": timestamp(tokens[audience].expires_s),
                }
                for audience in sorted(tokens)
            },
            separators=(",", ":"),
        )

    def forget(self, pod: objects.Pod) -> None:
        """Drop the tokens of a pod that is gone."""
        for key in [key for key in self._kept if key[0] == pod.uid]:
            del self._kept[key]

    async def _token(self, pod: objects.Pod, request: objects.TokenRequest) -> Token:
        key = pod.uid, request
        now = self._clock()
        kept = self._kept.get(key)
        if kept is not None:
            life_s = kept.token.expires_s - kept.made_s
            if now < kept.made_s + min(REFRESH_AT * life_s, MAX_AGE_S):
                return kept.token
        token = await self._mint(pod, request)
        self._kept[key] = _Kept(token, now)
        return token


def timestamp(seconds: float) -> str:
    """Write a time as Kubernetes does: RFC 3339, UTC, whole seconds."""
    moment = datetime.datetime.fromtimestamp(int(seconds), datetime.UTC)
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")
