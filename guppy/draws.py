"""A persona's conversations in three splits: training, held-out, and combinations of rules that training never saw."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from guppy.errors import GuppyError
from guppy.grammar import Drawn, Persona
from guppy.splits import held_out_combinations, leaky_split, split_rows, text_key

# Shares of a persona's rows. Drawing more costs little, but with each held-out row all others are lost that share a
# text with it.
HELDOUT = 0.03
COMPOSED = 0.03


@dataclass(frozen=True)
class Sides:
    """Draws in the order in which they were drawn, each on one side.

    Attributes:
        heldout: share no prompt and no reply with `train`, in any turn.
        composed: each has an exchange whose combination of rules (what is asked about, and the template of the reply)
            is in neither `train` nor `heldout`, though each part of it is in `train`. Their replies are in no other
            split; their prompts may be. A model that only remembers pairs does worse here than on held-out rows.
    """

    train: list[Drawn]
    heldout: list[Drawn]
    composed: list[Drawn]


def draw_split(persona: Persona, rows: int, seed: int, *, leaky: bool = False) -> Sides:
    """Draw conversations, `rows` in all, and split them without leaks, or `leaky` as guppylm does: at random.

    Raises:
        GuppyError: the persona says too little, or `rows` is too small, to hold anything out.
    """
    if rows < 1:
        raise GuppyError(f"{rows} rows are no corpus; ask for some thousands")
    if leaky:
        drawn = persona.draw(rows, seed)
        dealt = leaky_split(rows, HELDOUT, seed)
        sides = Sides([drawn[i] for i in dealt.train], [drawn[i] for i in dealt.heldout], [])
    else:
        sides = _without_leaks(persona, rows, seed)
    if not sides.train or not sides.heldout:
        raise GuppyError(
            f"{rows:,} rows of persona '{persona.name}' leave nothing to hold out; "
            "ask for more rows, or give it more prompts and replies"
        )
    return sides


def _without_leaks(persona: Persona, rows: int, seed: int) -> Sides:
    # Of conversations of several turns more share a text with a held-out one, and are lost.
    count = round(rows * (1.125 + min(0.5, 3 * sum(persona.turns[1:]))))
    while True:
        sides, kept = _deal(persona.draw(count, seed), rows, seed)
        if sides:
            return sides
        if count > 8 * rows:
            raise GuppyError(
                f"persona '{persona.name}' repeats itself too much to fill {rows:,} rows without leaks; "
                "give it more prompts and replies"
            )
        count = round(1.1 * count * rows / max(kept, rows / 4))


def _deal(drawn: Sequence[Drawn], rows: int, seed: int) -> tuple[Sides | None, float]:
    """Deal the draws, and keep `rows` of them; None if too few can be kept, and how many rows they would make."""
    combinations = held_out_combinations([draw.combinations for draw in drawn], COMPOSED, seed)
    composed = [i for i, draw in enumerate(drawn) if not combinations.isdisjoint(draw.combinations)]
    apart = set(composed)
    rest = [i for i in range(len(drawn)) if i not in apart]
    dealt = split_rows(
        [drawn[i].conversation.exchanges for i in rest],
        [drawn[i].conversation.category for i in rest],
        HELDOUT,
        seed,
    )
    train, heldout = [rest[i] for i in dealt.train], [rest[i] for i in dealt.heldout]
    taken = {reply for side in (train, heldout) for i in side for reply in _replies(drawn[i])}
    composed = [i for i in composed if taken.isdisjoint(_replies(drawn[i]))]

    chosen, kept = _in_proportion(sorted([*train, *heldout, *composed]), drawn, rows)
    known = {part for i in train if i in chosen for combination in drawn[i].combinations for part in combination.parts}
    composed = [i for i in composed if i in chosen and known.issuperset(_held_parts(drawn[i], combinations))]
    heldout = [i for i in heldout if i in chosen]
    # In the place of rows with parts that nobody taught come further ones to learn from.
    missing = rows - len(composed) - len(heldout)
    train = sorted(sorted(train, key=lambda i: i not in chosen)[:missing])
    sides = Sides(*([drawn[i] for i in side] for side in (train, heldout, composed)))
    return (sides if kept >= rows and len(train) == missing else None), kept


def _in_proportion(kept: Sequence[int], drawn: Sequence[Drawn], rows: int) -> tuple[set[int], float]:
    """The first of the kept draws, with as many conversations of several turns as the persona draws, though more of
    these are lost; and how many rows can be had so."""
    share = sum(bool(draw.conversation.later) for draw in drawn) / len(drawn)
    chosen: set[int] = set()
    made = float("inf")
    for several in (True, False):
        some = [i for i in kept if bool(drawn[i].conversation.later) is several]
        wanted = round(rows * share) if several else rows - round(rows * share)
        chosen.update(some[:wanted])
        made = min(made, rows * len(some) / wanted) if wanted else made
    return chosen, made


def _replies(draw: Drawn) -> list[str]:
    return [text_key(reply) for _, reply in draw.conversation.exchanges]


def _held_parts(draw: Drawn, held: set) -> list[tuple[int, object]]:
    return [part for combination in draw.combinations if combination in held for part in combination.parts]
