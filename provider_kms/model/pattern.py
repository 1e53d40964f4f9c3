r"""Patterns for names of keys, matched in time linear in the name. Pure.

A pattern comes from a SecretProviderClass and runs in a process that the whole node shares. With
a backtracking engine ``(a+)+`` and one unlucky key would stop every Mount, so a small engine
walks all possibilities at once instead (Thompson's construction).

Two forms: ``DB_*``, where ``*`` stands for any characters, and ``/regular expression/``. Both
must match the whole name. Of regular expressions this much is known: literals, ``.``, ``[a-z]``,
``[^a-z]``, ``\d \w \s``, escapes, ``(…)``, ``|``, ``* + ?`` and ``{m}``, ``{m,}``, ``{m,n}``.

Source: K. Thompson, Regular Expression Search Algorithm, CACM 11 (1968).
"""

import dataclasses
from collections.abc import Callable, Iterable, Iterator

_LONGEST = 256
_MOST_STATES = 300
_MOST_PIECES = 3000
_DEEPEST = 20
_CLASSES = {
    "d": (("0", "9"),),
    "w": (("a", "z"), ("A", "Z"), ("0", "9"), ("_", "_")),
    "s": ((" ", " "), ("\t", "\r")),
}

Ranges = tuple[tuple[str, str], ...]
# Appends a piece to a program so that it goes on to the given state; returns its first state.
_Piece = Callable[["_Program", int], int]


@dataclasses.dataclass(frozen=True, slots=True)
class _Step:
    """A state: takes one character of its ranges, or, without ranges, none at all."""

    ranges: Ranges | None
    negated: bool
    to: tuple[int, ...]

    def takes(self, character: str) -> bool:
        assert self.ranges is not None
        return self.negated != any(low <= character <= high for low, high in self.ranges)


class _Program(list[_Step]):
    """States by number; state 0 is the end."""

    pieces = 0

    def add(self, step: _Step) -> int:
        if len(self) >= _MOST_STATES:
            raise ValueError("too large")
        self.append(step)
        return len(self) - 1

    def spend(self) -> None:
        """Bound the work of building: repetitions of nothing add no state."""
        self.pieces += 1
        if self.pieces > _MOST_PIECES:
            raise ValueError("too large")


class Pattern:
    """A compiled pattern.

    Attributes:
        text: what it was made of.
        steps: how much work it was, and how much it is to match a character, at most.

    Raises: ValueError: on construction, the text is no pattern; the message says why.
    """

    def __init__(self, text: str) -> None:
        if not 0 < len(text) <= _LONGEST:
            raise ValueError(f"must have 1 to {_LONGEST} characters")
        self.text = text
        if len(text) > 1 and text[0] == text[-1] == "/":
            piece = _Parser(text[1:-1].removeprefix("^")).parse()
        else:
            piece = _sequence([_glob(character) for character in text])
        self._program = _Program([_Step(None, False, ())])
        self._start = piece(self._program, 0)
        self.steps = len(self._program) + self._program.pieces

    def matches(self, name: str) -> bool:
        """Tell whether the whole name fits."""
        states = self._closure((self._start,))
        for character in name:
            states = self._closure(
                step.to[0]
                for number in states
                if (step := self._program[number]).ranges is not None and step.takes(character)
            )
            if not states:
                return False
        return 0 in states

    def _closure(self, seeds: Iterable[int]) -> set[int]:
        seen: set[int] = set()
        todo = list(seeds)
        while todo:
            number = todo.pop()
            if number not in seen:
                seen.add(number)
                if self._program[number].ranges is None:
                    todo.extend(self._program[number].to)
        return seen

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Pattern) and self.text == other.text

    def __hash__(self) -> int:
        return hash(self.text)

    def __repr__(self) -> str:
        return f"Pattern({self.text!r})"


def _glob(character: str) -> _Piece:
    if character == "*":
        return _repeat(_one((), negated=True), 0, None)
    return _one(((character, character),))


def _one(ranges: Ranges, *, negated: bool = False) -> _Piece:
    return lambda program, to: program.add(_Step(ranges, negated, (to,)))


def _sequence(pieces: list[_Piece]) -> _Piece:
    def build(program: _Program, to: int) -> int:
        for piece in reversed(pieces):
            to = piece(program, to)
        return to

    return build


