"""Glob patterns as the KMS uses them for namespaces, names, environments, paths and keys.

`*` and `?` stop at a slash, `**` does not, and a pattern that ends in `/**` matches the folder
before it as well as everything below: `/app/**` matches `/app` and `/app/a/b`. A group in braces
lists alternatives: `{a,b}`.
"""

import functools
import re


def match(pattern: str, text: str) -> bool:
    """Tell whether the whole text matches the pattern."""
    return _compiled(pattern).fullmatch(text) is not None


@functools.lru_cache(maxsize=1024)
def _compiled(pattern: str) -> re.Pattern[str]:
    below = pattern.endswith("/**")
    body = pattern.removesuffix("/**") if below else pattern
    expression = "".join(
        _translate(token) for token in re.findall(r"\*\*|\{[^{}]*\}|.", body, re.S)
    )
    return re.compile(expression + ("(?:/.*)?" if below else ""), re.S)


def _translate(token: str) -> str:
    if token == "**":
        return ".*"
    if token == "*":
        return "[^/]*"
    if token == "?":
        return "[^/]"
    if token.startswith("{") and token.endswith("}"):
        return "(?:" + "|".join(re.escape(part) for part in token[1:-1].split(",")) + ")"
    return re.escape(token)
