"""Read kubeconfig files: for a driver outside of a cluster, for developers and the demo.

Only the current context counts. Several files (``KUBECONFIG``) are one: the first to name a
thing has it. Credentials from programs (``exec``, ``auth-provider``) are refused: a node agent
that runs outside of its pod is given a certificate or a token. So is acting as somebody else: done
without a word under the user's own name it could be done with more rights than were meant.
"""

import base64
import binascii
import os
import urllib.parse
from collections.abc import Mapping, Sequence
from typing import Any

from secrets_store import errors, log
from secrets_store.kube import access, bearer, proxies

Entry = dict[str, Any]

REFUSED = ("exec", "auth-provider", "as", "as-uid", "as-groups", "as-user-extra")


def load(paths: Sequence[str], environ: Mapping[str, str]) -> access.Config:
    """Return the configuration of the current context of some files.

    Raises: errors.ConfigurationError: no file exists, or what they say is incomplete, not
        supported or not readable.
    Source: client-go, tools/clientcmd: merge order, relative paths, names of the fields.
    """
    merged = _merge([path for path in paths if os.path.exists(path)])
    if merged is None:
        raise errors.ConfigurationError(f"no kubeconfig at {', '.join(paths)}")
    context_name = merged["current-context"]
    if not context_name:
        raise errors.ConfigurationError("kubeconfig: current-context is not set")
    context = _named(merged, "contexts", context_name)
    cluster = _named(merged, "clusters", _text(context, "cluster"))
    user_name = _text(context, "user")
    user = _named(merged, "users", user_name) if user_name else {}
    return _config(context, cluster, user, user_name, environ)


def _config(
    context: Entry, cluster: Entry, user: Entry, user_name: str, environ: Mapping[str, str]
) -> access.Config:
    for way in REFUSED:
        if user.get(way):
            raise errors.ConfigurationError(
                f"kubeconfig: user {user_name!r} uses {way}, which is not supported; "
                "give it a token, tokenFile or client certificate"
            )
    token = _text(user, "token")
    if token and not bearer.is_token(token):
        raise errors.ConfigurationError(f"kubeconfig: the token of user {user_name!r} is malformed")
    server = _server(_text(cluster, "server"))
    insecure = cluster.get("insecure-skip-tls-verify") is True
    ca = _content(cluster, "certificate-authority")
    if insecure and ca:
        raise errors.ConfigurationError(
            "kubeconfig: insecure-skip-tls-verify and a certificate-authority exclude each other"
        )
    token_file = _path(user, "tokenFile")
    if token_file:
        # As client-go does: without its token the process would ask as nobody, and be refused.
        access.read_text(token_file)
    proxy = _text(cluster, "proxy-url")
    return access.Config(
        server=server,
        ca=ca.decode("ascii", "replace"),
        client_certificate=_content(user, "client-certificate"),
        client_key=log.Sealed(_content(user, "client-key")),
        token=log.Sealed(token),
        token_file=token_file,
        username=_text(user, "username"),
        password=log.Sealed(_text(user, "password")),
        namespace=_text(context, "namespace") or "default",
        tls_server_name=_text(cluster, "tls-server-name"),
        insecure=insecure,
        proxy=proxies.check(proxy) if proxy else proxies.choose(server, environ),
    )


def _server(text: str) -> str:
    try:
        parts = urllib.parse.urlsplit(text if "://" in text else f"https://{text}")
        # Only asking for the port finds out that it is none.
        known = bool(parts.hostname) and parts.port != 0
    except ValueError:
        known = False
    if not text or not known:
        # Not shown: there may be a password in it.
        what = "server is no URL" if text else "cluster has no server"
        raise errors.ConfigurationError(f"kubeconfig: the {what}")
    if parts.path.strip("/"):
        raise errors.ConfigurationError("kubeconfig: a server with a path is not supported")
    if "@" in parts.netloc:
        raise errors.ConfigurationError("kubeconfig: a server with a user name is not supported")
    return f"{parts.scheme}://{parts.netloc}"


def _merge(paths: Sequence[str]) -> dict[str, Any] | None:
    if not paths:
        return None
    merged: dict[str, Any] = {"current-context": "", "contexts": {}, "clusters": {}, "users": {}}
    for path in paths:
        document = _parse(path)
        merged["current-context"] = merged["current-context"] or _text(document, "current-context")
        for kind, key in (("contexts", "context"), ("clusters", "cluster"), ("users", "user")):
            for item in _items(document, kind, key, path):
                entry = {**(item.get(key) or {}), "": os.path.dirname(os.path.abspath(path))}
                merged[kind].setdefault(item["name"], entry)
    return merged


def _items(document: Entry, kind: str, key: str, path: str) -> list[Entry]:
    items = document.get(kind) or []
    if not isinstance(items, list) or not all(
        isinstance(item, dict)
        and isinstance(item.get("name"), str)
        and isinstance(item.get(key) or {}, dict)
        for item in items
    ):
        raise errors.ConfigurationError(f"kubeconfig {path}: {kind} is malformed")
    return items


def _parse(path: str) -> dict[str, Any]:
    # Imported here: the driver in its pod reads no such file, and YAML would cost it a MiB.
    import yaml

    text = access.read_text(path)
    try:
        document = yaml.safe_load(text)
    except yaml.YAMLError:
        document = None
    # Raised out here, for the parser's error shows lines of the file.
    if not isinstance(document, dict):
        raise errors.ConfigurationError(f"kubeconfig {path} is not a YAML mapping")
    return document


def _named(merged: dict[str, Any], kind: str, name: str) -> Entry:
    entry = merged[kind].get(name)
    if entry is None:
        raise errors.ConfigurationError(f"kubeconfig: {name!r} is not among the {kind}")
    return dict(entry)


def _text(entry: Entry, key: str) -> str:
    value = entry.get(key)
    return value if isinstance(value, str) else ""


def _path(entry: Entry, key: str) -> str:
    """Return a path; one that is relative starts at its kubeconfig file."""
    value = _text(entry, key)
    return os.path.join(entry[""], value) if value else ""


def _content(entry: Entry, key: str) -> bytes:
    """Return what ``<key>-data`` holds in base64, or what the file ``<key>`` holds."""
    data = _text(entry, f"{key}-data")
    if not data:
        path = _path(entry, key)
        return access.read_text(path).encode() if path else b""
    try:
        return base64.b64decode(data, validate=True)
    except binascii.Error:
        raise errors.ConfigurationError(f"kubeconfig: {key}-data is not base64") from None
