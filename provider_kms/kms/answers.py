"""JSON bodies of the KMS API, read strictly. Pure.

A body that is not what it should be is an error and never an empty secret: a login page, a proxy's
error in 200, a list where one secret was asked. Unknown fields are ignored.

Source: the KMS's HTTP API, generation A; error bodies are {reqId, statusCode, message, error}.
"""

import json
from collections.abc import Iterable, Mapping
from typing import Any

from provider_kms import errors, sealed
from provider_kms.model import token
from provider_kms.model.secret import Folder, Listing, Secret


class Malformed(Exception):
    """A 2xx body is not what the API promises; the text says what, without content."""


def load(body: bytes) -> Mapping[str, Any]:
    """Return the JSON object of a body.

    Raises: Malformed.
    """
    try:
        root = json.loads(body)
    except (ValueError, RecursionError):
        # The decoder's own message would carry the body along.
        raise Malformed("its body is not JSON") from None
    if not isinstance(root, dict):
        raise Malformed("its body is not a JSON object")
    return root


def refusal(status: int, body: bytes, hide: Iterable[str]) -> errors.Answer | None:
    """Read an error body.

    Args:
        status: HTTP status.
        body: anything at all.
        hide: secrets that must not come back in a message that quotes the request.

    Returns: None if the body is not one of the KMS's own.
    """
    try:
        root = load(body)
    except Malformed:
        return None
    error, message, request = root.get("error"), root.get("message"), root.get("reqId")
    # A framework's answer for a route that does not exist is no word on any secret.
    if not isinstance(error, str) or not error or error == "Not Found":
        return None
    if not isinstance(message, str):
        # A 422 lists its issues; field names help, the values they quote do not.
        message = _issues(message)
    secrets = tuple(hide)
    return errors.Answer(
        status,
        error=_clean(error, secrets, 64),
        message=_clean(message, secrets, errors.TEXT_LIMIT),
        request_id=_clean(request, secrets, 64) if isinstance(request, str) else "",
    )


def login(body: bytes) -> tuple[sealed.Sealed[str], float]:
    """Read a login: bearer token, and its life in seconds (0 for no end).

    Raises: Malformed.
    """
    root = load(body)
    bearer, life = root.get("accessToken"), root.get("expiresIn")
    if not isinstance(bearer, str) or not token.usable(bearer):
        raise Malformed("it has no accessToken")
    if isinstance(life, bool) or not isinstance(life, int | float) or not 0 <= life < 1e12:
        raise Malformed("it has no expiresIn")
    return sealed.Sealed(bearer), float(life)


def one(body: bytes, folder: Folder, key: str) -> Secret:
    """Read a single read's answer.

    Raises: Malformed, errors.ApprovalPending.
    """
    root = load(body)
    node = root.get("secret")
    if node is None and isinstance(access := root.get("aiAccess"), dict):
        raise errors.ApprovalPending(folder.place(key), str(access.get("requestId", "")))
    found = secret(node, None)
    if found.key != key:
        raise Malformed("it is about another key")
    return found


def many(body: bytes, folder: Folder) -> Listing:
    """Read a list's answer.

    Raises: Malformed.
    """
    root = load(body)
    nodes, blocks = root.get("secrets"), root.get("imports", [])
    if not isinstance(nodes, list) or not isinstance(blocks, list):
        raise Malformed("it has no list of secrets")
    secrets = tuple(secret(node, folder.path) for node in nodes if not _personal(node))
    return Listing(secrets, tuple(_block(block) for block in blocks))


def secret(node: object, path: str | None) -> Secret:
    """Read one secret.

    Args:
        node: the object.
        path: its folder if the object itself does not say.

    Raises: Malformed.
    """
    if not isinstance(node, dict):
        raise Malformed("it has no secret")
    name, key = node.get("id") or node.get("_id"), node.get("secretKey")
    value, version = node.get("secretValue"), node.get("version")
    where = node.get("secretPath", path)
    if not (isinstance(name, str) and name and isinstance(key, str) and key):
        raise Malformed("it has a secret without id or key")
    if isinstance(version, bool) or not isinstance(version, int) or not isinstance(where, str):
        raise Malformed("it has a secret without version or path")
    hidden = node.get("secretValueHidden", False)
    if not isinstance(hidden, bool):
        raise Malformed("it has a secret whose secretValueHidden is no boolean")
    if hidden:
        return Secret(name, key, where, version, None)
    if not isinstance(value, str):
        raise Malformed("it has a secret without a value")
    try:
        contents = value.encode()
        f"{name}{key}{where}".encode()
    except UnicodeEncodeError:
        raise Malformed("it has a secret that is not Unicode text") from None
    return Secret(name, key, where, version, sealed.Sealed(contents))


def _block(block: object) -> tuple[Secret, ...]:
    if not isinstance(block, dict) or not isinstance(block.get("secrets"), list):
        raise Malformed("it has an import without secrets")
    path = block.get("secretPath")
    if not isinstance(path, str):
        raise Malformed("it has an import without a path")
    return tuple(secret(node, path) for node in block["secrets"])


def _personal(node: object) -> bool:
    return isinstance(node, dict) and node.get("type") == "personal"


def _issues(message: object) -> str:
    if not isinstance(message, list):
        return ""
    paths = []
    for issue in message[:5]:
        path = issue.get("path") if isinstance(issue, dict) else None
        if isinstance(path, list):
            paths.append(".".join(str(part) for part in path[:5]))
    return f"invalid: {', '.join(paths)}" if paths else ""


def _clean(text: str, secrets: Iterable[str], limit: int) -> str:
    for word in secrets:
        text = text.replace(word, sealed.STRIPPED) if word else text
    return errors.shorten(text, limit)
