"""A held-out split that shares no prompt and no reply with training, and one of combinations that training never saw.

A fish that answers from memory looks as good on held-out rows as one that has learned, if the same replies
stand in both. So prompts and replies are each dealt to one side, topic by topic, by a hash of their text and the
seed, and a row whose parts were dealt to different sides may be lost. Texts count as the same when they differ only
in case, spaces and punctuation.
"""

from __future__ import annotations

import hashlib
import random
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from guppy.grammar import Combination

# What share of replies to deal to the held-out side. Prompts are dealt so that both together make the wanted share
# of rows. Which one costs fewest rows depends on how often texts repeat: where nearly every reply is new, holding
# out all replies of a few prompts costs nothing; where the same replies return, both shares should be alike.
REPLY_SHARES = (0.2, 0.4, 0.6, 0.8, 1.0)
# Texts of later turns: "why?" stands in many rows, so that only a share of such texts can be held out. One that
# stands in few rows goes where its row goes; holding it out loses no more than the others of these.
LATER_SHARE = 0.1
RARE = 3

_NOT_WORD = re.compile(r"[\W_]+")
_NOT_WORD_IN_ASCII = {code: " " for code in range(128) if not chr(code).isalnum()}

# The (prompt, reply) pairs of a row, turn by turn.
Exchanges = Sequence[tuple[str, str]]


@dataclass(frozen=True)
class Dealt:
    """Row numbers, in order: a partition of all rows."""

    train: list[int]
    heldout: list[int]
    lost: list[int]


def split_rows(rows: Sequence[Exchanges], topics: Sequence[str], share: float, seed: int) -> Dealt:
    """Deal rows to training and held-out ones that share no prompt and no reply, in any turn.

    Held-out rows are those with all their texts dealt to the held-out side. Training gets every other row that has
    no text in common with them: also one whose text was dealt to the held-out side but is in no row there.

    Args:
        share: of the rows, about, to hold out; well below a half.
    """
    prompts = [[text_key(prompt) for prompt, _ in row] for row in rows]
    replies = [[text_key(reply) for _, reply in row] for row in rows]
    held_prompts = _ranked(([first] for first, *_ in prompts), topics, f"{seed} prompt")
    held_replies = _ranked(replies, topics, f"{seed} reply")
    later_prompts, later_replies = (_held_later(keys, f"{seed} later") for keys in (prompts, replies))
    may_be_held = [
        later_prompts.issuperset(asked[1:]) and later_replies.issuperset(said[1:])
        for asked, said in zip(prompts, replies, strict=True)
    ]
    splits = (
        _split(prompts, replies, _first(held_prompts, share / replied), may_be_held, _first(held_replies, replied))
        for replied in REPLY_SHARES
    )
    return max(splits, key=lambda dealt: (min(len(dealt.heldout), share * len(rows)), len(dealt.train)))


def leaky_split(rows: int, share: float, seed: int) -> Dealt:
    """A plain random split of the rows, as guppylm's: most replies of the held-out side stand in training too.

    Only good for showing what such a split hides.
    """
    order = list(range(rows))
    random.Random(seed).shuffle(order)
    count = int(share * rows)
    return Dealt(sorted(order[count:]), sorted(order[:count]), [])


def held_out_combinations(rows: Sequence[Iterable[Combination]], share: float, seed: int) -> set[Combination]:
    """Combinations that stand in about that share of the rows, chosen by a hash of them and the seed.

    One that stands in more than a quarter of what is wanted is never chosen, so that there are several.
    """
    counts = Counter(combination for row in rows for combination in set(row))
    wanted = share * len(rows)
    chosen, held = set(), 0
    for combination in sorted(counts, key=lambda combination: _hash(repr(tuple(combination)), f"{seed} rules")):
        if held >= wanted:
            break
        if counts[combination] <= wanted / 4:
            chosen.add(combination)
            held += counts[combination]
    return chosen


def text_key(text: str) -> str:
    """What two texts have in common when they say the same: case, spaces and punctuation left out."""
    if text.isascii():  # the same, without a regular expression
        return " ".join(text.lower().translate(_NOT_WORD_IN_ASCII).split()) or text
    return _NOT_WORD.sub(" ", text.casefold()).strip() or text


def _split(
    prompts: Sequence[Sequence[str]],
    replies: Sequence[Sequence[str]],
    held_prompts: set[str],
    may_be_held: Sequence[bool],
    held_replies: set[str],
) -> Dealt:
    rows = range(len(prompts))
    heldout = [
        i for i in rows if may_be_held[i] and prompts[i][0] in held_prompts and held_replies.issuperset(replies[i])
    ]
    kept = set(heldout)
    taken_prompts = {prompt for i in heldout for prompt in prompts[i]}
    taken_replies = {reply for i in heldout for reply in replies[i]}
    train, lost = [], []
    for i in rows:
        if i not in kept:
            apart = taken_prompts.isdisjoint(prompts[i]) and taken_replies.isdisjoint(replies[i])
            (train if apart else lost).append(i)
    return Dealt(train, heldout, lost)


def _held_later(keys: Sequence[Sequence[str]], salt: str) -> set[str]:
    """Texts of later turns that may be held out."""
    counts = Counter(key for row in keys for key in set(row))
    later = {key for row in keys for key in row[1:]}
    dealt = sorted(later, key=lambda key: _hash(key, salt))[: round(LATER_SHARE * len(later))]
    return {*dealt, *(key for key in later if counts[key] <= RARE)}


def _ranked(keys: Iterable[Sequence[str]], topics: Sequence[str], salt: str) -> list[list[str]]:
    """Each topic's different keys in the order of their hashes."""
    by_topic: dict[str, set[str]] = defaultdict(set)
    for row, topic in zip(keys, topics, strict=True):
        by_topic[topic].update(row)
    return [sorted(different, key=lambda key: _hash(key, salt)) for different in by_topic.values()]


def _first(ranked: list[list[str]], share: float) -> set[str]:
    """That share of each topic's keys; at least one where there are four."""
    counts = [max(1, round(share * len(keys))) if len(keys) >= 4 else 0 for keys in ranked]
    return {key for keys, count in zip(ranked, counts, strict=True) for key in keys[:count]}


def _hash(text: str, salt: str) -> bytes:
    return hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8, key=salt.encode()).digest()
