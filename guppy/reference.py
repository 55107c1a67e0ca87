"""Losses that a model passes on its way down, and the one that it cannot pass by learning.

Each is the mean surprise at a held-out token, in nats, of something simpler than the model, so that they can stand in
the same plot as its held-out loss.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

import numpy as np

from guppy.batches import Split

if TYPE_CHECKING:
    from guppy.corpus import Corpus


@dataclass(frozen=True)
class ReferenceLines:
    """Nats per target (each token of a row but its first).

    Attributes:
        log_v: ln of the padded vocabulary: even guesses, as an untrained model's.
        unigram: cross-entropy of the held-out targets under counts of the training targets: guessing without looking.
        bigram: under counts of pairs: guessing from the token before.
        grammar: of the choices that drew the held-out rows, None without a persona. A model that knew the whole grammar
            would score this *at most*: a row's probability is the sum over all ways to draw it, and here only the way
            that was taken counts. So this is an upper bound of the entropy that no model can go below; how far above
            it lies depends on how often the grammar can say the same in two ways. Ways within a small part of a
            template (see `guppy.templates`) and typing that changes nothing are summed exactly; what is left is whole
            prompts or replies that two templates share. A model's loss can end a little below this line, and not
            far below it unless it has seen the held-out rows.
    """

    log_v: float
    unigram: float
    bigram: float
    grammar: float | None

    def to_dict(self) -> dict[str, float]:
        """The lines that there are, by name."""
        return {name: value for name, value in asdict(self).items() if value is not None}


def reference_lines(corpus: Corpus, split: str = "heldout") -> ReferenceLines:
    """The reference lines of a corpus for the rows of one of its splits.

    Unigrams and bigrams are smoothed as Witten and Bell (1991) do, interpolated (Chen and Goodman 1999, section 2.4):
    the probability of something new after a token is the share of different tokens that were seen after it, and is
    spread as the unigrams are, which are spread over the vocabulary in the same way. So no held-out token is
    impossible, and nothing is tuned.
    """
    before, target = _pairs(corpus.train)
    seen_before, seen = _pairs(corpus.splits[split])
    size = corpus.tokenizer.vocab_size
    unigram = _unigrams(target, size)
    nats = corpus.nats.get(split)
    return ReferenceLines(
        math.log(corpus.tokenizer.padded_vocab_size),
        float(-np.log(unigram[seen]).mean()),
        float(-np.log(_bigrams(before, target, unigram, seen_before, seen)).mean()),
        nats / len(seen) if nats is not None and len(seen) else None,
    )


def _pairs(split: Split) -> tuple[np.ndarray, np.ndarray]:
    """The token before each target in its row, and the target, each int64 [targets]."""
    tokens = split.tokens.astype(np.int64)
    is_target = np.ones(len(tokens), dtype=bool)
    is_target[split.offsets[:-1][split.lengths > 0]] = False
    return tokens[:-1][is_target[1:]], tokens[is_target]


def _unigrams(target: np.ndarray, size: int) -> np.ndarray:
    """Probability of each token of the vocabulary."""
    counts = np.bincount(target, minlength=size)
    kinds = np.count_nonzero(counts)
    return (counts + kinds / size) / (len(target) + kinds)


def _bigrams(
    before: np.ndarray,
    target: np.ndarray,
    unigram: np.ndarray,
    seen_before: np.ndarray,
    seen: np.ndarray,
) -> np.ndarray:
    """Probability of each seen token after the one before it."""
    size = len(unigram)
    pairs, counts = np.unique(before * size + target, return_counts=True)
    total = np.bincount(before, minlength=size)[seen_before]
    kinds = np.bincount(pairs // size, minlength=size)[seen_before]
    asked = seen_before * size + seen
    at = np.minimum(np.searchsorted(pairs, asked), len(pairs) - 1)
    count = np.where(pairs[at] == asked, counts[at], 0)
    # After a token that training never saw before another, the unigrams are all there is.
    known = total > 0
    return np.where(known, (count + kinds * unigram[seen]) / np.maximum(total + kinds, 1), unigram[seen])
