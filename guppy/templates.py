"""The little template language of persona files.

    plain text          stands for itself
    {rule}              what the rule of that name draws
    (this|that|)        one of the alternatives, evenly; an empty one says nothing
    [maybe]             there half the time
    \\{                  a backslash makes the next character plain text

Templates nest. They are parsed once and compiled to closures that only draw and join, because a persona
draws a million times while it generates a corpus.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate

# Draws a text, given a source of numbers in [0, 1) and the slots of this conversation.
Draw = Callable[[Callable[[], float], Mapping[str, str]], str]


@dataclass(frozen=True)
class Reference:
    """`{name}` in a template."""

    name: str


@dataclass(frozen=True)
class Choice:
    """One of the options; `weights` are relative, None means even."""

    options: tuple[Node, ...]
    weights: tuple[float, ...] | None = None


# A parsed template: text, a reference, a choice, or a sequence of these.
Node = str | Reference | Choice | tuple["Node", ...]


@dataclass(frozen=True)
class Compiled:
    """A template ready to draw, with bounds on the characters it draws (`shortest` leaves spaces out)."""

    draw: Draw
    shortest: int
    longest: int


class TemplateError(Exception):
    """What is wrong with a template and how to mend it; whoever knows file and line turns it into a GuppyError."""


_TOKEN = re.compile(r"\\(.)|([{}()\[\]|])|([^\\{}()\[\]|]+)|(\\)$", re.DOTALL)
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_CLOSES = {"(": ")", "[": "]"}


def parse(template: str) -> Node:
    """Read one template.

    Raises:
        TemplateError: brackets that do not match, or something in braces that is no name.
    """
    marks: list[tuple[bool, str]] = []  # (is it syntax, text)
    for match in _TOKEN.finditer(template):
        escaped, syntax, text, trailing = match.groups()
        if trailing:
            raise TemplateError("it ends with a lone backslash; write \\\\ for a backslash")
        marks.append((True, syntax) if syntax else (False, escaped or text))
    node, position = _parse_alternatives(marks, 0, None)
    if position < len(marks):
        raise TemplateError(f"'{marks[position][1]}' closes nothing; open it before, or write \\{marks[position][1]}")
    return node


def compile_template(node: Node, lookup: Callable[[str], Compiled]) -> Compiled:
    """Make a parsed template drawable; `lookup` gives what each referenced name draws."""
    if isinstance(node, str):
        return Compiled(lambda random, slots: node, len("".join(node.split())), len(node))
    if isinstance(node, Reference):
        return lookup(node.name)
    if isinstance(node, Choice):
        parts = [compile_template(option, lookup) for option in node.options]
        return Compiled(
            _draw_choice(node, parts), min(part.shortest for part in parts), max(part.longest for part in parts)
        )
    parts = [compile_template(part, lookup) for part in node]
    return Compiled(
        _draw_sequence([part.draw for part in parts]),
        sum(part.shortest for part in parts),
        sum(part.longest for part in parts),
    )


def slot(name: str, bounds: Compiled) -> Compiled:
    """A reference to something drawn once for the whole conversation."""
    return Compiled(lambda random, slots: slots[name], bounds.shortest, bounds.longest)


def _parse_alternatives(marks: Sequence[tuple[bool, str]], position: int, closing: str | None) -> tuple[Node, int]:
    """Parse up to `closing`, which is left unread, as alternatives split by |."""
    options: list[Node] = []
    parts: list[Node] = []
    while position < len(marks) and marks[position] != (True, closing):
        is_syntax, text = marks[position]
        position += 1
        if not is_syntax:
            parts.append(text)
        elif text == "|":
            if closing is None:
                raise TemplateError("| stands outside of brackets; write (this|that)")
            options.append(_sequence(parts))
            parts = []
        elif text == "{":
            parts.append(_reference(marks, position))
            position += 2
        elif text in _CLOSES:
            inner, position = _parse_alternatives(marks, position, _CLOSES[text])
            if position == len(marks) or marks[position][1] != _CLOSES[text]:
                raise TemplateError(f"'{text}' is never closed; add '{_CLOSES[text]}' or write \\{text}")
            parts.append(inner if text == "(" else Choice((inner, "")))
            position += 1
        else:
            return _sequence(parts), position - 1
    options.append(_sequence(parts))
    return (options[0] if len(options) == 1 else Choice(tuple(options))), position


def _reference(marks: Sequence[tuple[bool, str]], position: int) -> Reference:
    inside = [text for _, text in marks[position : position + 2]]
    if len(inside) < 2 or inside[1] != "}" or not _NAME.fullmatch(inside[0]):
        raise TemplateError("braces hold the name of one rule, as in {food}; alternatives are written (this|that)")
    return Reference(inside[0])


def _sequence(parts: list[Node]) -> Node:
    if not parts:
        return ""
    return parts[0] if len(parts) == 1 else tuple(parts)


def _draw_sequence(draws: list[Draw]) -> Draw:
    return lambda random, slots: "".join([draw(random, slots) for draw in draws])


def _draw_choice(choice: Choice, parts: Sequence[Compiled]) -> Draw:
    if choice.weights is not None:
        draws = [part.draw for part in parts]
        *bounds, total = accumulate(choice.weights)
        return lambda random, slots: draws[bisect_right(bounds, random() * total)](random, slots)
    count = len(parts)
    if all(isinstance(option, str) for option in choice.options):
        texts = choice.options
        return lambda random, slots: texts[int(random() * count)]
    draws = [part.draw for part in parts]
    return lambda random, slots: draws[int(random() * count)](random, slots)
