"""What the demo shows: calm on a terminal, plain text anywhere else.

A step collects what it has to say on a `Page`, which is shown when the step has ended, under a
heading with its number and its duration; until then a terminal shows what is going on.
"""

import contextlib
import os
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import TextIO

import rich.console
import rich.padding
import rich.table
import rich.text

WIDTH = 80
_INDENT = 4
_NAME, _QUIET, _GOOD, _WARNING, _BAD = "cyan", "dim", "green", "yellow", "bold red"


def is_plain(stream: TextIO, environment: Mapping[str, str]) -> bool:
    """Tell whether colours and moving signs have no place there."""
    return (
        not stream.isatty()
        or bool(environment.get("NO_COLOR"))
        or bool(environment.get("CI"))
        or environment.get("TERM") == "dumb"
    )


class Page:
    """What one step has to say, line by line."""

    def __init__(self, *, tick: str) -> None:
        self._tick = tick
        self.parts: list[rich.console.RenderableType] = []

    def say(self, text: str) -> None:
        """Add a sentence."""
        self.parts.append(rich.text.Text(text))

    def good(self, text: str) -> None:
        """Add something that was checked."""
        self.parts.append(_beside(rich.text.Text(self._tick, style=_GOOD), rich.text.Text(text)))

    def rows(self, rows: Sequence[Sequence[str]]) -> None:
        """Add lines of columns; the first column names the line."""
        self.parts.append(_table(rows))

    def item(self, title: str, rows: Sequence[Sequence[str]]) -> None:
        """Add a thing and, below it, lines of columns about it."""
        self.parts.append(rich.text.Text(title))
        self.parts.append(rich.padding.Padding(_table(rows), (0, 0, 0, 2), expand=False))

    def quote(self, text: str) -> None:
        """Add somebody else's words, as they are."""
        words = rich.text.Text(text, style=_WARNING)
        self.parts.append(rich.padding.Padding(words, (0, 0, 0, 2), expand=False))

    def quiet(self, text: str) -> None:
        """Add something for who wants to know more."""
        self.parts.append(rich.text.Text(text, style=_QUIET))


def _table(rows: Sequence[Sequence[str]]) -> rich.table.Table:
    table = rich.table.Table.grid(padding=(0, 2))
    columns = len(rows[0]) if rows else 0
    for number in range(columns):
        # Only the last column gives way where a line is too long.
        is_last = number == columns - 1
        table.add_column(
            style=_NAME if number == 0 else None,
            no_wrap=True,
            overflow="ellipsis",
            min_width=None if is_last else max(len(row[number]) for row in rows),
        )
    for row in rows:
        table.add_row(*(rich.text.Text(cell) for cell in row))
    return table


def _beside(mark: rich.text.Text, text: rich.text.Text) -> rich.table.Table:
    grid = rich.table.Table.grid(padding=(0, 1))
    grid.add_column(no_wrap=True)
    grid.add_column(overflow="fold")
    grid.add_row(mark, text)
    return grid


class Screen:
    """Where it is shown.

    Args:
        stream: a terminal, pipe or file.
        environment: NO_COLOR, CI and TERM have a say.

    Attributes:
        steps: how many there were so far.
    """

    def __init__(self, stream: TextIO, environment: Mapping[str, str] = os.environ) -> None:
        self._plain = is_plain(stream, environment)
        self._console = rich.console.Console(
            file=stream,
            width=None if not self._plain else WIDTH,
            no_color=self._plain or None,
            force_terminal=False if self._plain else None,
            highlight=False,
            markup=False,
            emoji=False,
        )
        if self._console.width > WIDTH:
            self._console.width = WIDTH
        encoding = (getattr(stream, "encoding", None) or "ascii").lower()
        self._tick = "✓" if encoding.startswith("utf") else "ok"
        self.steps = 0

    def title(self, title: str, *lines: str) -> None:
        """Show what this is."""
        self._console.print()
        self._console.print(rich.text.Text(f" {title}", style="bold"))
        for line in lines:
            self._show([rich.text.Text(line, style=_QUIET)], indent=1)

    @contextlib.contextmanager
    def step(self, title: str) -> Iterator[Page]:
        """Show a step when it has ended, also if it fails."""
        self.steps += 1
        page = Page(tick=self._tick)
        started = time.monotonic()
        working = self._console.status(rich.text.Text(f"{self.steps}  {title}"), spinner="dots")
        with contextlib.nullcontext() if self._plain else working:
            try:
                yield page
            finally:
                self._heading(title, time.monotonic() - started)
                self._show(page.parts)

    def page(self) -> Page:
        """Return a page outside the steps; show it with `show`."""
        return Page(tick=self._tick)

    def show(self, page: Page, *, indent: int = _INDENT) -> None:
        """Show a page now."""
        self._show(page.parts, indent=indent)

    def line(self, text: str) -> None:
        """Show one line as it is, however long, so that it can be copied."""
        self._console.print(rich.text.Text(text), soft_wrap=True)

    def end(self, text: str, *, good: bool) -> None:
        """Show how it went."""
        self._console.print()
        self._console.print(rich.text.Text(f" {text}", style=_GOOD if good else _BAD))
        self._console.print()

    def failure(self, title: str, facts: Sequence[tuple[str, str]], log: Sequence[str]) -> None:
        """Show what was expected and found, and the end of the log that may tell why."""
        self._console.print()
        self._console.print(rich.text.Text(f" {title}", style=_BAD))
        grid = rich.table.Table.grid(padding=(0, 2))
        grid.add_column(style=_NAME, no_wrap=True)
        grid.add_column(overflow="fold")
        for name, text in facts:
            grid.add_row(rich.text.Text(name), rich.text.Text(text))
        self._show([grid])
        for line in log:
            self.line(line)

    def _heading(self, title: str, seconds: float) -> None:
        grid = rich.table.Table.grid(expand=True, padding=(0, 0))
        grid.add_column()
        grid.add_column(justify="right", style=_QUIET, no_wrap=True)
        grid.add_row(
            rich.text.Text(f" {self.steps}  {title}", style="bold"),
            rich.text.Text(f"{seconds:.1f} s" if seconds >= 0.095 else f"{seconds * 1000:.0f} ms"),
        )
        self._console.print()
        self._console.print(grid)

    def _show(self, parts: Sequence[rich.console.RenderableType], *, indent: int = _INDENT) -> None:
        for part in parts:
            self._console.print(rich.padding.Padding(part, (0, 0, 0, indent), expand=False))
