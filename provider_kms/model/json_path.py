"""Picking one value out of a secret that holds JSON. Pure.

A path is ``$.db.password``, ``db.password``, ``hosts[0].name`` or ``["odd.key"]``: members and
indices, no filters, no wildcards, for one file needs one value.
"""

import json
import re
from typing import Any, TypeAlias

_LONGEST = 256
_MOST_STEPS = 32
_STEP = re.compile(r"""\.?([A-Za-z0-9_-]+)|\[(\d{1,6})\]|\["([^"\\]*)"\]|\['([^'\\]*)'\]""")

Step: TypeAlias = "str | int"


def parse(text: str) -> tuple[Step, ...]:
    """Return the steps of a path: names of members and indices.

    Raises: ValueError: not such a path.
    """
    rest = text.removeprefix("$")
    steps: list[Step] = []
    position = 0
    while match := _STEP.match(rest, position):
        word, index, quoted, single = match.groups()
        if word is not None and position > 0 and not match[0].startswith("."):
            break
        steps.append(int(index) if index is not None else word or quoted or single or "")
        position = match.end()
    if not steps or position != len(rest) or len(text) > _LONGEST or len(steps) > _MOST_STEPS:
        raise ValueError("must be a path such as db.password or hosts[0].name")
    return tuple(steps)


def pick(value: bytes, steps: tuple[Step, ...]) -> bytes:
    """Return the value at the path: a text as it is, anything else as compact JSON.

    Args:
        value: JSON in UTF-8.
        steps: from `parse`.

    Raises: ValueError: not JSON, or nothing there; the text never quotes the value.
    """
    try:
        node: Any = json.loads(value)
    except (ValueError, RecursionError):
        # The decoder's own message carries the whole document with it.
        raise ValueError("the value is not JSON") from None
    for count, step in enumerate(steps):
        fits = isinstance(node, dict if isinstance(step, str) else list)
        if not fits or (step not in node if isinstance(step, str) else step >= len(node)):
            raise ValueError(f"jsonPath finds nothing at step {count + 1}")
        node = node[step]
    text = node if isinstance(node, str) else json.dumps(node, separators=(",", ":"))
    try:
        return text.encode()
    except UnicodeEncodeError:
        raise ValueError("the value at jsonPath is not Unicode text") from None
