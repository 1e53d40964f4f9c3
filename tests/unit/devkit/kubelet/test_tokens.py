"""Tokens: their form, and when kubelet asks for new ones."""

import base64
import json
from typing import Any

import pytest

from devkit.kms import review
from devkit.kubelet import objects, tokens

POD = objects.Pod("web", "shop", uid="u1", service_account="seller")
KMS = objects.TokenRequest("kms", 1000)


class Clock:
    def __init__(self) -> None:
        self.now_s = 1_767_323_045.0  # 2026-01-02T03:04:05Z

    def __call__(self) -> float:
        return self.now_s


class Mint:
    """Counts; a token's text is its number."""

    def __init__(self, clock: Clock) -> None:
        self.made: list[tuple[objects.Pod, objects.TokenRequest]] = []
        self._clock = clock

    async def __call__(self, pod: objects.Pod, request: objects.TokenRequest) -> tokens.Token:
        self.made.append((pod, request))
        return tokens.Token(str(len(self.made)), self._clock() + request.expiration_s)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def mint(clock: Clock) -> Mint:
    return Mint(clock)


@pytest.fixture
def cache(mint: Mint, clock: Clock) -> tokens.Cache:
    return tokens.Cache(mint, clock)


async def test_nothing_requested_is_no_text_at_all(cache: tokens.Cache) -> None:
    assert await cache.encoded(POD, ()) is None


async def test_the_text_is_compact_and_sorted_by_audience(cache: tokens.Cache) -> None:
    text = await cache.encoded(POD, (KMS, objects.TokenRequest("", 60)))
    assert text == (
        '{"":{"token":"2","expirationTimestamp":"2026-01-02T03:05:05Z"},'
        '"kms":{"token":"1","expirationTimestamp":"2026-01-02T03:20:45Z"}}'
    )


async def test_a_token_serves_until_four_fifths_of_its_life(
    cache: tokens.Cache, mint: Mint, clock: Clock
) -> None:
    first = await cache.encoded(POD, (KMS,))
    clock.now_s += 799
    assert await cache.encoded(POD, (KMS,)) == first
    clock.now_s += 1
    assert await cache.encoded(POD, (KMS,)) != first
    assert len(mint.made) == 2


async def test_no_token_serves_longer_than_a_day(
    cache: tokens.Cache, mint: Mint, clock: Clock
) -> None:
    yearly = (objects.TokenRequest("kms", 365 * 86400),)
    await cache.encoded(POD, yearly)
    clock.now_s += 86399
    await cache.encoded(POD, yearly)
    assert len(mint.made) == 1
    clock.now_s += 1
    await cache.encoded(POD, yearly)
    assert len(mint.made) == 2


async def test_tokens_are_a_pods_own_and_go_with_it(cache: tokens.Cache, mint: Mint) -> None:
    other = objects.Pod("web", "shop", uid="u2")
    for pod in (POD, other):
        await cache.encoded(pod, (KMS,))
    cache.forget(POD)
    for pod in (POD, other):
        await cache.encoded(pod, (KMS,))
    assert [pod.uid for pod, _ in mint.made] == ["u1", "u2", "u1"]


def test_a_token_is_not_in_its_repr() -> None:
    assert "hidden" not in repr(tokens.Token("hidden", 0))


def claims(text: str) -> dict[str, Any]:
    payload = text.split(".")[1]
    found: dict[str, Any] = json.loads(base64.urlsafe_b64decode(payload + "=="))
    return found


async def test_minted_tokens_name_the_account_and_pass_review(clock: Clock) -> None:
    issuer = review.PodTokens(clock=clock)
    token = await tokens.mint_from(issuer, clock)(POD, KMS)
    assert token.expires_s == clock.now_s + 1000
    told = claims(token.text)
    assert (told["sub"], told["aud"], told["exp"]) == (
        "system:serviceaccount:shop:seller",
        ["kms"],
        token.expires_s,
    )
    assert told["kubernetes.io"]["pod"]["uid"] == "u1"
    assert (await issuer.review(token.text, ("kms",))).authenticated


async def test_an_empty_audience_is_the_api_servers(clock: Clock) -> None:
    issuer = review.PodTokens(clock=clock)
    token = await tokens.mint_from(issuer, clock)(POD, objects.TokenRequest(""))
    assert claims(token.text)["aud"] == [review.DEFAULT_AUDIENCE]
