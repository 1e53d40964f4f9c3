"""YAML files as values that know their lines."""

import dataclasses
from collections.abc import Iterator
from typing import Any

import yaml

Path = tuple[str | int, ...]


class Unreadable(Exception):
    """A text is no YAML; ``line`` says where."""

    def __init__(self, line: int, problem: str) -> None:
        super().__init__(problem)
        self.line, self.problem = line, problem


@dataclasses.dataclass(frozen=True, slots=True)
class Document:
    """One document of a file.

    Attributes:
        value: Plain Python values; scalars as YAML types them.
        lines: Path of keys and indices → line, from 1.
    """

    value: Any
    lines: dict[Path, int]

    def line(self, *path: str | int) -> int:
        """Return the line of a path, or of the nearest part above it that exists."""
        while path and path not in self.lines:
            path = path[:-1]
        return self.lines.get(path, 1)


def read(text: str, *, plain: bool = False) -> Iterator[Document]:
    """Yield the documents of a text, empty ones left out.

    Args:
        plain: Take every scalar as its text, as parameters of a class are.
    Raises: Unreadable.
    """
    loader = yaml.BaseLoader if plain else yaml.SafeLoader
    try:
        for node in yaml.compose_all(text, Loader=loader):
            lines: dict[Path, int] = {}
            _walk(node, (), lines)
            value = _construct(loader, node)
            if value is not None:
                yield Document(value, lines)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = mark.line + 1 if mark else 1
        raise Unreadable(line, error.problem or "not YAML") from error
    except (yaml.YAMLError, RecursionError) as error:
        raise Unreadable(1, "not YAML") from error


def _construct(loader: Any, node: yaml.Node) -> Any:
    made = loader("")
    try:
        return made.construct_document(node)
    finally:
        made.dispose()


def _walk(node: yaml.Node, path: Path, lines: dict[Path, int]) -> None:
    lines[path] = node.start_mark.line + 1
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            below = (*path, str(key.value))
            _walk(value, below, lines)
            lines[below] = key.start_mark.line + 1
            if isinstance(value, yaml.ScalarNode) and value.style in ("|", ">"):
                # The text of a block begins on the line after its sign.
                lines[(*below, "|")] = value.start_mark.line + 2
    elif isinstance(node, yaml.SequenceNode):
        for number, value in enumerate(node.value):
            _walk(value, (*path, number), lines)
