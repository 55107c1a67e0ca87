"""Is a reply remembered, put together, or new? Each is held against every reply of the training split.

    exact     the same words as a training reply; case, spaces and punctuation do not count
    near      over 80% of its 8-grams of characters stand in one single training reply
    composed  neither, but all of it is known: each 4 words in a row of each of its sentences stand so in some training
              sentence, and a sentence of fewer words is a whole sentence there
    new       at least once it puts words together as training never did

Exact and near together are memorised. A grammar's own held-out replies are the yardstick: some are near, most composed.
A sentence that is not made of known pieces is `strange`: in a grammar's language mostly a broken one.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np

from guppy.overlap import CONTAINED, grams
from guppy.replies import sentences, words
from guppy.splits import text_key

Kind = Literal["exact", "near", "composed", "new"]
KINDS: tuple[Kind, ...] = get_args(Kind)
PIECE = 4
"""Words in a row that count as known."""


@dataclass(frozen=True)
class Verdict:
    """What a reply is.

    Attributes:
        containment: how much of it the training reply most like it contains, 0 to 1.
        nearest: that reply, normalised.
        sentences, strange: how many it has, and how many of them are strange.
    """

    kind: Kind
    containment: float
    nearest: str
    sentences: int
    strange: int


class Novelty:
    """The training replies, indexed once; about a second for 60,000."""

    def __init__(self, replies: Sequence[str]) -> None:
        self._keys = list(dict.fromkeys(map(text_key, replies)))
        self._place = {key: row for row, key in enumerate(self._keys)}
        numbers, rows = grams(self._keys)
        # Where each gram stands: sorted by gram, then by row, each pair once.
        order = np.argsort(numbers, kind="stable")
        numbers, rows = numbers[order], rows[order]
        first = np.ones(len(numbers), dtype=bool)
        first[1:] = (numbers[1:] != numbers[:-1]) | (rows[1:] != rows[:-1])
        self._grams, self._rows = numbers[first], rows[first]
        different = {sentence for reply in replies for sentence in sentences(reply)}
        self._pieces = {piece for sentence in different for piece in _pieces(sentence)}

    def judge(self, replies: Sequence[str]) -> list[Verdict]:
        """Tell what each reply is."""
        keys = [text_key(reply) for reply in replies]
        found = self._nearest(keys)
        return [self._verdict(*each) for each in zip(replies, keys, found, strict=True)]

    def _verdict(self, reply: str, key: str, found: tuple[int, float]) -> Verdict:
        row, containment = found
        said = sentences(reply)
        strange = sum(not self._pieces.issuperset(_pieces(sentence)) for sentence in said)
        kind: Kind = "composed" if said and not strange else "new"
        if key in self._place:
            kind, row, containment = "exact", self._place[key], 1.0
        elif containment > CONTAINED:
            kind = "near"
        return Verdict(kind, containment, self._keys[row] if containment else "", len(said), strange)

    def _nearest(self, keys: Sequence[str]) -> list[tuple[int, float]]:
        """For each key, the training row that contains most of its different grams, and what share of them."""
        if not len(self._keys):
            return [(0, 0.0)] * len(keys)
        numbers, owners = grams(keys)
        begin, end = (np.searchsorted(self._grams, numbers, side) for side in ("left", "right"))
        bounds = np.searchsorted(owners, np.arange(len(keys) + 1))
        found = []
        for some in map(slice, bounds[:-1], bounds[1:]):
            _, different = np.unique(numbers[some], return_index=True)
            where = zip(begin[some][different], end[some][different], strict=True)
            counts = np.bincount(np.concatenate([self._rows[i:j] for i, j in where]), minlength=1)
            best = int(counts.argmax())
            found.append((best, float(counts[best] / len(different))))
        return found


def shares(verdicts: Sequence[Verdict]) -> dict[str, float]:
    """What share of replies is of each kind, `memorised` (exact and near), and what share of sentences is `strange`."""
    count = max(1, len(verdicts))
    each = {kind: sum(verdict.kind == kind for verdict in verdicts) / count for kind in KINDS}
    strange, said = (sum(getattr(verdict, name) for verdict in verdicts) for name in ("strange", "sentences"))
    return each | {"memorised": each["exact"] + each["near"], "strange": strange / max(1, said)}


def _pieces(sentence: str) -> Iterator[str]:
    inside = words(sentence)
    for i in range(max(1, len(inside) - PIECE + 1)):
        yield " ".join(inside[i : i + PIECE])
