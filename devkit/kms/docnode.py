"""YAML read with its places, so that an error can name line and path.

`parse` keeps the YAML node of every value; a `Node` is one of them with the path that leads to
it. Scalars are text as written: no number, date or boolean is guessed.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import yaml


class Invalid(ValueError):
    """The document is no YAML, or does not have the form that is asked for.

    Args:
        line: counted from 1.
        path: YAML path, e.g. `projects.shop.environments`; "" for the whole document.
    """

    def __init__(self, line: int, path: str, problem: str) -> None:
        super().__init__(line, path, problem)
        self.line = line
        self.path = path
        self.problem = problem

    def __str__(self) -> str:
        place = f"line {self.line}" + (f", {self.path}" if self.path else "")
        return f"{place}: {self.problem}"


@dataclass(frozen=True, slots=True)
class Node:
    """A value of the document and the path to it."""

    yaml: yaml.Node
    path: str = ""

    def invalid(self, problem: str) -> Invalid:
        """Make the error that this value has a problem."""
        return Invalid(self.yaml.start_mark.line + 1, self.path, problem)

    def is_scalar(self) -> bool:
        return isinstance(self.yaml, yaml.ScalarNode)

    def text(self) -> str:
        """Return a scalar as written."""
        if not isinstance(self.yaml, yaml.ScalarNode):
            raise self.invalid("expected text")
        return str(self.yaml.value)

    def integer(self, least: int, most: int | None = None) -> int:
        """Return a whole number within bounds."""
        text = self.text()
        if not text.isascii() or not text.isdigit():
            raise self.invalid(f"expected a whole number, not {text!r}")
        if int(text) < least or (most is not None and int(text) > most):
            raise self.invalid(f"expected a number from {least} to {most or 'any'}, not {text}")
        return int(text)

    def number(self) -> float:
        """Return a number that is not negative."""
        try:
            found = float(self.text())
        except ValueError:
            found = -1.0
        if not 0.0 <= found < float("inf"):
            raise self.invalid(f"expected a number from 0, not {self.text()!r}")
        return found

    def boolean(self) -> bool:
        """Return `true` or `false`, in these two spellings."""
        text = self.text()
        if text not in ("true", "false"):
            raise self.invalid(f"expected true or false, not {text!r}")
        return text == "true"

    def sequence(self) -> list["Node"]:
        """Return the members of a list; nothing at all is an empty one."""
        if self._is_nothing():
            return []
        if not isinstance(self.yaml, yaml.SequenceNode):
            raise self.invalid("expected a list")
        return [Node(each, f"{self.path}[{n}]") for n, each in enumerate(self.yaml.value)]

    def items(self) -> Iterator[tuple[str, "Node"]]:
        """Walk a mapping; nothing at all is an empty one.

        Raises: Invalid: it is no mapping, a key is no text or comes twice.
        """
        if self._is_nothing():
            return
        if not isinstance(self.yaml, yaml.MappingNode):
            raise self.invalid("expected a mapping")
        seen = set[str]()
        for key, value in self.yaml.value:
            name = Node(key, self.path).text()
            if name in seen:
                raise Node(key, self._child(name)).invalid("comes twice")
            seen.add(name)
            yield name, Node(value, self._child(name))

    def fields(self, *known: str, required: Sequence[str] = ()) -> dict[str, "Node"]:
        """Return the fields of a mapping.

        Raises: Invalid: a field is not among the known ones, or a required one is missing.
        """
        found = dict(self.items())
        for name, node in found.items():
            if name not in known:
                raise node.invalid(f"unknown field; known here: {', '.join(known)}")
        for name in required:
            if name not in found:
                raise self.invalid(f"needs the field {name}")
        return found

    def _child(self, name: str) -> str:
        return f"{self.path}.{name}" if self.path else name

    def _is_nothing(self) -> bool:
        return isinstance(self.yaml, yaml.ScalarNode) and (
            self.yaml.value == "" and self.yaml.style is None
        )


EMPTY = Node(yaml.ScalarNode("tag:yaml.org,2002:null", ""))
ZERO = Node(yaml.ScalarNode("tag:yaml.org,2002:int", "0"))


def parse(text: str) -> Node:
    """Parse a document.

    Raises: Invalid: it is no YAML, or more than one document.
    """
    try:
        found = yaml.compose(text, Loader=yaml.SafeLoader)
    except yaml.MarkedYAMLError as e:
        mark = e.problem_mark or e.context_mark
        raise Invalid(mark.line + 1 if mark else 1, "", e.problem or "no YAML") from e
    except yaml.YAMLError as e:
        raise Invalid(1, "", str(e)) from e
    return EMPTY if found is None else Node(found)
