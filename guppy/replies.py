"""Questions and answers in the rows of a corpus, and the words and sentences in them."""

from __future__ import annotations

import re
from dataclasses import dataclass

import numpy as np

from guppy.batches import Split
from guppy.tokenizer import Tokenizer

_WORD = re.compile(r"\w+(?:['’]\w+)*")
_SENTENCE_END = re.compile(r"(?<=[.!?…])\s+|\n+")


@dataclass(frozen=True)
class Exchange:
    """A question and its answer. `opening`: the first of its conversation, which the topic is about."""

    prompt: str
    reply: str
    topic: str
    opening: bool


def exchanges(tokenizer: Tokenizer, split: Split) -> list[Exchange]:
    """Every user turn that an assistant turn follows, in order. Rows of plain text have none."""
    starts = np.flatnonzero(split.tokens == tokenizer.im_start_id)
    ends = np.flatnonzero(split.tokens == tokenizer.im_end_id)
    if not len(starts) or not len(ends):
        return []
    row = np.searchsorted(split.offsets, starts, side="right") - 1
    nth = np.searchsorted(ends, starts)
    closed = nth < len(ends)
    closed &= ends[np.minimum(nth, len(ends) - 1)] < split.offsets[row + 1]
    found: list[Exchange] = []
    asked, asked_in, opening = "", -1, -1
    for start, end, i in zip(starts[closed], ends[nth[closed]], row[closed].tolist(), strict=True):
        role, _, text = tokenizer.decode(split.tokens[start + 1 : end].tolist()).partition("\n")
        if role == "user":
            asked, asked_in = text, i
        elif role == "assistant" and asked_in == i:
            found.append(Exchange(asked, text, split.categories[i], opening != i))
            asked_in, opening = -1, i
    return found


def words(text: str) -> list[str]:
    """The words, case left out."""
    return _WORD.findall(text.casefold())


def sentences(text: str) -> list[str]:
    """The sentences that have a word in them, each with its mark."""
    return [sentence for sentence in _SENTENCE_END.split(text) if _WORD.search(sentence)]
