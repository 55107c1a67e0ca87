"""The little template language of persona files.

    plain text          stands for itself
    {rule}              what the rule of that name draws
    (this|that|)        one of the alternatives, evenly; an empty one says nothing
    [maybe]             there half the time
    \\{                  a backslash makes the next character plain text

Templates nest. They are parsed once and compiled to closures that only draw and join, because a persona
draws a million times while it generates a corpus. A part with few outcomes is compiled to a table of them: one draw
instead of several, and its probability is then that of the text, not of one of the ways to it.
"""

from __future__ import annotations

import math
import re
from bisect import bisect_right
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate

# Gives numbers in [0, 1).
Source = Callable[[], float]
# Draws a text. Slots are the scene's, filled when they are first asked for; to the list go the nats, -ln p, of what is
# chosen on the way.
Draw = Callable[[Source, dict[str, str], list[float]], str]
# A part of a template with at most so many outcomes, none of them longer, becomes a table.
TABLE_SIZE = 64
TABLE_LONGEST = 200


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
    """A template ready to draw, with bounds on the characters it draws (`shortest` leaves spaces out).

    `outcomes` has the probability of each text, where these are few.
    """

    draw: Draw
    shortest: int
    longest: int
    outcomes: Mapping[str, float] | None = None


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
        return Compiled(lambda random, slots, nats: node, len("".join(node.split())), len(node), {node: 1.0})
    if isinstance(node, Reference):
        return lookup(node.name)
    if isinstance(node, Choice):
        return _one_of([compile_template(option, lookup) for option in node.options], node.weights)
    return _joined([compile_template(part, lookup) for part in node])


def slot(name: str, value: Compiled) -> Compiled:
    """A reference to something drawn once for the whole scene, when it is first mentioned."""

    def draw(random: Source, slots: dict[str, str], nats: list[float]) -> str:
        text = slots.get(name)
        if text is None:
            text = slots[name] = value.draw(random, slots, nats)
        return text

    return Compiled(draw, value.shortest, value.longest)


def picker(weights: Sequence[float]) -> Callable[[Source, list[float]], int]:
    """A function that draws a place in a list of such weights."""
    bounds, costs = _bounds_and_costs(weights)

    def pick(random: Source, nats: list[float]) -> int:
        at = bisect_right(bounds, random())
        nats.append(costs[at])
        return at

    return pick


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


def _one_of(parts: Sequence[Compiled], weights: Sequence[float] | None) -> Compiled:
    shortest, longest = min(part.shortest for part in parts), max(part.longest for part in parts)
    weights = weights or [1.0] * len(parts)
    if longest <= TABLE_LONGEST and sum(len(part.outcomes or range(TABLE_SIZE + 1)) for part in parts) <= TABLE_SIZE:
        outcomes: dict[str, float] = {}
        for part, weight in zip(parts, weights, strict=True):
            for text, probability in part.outcomes.items():
                outcomes[text] = outcomes.get(text, 0.0) + probability * weight / sum(weights)
        return _table(outcomes, shortest, longest)
    draws, (bounds, costs) = [part.draw for part in parts], _bounds_and_costs(weights)

    def draw(random: Source, slots: dict[str, str], nats: list[float]) -> str:
        at = bisect_right(bounds, random())
        nats.append(costs[at])
        return draws[at](random, slots, nats)

    return Compiled(draw, shortest, longest)


def _joined(parts: Sequence[Compiled]) -> Compiled:
    """The parts one after another; neighbours become one table as long as it stays small."""
    folded = [parts[0]]
    for part in parts[1:]:
        both = _table_of_two(folded[-1], part)
        if both:
            folded[-1] = both
        else:
            folded.append(part)
    if len(folded) == 1:
        return folded[0]
    draws = [part.draw for part in folded]
    return Compiled(
        lambda random, slots, nats: "".join([draw(random, slots, nats) for draw in draws]),
        sum(part.shortest for part in folded),
        sum(part.longest for part in folded),
    )


def _table_of_two(first: Compiled, second: Compiled) -> Compiled | None:
    longest = first.longest + second.longest
    if first.outcomes is None or second.outcomes is None or longest > TABLE_LONGEST:
        return None
    if len(first.outcomes) * len(second.outcomes) > TABLE_SIZE:
        return None
    outcomes: dict[str, float] = {}
    for before, p in first.outcomes.items():
        for after, q in second.outcomes.items():
            # Two spaces will become one anyway; as one already, texts that come out alike are one outcome.
            text = f"{before}{after[1:]}" if before.endswith(" ") and after.startswith(" ") else before + after
            outcomes[text] = outcomes.get(text, 0.0) + p * q
    return _table(outcomes, first.shortest + second.shortest, longest)


def _table(outcomes: Mapping[str, float], shortest: int, longest: int) -> Compiled:
    texts, (bounds, costs) = list(outcomes), _bounds_and_costs(list(outcomes.values()))

    def draw(random: Source, slots: dict[str, str], nats: list[float]) -> str:
        at = bisect_right(bounds, random())
        nats.append(costs[at])
        return texts[at]

    if len(texts) == 1:
        return Compiled(lambda random, slots, nats: texts[0], shortest, longest, outcomes)
    return Compiled(draw, shortest, longest, outcomes)


def _bounds_and_costs(weights: Sequence[float]) -> tuple[list[float], list[float]]:
    """Where a number in [0, 1) passes from one place to the next, and each place's nats."""
    total = sum(weights)
    *bounds, _ = accumulate(weight / total for weight in weights)
    return bounds, [-math.log(weight / total) if weight else math.inf for weight in weights]
