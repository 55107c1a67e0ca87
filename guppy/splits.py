"""A held-out split that shares no prompt and no reply with training.

A fish that answers from memory looks as good on held-out rows as one that has learned, if the same replies
stand in both. So prompts and replies are each dealt to one side, topic by topic, by a hash of their text and the
seed, and a row whose halves were dealt to different sides may be lost. Texts count as the same when they differ only
in case, spaces and punctuation.
"""

from __future__ import annotations

import hashlib
import re
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

# What share of replies to deal to the held-out side. Prompts are dealt so that both together make the wanted share
# of rows. Which one costs fewest rows depends on how often texts repeat: where nearly every reply is new, holding
# out all replies of a few prompts costs nothing; where the same replies return, both shares should be alike.
REPLY_SHARES = (0.2, 0.4, 0.6, 0.8, 1.0)

_NOT_WORD = re.compile(r"[\W_]+")


@dataclass(frozen=True)
class Dealt:
    """Row numbers, in order: a partition of all rows."""

    train: list[int]
    heldout: list[int]
    lost: list[int]


def split_pairs(pairs: Sequence[tuple[str, str]], topics: Sequence[str], share: float, seed: int) -> Dealt:
    """Deal (prompt, reply) pairs to training and held-out rows that share neither half.

    Held-out rows are those with both halves dealt to the held-out side. Training gets every other row that has
    no half in common with them: also one whose half was dealt to the held-out side but is in no row there.

    Args:
        share: of the rows, about, to hold out; well below a half.
    """
    prompts = [text_key(prompt) for prompt, _ in pairs]
    replies = [text_key(reply) for _, reply in pairs]
    held_prompts = _ranked(prompts, topics, f"{seed} prompt")
    held_replies = _ranked(replies, topics, f"{seed} reply")
    splits = (
        _split(prompts, replies, _first(held_prompts, share / replied), _first(held_replies, replied))
        for replied in REPLY_SHARES
    )
    return max(splits, key=lambda dealt: (min(len(dealt.heldout), share * len(pairs)), len(dealt.train)))


def _split(prompts: Sequence[str], replies: Sequence[str], held_prompts: set[str], held_replies: set[str]) -> Dealt:
    rows = range(len(prompts))
    heldout = [i for i in rows if prompts[i] in held_prompts and replies[i] in held_replies]
    kept = set(heldout)
    taken_prompts = {prompts[i] for i in heldout}
    taken_replies = {replies[i] for i in heldout}
    train, lost = [], []
    for i in rows:
        if i not in kept:
            (lost if prompts[i] in taken_prompts or replies[i] in taken_replies else train).append(i)
    return Dealt(train, heldout, lost)


def text_key(text: str) -> str:
    """What two texts have in common when they say the same: case, spaces and punctuation left out."""
    return _NOT_WORD.sub(" ", text.casefold()).strip() or text


def _ranked(keys: Sequence[str], topics: Sequence[str], salt: str) -> list[list[str]]:
    """Each topic's different keys in the order of their hashes."""
    by_topic: dict[str, set[str]] = defaultdict(set)
    for key, topic in zip(keys, topics, strict=True):
        by_topic[topic].add(key)
    return [sorted(different, key=lambda key: _hash(key, salt)) for different in by_topic.values()]


def _first(ranked: list[list[str]], share: float) -> set[str]:
    """That share of each topic's keys; at least one where there are four."""
    counts = [max(1, round(share * len(keys))) if len(keys) >= 4 else 0 for keys in ranked]
    return {key for keys, count in zip(ranked, counts, strict=True) for key in keys[:count]}


def _hash(text: str, salt: str) -> bytes:
    return hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8, key=salt.encode()).digest()
