"""What a provider is asked for a volume, at its first publish and at each refresh alike."""

import base64
import datetime
import json
import urllib.parse
from collections.abc import Iterable, Iterator, Mapping

from secrets_store.log import Sealed
from secrets_store.model import provider_class, volume
from secrets_store.providers import client

MIN_CONFIDENTIAL = 6
"""Shorter texts are not looked for in error messages: they would match by chance."""
MAX_AUDITED = 50
_HTML = {ord(x): f"\\u{ord(x):04x}" for x in "<>&"}
"""Go's JSON encoder writes these so, in whatever text."""


def build(
    chosen: provider_class.ProviderClass,
    *,
    target_path: str,
    attributes: Mapping[str, str],
    handover: volume.Handover,
    objects: Mapping[str, str],
    allow_overrides: bool,
) -> client.Question:
    """Put together one question.

    Args:
        attributes: kubelet's of the volume.
        objects: Object id → version that the volume shows; empty on a first publish.
    """
    return client.Question(
        provider=chosen.provider,
        attributes=Sealed(
            volume.provider_attributes(
                chosen.parameters, attributes, handover, allow_overrides=allow_overrides
            )
        ),
        secrets=Sealed(volume.provider_secrets(handover)),
        target_path=target_path,
        objects=objects,
        confidential=Sealed(tuple(_confidential(handover))),
    )


def handover_ends_s(handover: volume.Handover) -> float:
    """Return the Unix time at which the first token ends; infinity without tokens."""
    ends = [
        end
        for entry in _tokens(handover).values()
        if (end := _timestamp_s(entry.get("expirationTimestamp"))) is not None
    ]
    return min(ends, default=float("inf"))


def audit(objects: Mapping[str, str]) -> str:
    """Return ids and versions for the audit line, bounded; neither is secret."""
    listed = [f"{key}@{value}" for key, value in sorted(objects.items())[:MAX_AUDITED]]
    if len(objects) > MAX_AUDITED:
        listed.append(f"and {len(objects) - MAX_AUDITED} more")
    return ", ".join(listed)


def _tokens(handover: volume.Handover) -> dict[str, dict[str, object]]:
    """Read kubelet's tokens: audience → {token, expirationTimestamp}; empty if they are no JSON."""
    try:
        found = json.loads(handover.tokens.open() or "{}")
    except ValueError:
        return {}
    if not isinstance(found, dict):
        return {}
    return {key: value for key, value in found.items() if isinstance(value, dict)}


def _timestamp_s(text: object) -> float | None:
    try:
        return datetime.datetime.fromisoformat(str(text)).timestamp()
    except ValueError:
        return None


def _confidential(handover: volume.Handover) -> Iterator[str]:
    tokens = [str(entry.get("token", "")) for entry in _tokens(handover).values()]
    for text in (*tokens, handover.tokens.open(), *handover.secrets.open().values()):
        if len(text) >= MIN_CONFIDENTIAL:
            yield from _forms(text)


def _forms(text: str) -> Iterable[str]:
    """Return a text as it is, and as programs write it into JSON, URLs and base64."""
    plain = text.encode()
    in_json = [json.dumps(text, ensure_ascii=plain_ascii)[1:-1] for plain_ascii in (True, False)]
    return dict.fromkeys(
        (
            text,
            *in_json,
            *(form.translate(_HTML) for form in in_json),
            urllib.parse.quote(text, safe=""),
            urllib.parse.quote_plus(text, safe=""),
            base64.b64encode(plain).decode().rstrip("="),
            base64.urlsafe_b64encode(plain).decode().rstrip("="),
        )
    )
