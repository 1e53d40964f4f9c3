"""Requests and answers, free of any web server.

Source: kms-http-api §0.1 (JSON, trailing slash), §2.11 (ETag).
"""

import base64
import functools
import hashlib
import json
import urllib.parse
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from devkit.kms import errors


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """One request as it came.

    Args:
        target: request target, still percent-encoded.
        headers: names in lower case.
        address: client's IP address.
        body: None where it was longer than the server takes.
    """

    method: str
    target: str
    headers: Mapping[str, str]
    address: str
    body: bytes | None = field(default=b"", repr=False)

    @property
    def path(self) -> str:
        """The path, still percent-encoded, without the trailing slash the server ignores."""
        path = self.target.partition("?")[0]
        return path.rstrip("/") or "/"

    @property
    def query(self) -> Sequence[tuple[str, str]]:
        """The decoded query, in order, blank values kept."""
        return _parse_query(self.target.partition("?")[2])


@dataclass(frozen=True, slots=True, kw_only=True)
class Delivery:
    """How an answer is sent; the default is whole and at once.

    Args:
        reset: reset the connection instead of sending anything.
        truncate_after_bytes: close the connection after so much of the announced body.
        chunk_bytes: send the body in pieces of this size.
        chunk_interval_s: pause before each piece.
    """

    reset: bool = False
    truncate_after_bytes: int | None = None
    chunk_bytes: int | None = None
    chunk_interval_s: float = 0.0


WHOLE = Delivery()
_ENCODER = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"))


@dataclass(frozen=True, slots=True, kw_only=True)
class Response:
    """One answer. Content-Length and Date are the web server's business."""

    status: int
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = field(default=b"", repr=False)
    delivery: Delivery = WHOLE


def json_response(
    status: int, document: errors.JSON, headers: Mapping[str, str], none_match: str | None
) -> Response:
    """Answer with JSON and its ETag, or with 304 where the client has that very body.

    Args:
        none_match: the request's If-None-Match; compared whole, with or without `W/`.
    """
    body = _ENCODER.encode(document).encode()
    digest = hashlib.sha1(body, usedforsecurity=False).digest()
    etag = f'"{base64.b64encode(digest).decode()}"'
    if none_match in (etag, f"W/{etag}"):
        return Response(status=304, headers={**headers, "etag": etag})
    return Response(
        status=status,
        headers={**headers, "content-type": "application/json; charset=utf-8", "etag": etag},
        body=body,
    )


def html_response() -> Response:
    """Answer 200 with a page: what the server has for any GET outside /api."""
    return Response(
        status=200,
        headers={"content-type": "text/html; charset=utf-8"},
        body=b"<!doctype html><html><head><title>KMS</title></head><body></body></html>",
    )


# A storm asks for the same few things many times; parsing is a fifth of what an answer costs.
@functools.lru_cache(maxsize=1024)
def _parse_query(query: str) -> tuple[tuple[str, str], ...]:
    return tuple(urllib.parse.parse_qsl(query, keep_blank_values=True))
