"""YAML whose scalars keep their raw text. Pure.

YAML 1.1 would turn ``fileName: 0123`` into 83 and ``secretKey: yes`` into a boolean; the Go
program in use reads the source text into strings, so a class written for it must mean the same
here. Hence only maps, lists and texts come out; a plain ``null``, ``~`` or nothing is "".

Source: YAML 1.1; gopkg.in/yaml decoding scalars into string fields.
"""

from typing import Any, TypeAlias

import yaml

LARGEST_CHARACTERS = 512 * 1024
_DEEPEST = 16
_NULLS = frozenset({"", "~", "null", "Null", "NULL"})
# libyaml's parser is some thirty times faster; wheels have it, a source build may not.
_LOADER: Any = getattr(yaml, "CBaseLoader", yaml.BaseLoader)

Node: TypeAlias = "str | list[Node] | dict[str, Node]"


class Malformed(ValueError):
    """Not YAML, or YAML with something that has no place here; the text says where."""


def load(text: str) -> Node:
    """Read one YAML document.

    Returns: nested maps, lists and texts; a later duplicate of a map's key wins; ``<<`` merges.
    Raises: Malformed: too large, too deep, not one document, a map key that is no scalar.
    """
    if len(text) > LARGEST_CHARACTERS:
        raise Malformed(f"larger than {LARGEST_CHARACTERS} characters")
    try:
        root = yaml.compose(text, Loader=_LOADER)
    except yaml.YAMLError as error:
        raise Malformed(_place(error)) from None
    except (RecursionError, ValueError, UnicodeError) as error:
        raise Malformed("not YAML") from error
    return "" if root is None else _plain(root, 0, [LARGEST_CHARACTERS])


def _plain(node: yaml.Node, depth: int, budget: list[int]) -> Node:
    # An alias is the same node again, so a few lines can stand for a billion entries.
    budget[0] -= 1
    if depth > _DEEPEST or budget[0] < 0:
        raise Malformed("nested too deeply or too often")
    if isinstance(node, yaml.ScalarNode):
        return "" if not node.style and node.value in _NULLS else str(node.value)
    if isinstance(node, yaml.SequenceNode):
        return [_plain(item, depth + 1, budget) for item in node.value]
    merged: dict[str, Node] = {}
    own: dict[str, Node] = {}
    assert isinstance(node, yaml.MappingNode)
    for key, value in node.value:
        if not isinstance(key, yaml.ScalarNode):
            raise Malformed(f"line {key.start_mark.line + 1}: a map's key must be a word")
        content = _plain(value, depth + 1, budget)
        if key.value == "<<" and not key.style:
            parts = content if isinstance(content, list) else [content]
            for part in parts:
                if not isinstance(part, dict):
                    raise Malformed(f"line {key.start_mark.line + 1}: << needs a map")
                # In place: of many maps a copy for each would take minutes.
                for name, inherited in part.items():
                    merged.setdefault(name, inherited)
        else:
            own[str(key.value)] = content
    return merged | own


def _place(error: yaml.YAMLError) -> str:
    mark = getattr(error, "problem_mark", None)
    problem = getattr(error, "problem", None) or "not YAML"
    where = f"line {mark.line + 1}: " if mark is not None else ""
    return f"{where}{problem}"[:200]
