"""Service account tokens as the driver hands them over. Pure.

A token is read only to see whose it says it is; whether that is true is for the KMS to check.
"""

import base64
import json
import re
from collections.abc import Mapping
from typing import Any

from provider_kms import errors, sealed

ATTRIBUTE = "csi.storage.k8s.io/serviceAccount.tokens"
_LARGEST_CHARACTERS = 64 * 1024
_VISIBLE = re.compile(r"[!-~]+")


def parse_all(text: str) -> Mapping[str, sealed.Sealed[str]]:
    """Read ``{"<audience>": {"token": …}}``; entries without a token are left out.

    Raises: errors.InvalidRequest: not such an object; its text quotes nothing of it.
    """
    if not text:
        return {}
    try:
        root = json.loads(text)
        entries = root.items()
        found = {name: entry["token"] for name, entry in entries if entry.get("token")}
    except (ValueError, RecursionError, AttributeError, TypeError):
        raise errors.InvalidRequest(ATTRIBUTE, "is not a JSON object of tokens") from None
    for token in found.values():
        if not isinstance(token, str) or not usable(token):
            raise errors.InvalidRequest(ATTRIBUTE, "has a token that is no plain ASCII text")
    return {name: sealed.Sealed(token) for name, token in found.items()}


def usable(token: str) -> bool:
    """Tell whether a text can travel as a token: visible ASCII, not endlessly long."""
    return len(token) <= _LARGEST_CHARACTERS and _VISIBLE.fullmatch(token) is not None


def subject(token: str) -> str | None:
    """Return what a JSON web token says in ``sub``, unverified; None if it says nothing.

    Source: RFC 7519 section 4.1.2; Kubernetes writes ``system:serviceaccount:<ns>:<name>``.
    """
    parts = token.split(".")
    if len(parts) != 3:
        return None
    try:
        padded = parts[1] + "=" * (-len(parts[1]) % 4)
        claims: Any = json.loads(base64.urlsafe_b64decode(padded))
    except (ValueError, RecursionError):
        return None
    said = claims.get("sub") if isinstance(claims, dict) else None
    return said if isinstance(said, str) else None