def _either(pieces: list[_Piece]) -> _Piece:
    def build(program: _Program, to: int) -> int:
        return program.add(_Step(None, False, tuple(piece(program, to) for piece in pieces)))

    return build


def _repeat(piece: _Piece, least: int, most: int | None) -> _Piece:
    def build(program: _Program, to: int) -> int:
        if most is None:
            # The loop's own number is known only after its body refers to it.
            loop = program.add(_Step(None, False, ()))
            program[loop] = _Step(None, False, (piece(program, loop), to))
            to = loop
        else:
            for _ in range(most - least):
                program.spend()
                to = program.add(_Step(None, False, (piece(program, to), to)))
        for _ in range(least):
            program.spend()
            to = piece(program, to)
        return to

    return build


class _Parser:
    """Recursive descent over the text of one regular expression."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._at = 0
        self._depth = 0

    def parse(self) -> _Piece:
        piece = self._alternatives()
        if self._at != len(self._text):
            raise ValueError("unbalanced )")
        return piece

    def _peek(self) -> str:
        return self._text[self._at : self._at + 1]

    def _take(self) -> str:
        character = self._peek()
        if not character:
            raise ValueError("ends too early")
        self._at += 1
        return character

    def _alternatives(self) -> _Piece:
        branches = [self._branch()]
        while self._peek() == "|":
            self._take()
            branches.append(self._branch())
        return branches[0] if len(branches) == 1 else _either(branches)

    def _branch(self) -> _Piece:
        pieces: list[_Piece] = []
        while self._peek() not in ("", "|", ")"):
            if self._peek() == "$" and self._at == len(self._text) - 1:
                self._take()
                break
            pieces.append(self._quantified(self._atom()))
        return _sequence(pieces)

    def _atom(self) -> _Piece:
        character = self._take()
        if character == "(":
            self._depth += 1
            if self._depth > _DEEPEST:
                raise ValueError("nested too deeply")
            if self._text.startswith("?:", self._at):
                self._at += 2
            piece = self._alternatives()
            if self._take() != ")":
                raise ValueError("unbalanced (")
            self._depth -= 1
            return piece
        if character == ".":
            return _one((("\n", "\n"),), negated=True)
        if character == "[":
            return self._class()
        if character == "\\":
            return _one(self._escape())
        if character in "*+?{}]^$":
            raise ValueError(f"{character} has no place there")
        return _one(((character, character),))

    def _quantified(self, piece: _Piece) -> _Piece:
        sign = self._peek()
        if sign not in ("*", "+", "?", "{"):
            return piece
        self._take()
        if sign == "{":
            least, most = self._bounds()
        else:
            least, most = {"*": (0, None), "+": (1, None), "?": (0, 1)}[sign]
        if self._peek() in ("*", "+", "?", "{"):
            raise ValueError("two quantifiers in a row")
        return _repeat(piece, least, most)

    def _bounds(self) -> tuple[int, int | None]:
        inside = "".join(iter(self._take, "}"))
        low, comma, high = inside.partition(",")
        for number in (low, high) if high else (low,):
            if not (number.isascii() and number.isdigit() and len(number) <= 3):
                raise ValueError("{…} needs one or two numbers")
        most = (int(high) if high else None) if comma else int(low)
        if most is not None and most < int(low):
            raise ValueError("{…} has its numbers the wrong way round")
        return int(low), most

    def _escape(self) -> Ranges:
        character = self._take()
        if character in _CLASSES:
            return _CLASSES[character]
        if character.isalnum():
            raise ValueError(f"\\{character} is not known")
        return ((character, character),)

    def _class(self) -> _Piece:
        negated = self._peek() == "^"
        if negated:
            self._take()
        ranges = tuple(self._class_ranges())
        return _one(ranges, negated=negated)

    def _class_ranges(self) -> Iterator[tuple[str, str]]:
        first = True
        while (character := self._take()) != "]" or first:
            first = False
            if character == "[":
                raise ValueError("[ inside [] must be escaped")
            ends = self._escape() if character == "\\" else ((character, character),)
            if len(ends) > 1 or self._peek() != "-" or self._text[self._at + 1 :][:1] == "]":
                yield from ends
                continue
            self._take()
            last = self._take()
            high = self._escape()[0][1] if last == "\\" else last
            if high < ends[0][0]:
                raise ValueError("a range in [] has its ends the wrong way round")
            yield ends[0][0], high
