"""The commands that README and docs tell people to type."""

import re

from tests.deploy import manifests

_FENCE = re.compile(r"^```(\w*)\n(.*?)^```", re.MULTILINE | re.DOTALL)
_HEADING = re.compile(r"^#+ (.*)$", re.MULTILINE)
_PROGRAMS = ("kubectl ", "make ", "secrets-store ", ".venv/bin/")


def names() -> list[str]:
    """Return all pages that tell people what to do, by their paths."""
    paths = [manifests.ROOT / "README.md", *sorted((manifests.ROOT / "docs").glob("*.md"))]
    return [str(path.relative_to(manifests.ROOT)) for path in paths]


def text(page: str) -> str:
    """Return a page."""
    return (manifests.ROOT / page).read_text()


def sections(page: str) -> dict[str, list[str]]:
    """Return the commands of a page's shell blocks, by the heading they stand under."""
    whole = text(page)
    found: dict[str, list[str]] = {}
    for fence in _FENCE.finditer(whole):
        if fence[1] != "sh":
            continue
        # A comment in an earlier block looks like a heading.
        before = _FENCE.sub("", whole[: fence.start()])
        heading = _HEADING.findall(before)[-1]
        bare = (re.sub(r"(^|\s)#.*", "", line).strip() for line in fence[2].splitlines())
        found.setdefault(heading, []).extend(line for line in bare if line)
    return found


def commands(page: str) -> list[str]:
    """Return the commands of all shell blocks of a page in their order."""
    return [line for lines in sections(page).values() for line in lines]


def mentioned(page: str) -> list[str]:
    """Return the commands that stand within a page's sentences and tables."""
    prose = _FENCE.sub("", text(page))
    return [code for code in re.findall(r"`([^`\n]+)`", prose) if code.startswith(_PROGRAMS)]
