"""Which proxy leads to the API server, by the rules of Go's net/http.

Only HTTPS servers are reached through a proxy, and only through one that speaks plain HTTP
(CONNECT); others are refused with a clear word.
"""

import ipaddress
import urllib.parse
from collections.abc import Mapping

from secrets_store import errors


def choose(server: str, environ: Mapping[str, str]) -> str:
    """Return the proxy's URL for a server, empty for none.

    Raises: errors.ConfigurationError: the proxy named is of a kind that is not supported, or one
        of the two is no URL.
    Source: golang.org/x/net/http/httpproxy: ``HTTPS_PROXY`` and ``NO_PROXY``, upper case first.
    """
    url = urllib.parse.urlsplit(server)
    proxy = environ.get("HTTPS_PROXY") or environ.get("https_proxy") or ""
    bypass = environ.get("NO_PROXY") or environ.get("no_proxy") or ""
    if not proxy or url.scheme != "https":
        return ""
    if not _has_port(url):
        raise errors.ConfigurationError(f"{server!r} is not the URL of an API server")
    if _bypassed((url.hostname or "").rstrip("."), url.port or 443, bypass):
        return ""
    return check(proxy if "://" in proxy else f"http://{proxy}")


def check(proxy: str) -> str:
    """Return a proxy's URL if it can be used.

    Raises: errors.ConfigurationError: it is no URL, or the scheme is not http; the URL is not
        told, for it may hold a password.
    """
    try:
        url = urllib.parse.urlsplit(proxy)
    except ValueError:
        url = urllib.parse.SplitResult("http", "", "", "", "")
    if url.scheme != "http":
        raise errors.ConfigurationError(
            f"a proxy of scheme {url.scheme!r} to the API server is not supported, only http"
        )
    if not url.hostname or not _has_port(url):
        raise errors.ConfigurationError("the proxy to the API server is no URL")
    return proxy


def _has_port(url: urllib.parse.SplitResult) -> bool:
    """Tell whether what stands in the place of the port, if anything does, can be one."""
    try:
        return url.port != 0
    except ValueError:
        return False


def _bypassed(host: str, port: int, bypass: str) -> bool:
    address = _address(host)
    # Go never asks a proxy for the machine itself.
    if host == "localhost" or (address is not None and address.is_loopback):
        return True
    return any(
        _matches(entry.strip().lower(), host.lower(), port, address) for entry in bypass.split(",")
    )


def _matches(
    entry: str, host: str, port: int, address: ipaddress.IPv4Address | ipaddress.IPv6Address | None
) -> bool:
    if not entry:
        return False
    if entry == "*":
        return True
    if "/" in entry:
        try:
            return address is not None and address in ipaddress.ip_network(entry, strict=False)
        except ValueError:
            return False
    name, only_port = entry, ""
    if _address(entry) is None:
        head, colon, tail = entry.rpartition(":")
        if colon and tail.isdigit():
            name, only_port = head.strip("[]"), tail
    if only_port and int(only_port) != port:
        return False
    exact = _address(name)
    if exact is not None or address is not None:
        return exact is not None and exact == address
    if name.startswith("*."):
        name = name[1:]
    return (
        host.endswith(name) if name.startswith(".") else host == name or host.endswith(f".{name}")
    )


def _address(text: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        return ipaddress.ip_address(text.strip("[]"))
    except ValueError:
        return None
