"""Rows of tokens to batches: shuffled, padded on the right, resumable to the bit."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch

from guppy.errors import GuppyError
from guppy.packing import Packing

if TYPE_CHECKING:
    from jaxtyping import Int64
    from torch import Tensor

# Cross-entropy's own mark for "no target here".
IGNORE = -100


@dataclass
class Split:
    """Rows of tokens in one flat array: row i is `tokens[offsets[i] : offsets[i + 1]]`."""

    tokens: np.ndarray  # uint16 [all tokens]
    offsets: np.ndarray  # int64 [rows + 1]
    categories: list[str]  # one per row

    @classmethod
    def from_rows(cls, rows: list[list[int]], categories: list[str]) -> Split:
        """Pack lists of token ids (each below 65,536)."""
        offsets = np.zeros(len(rows) + 1, dtype=np.int64)
        np.cumsum([len(row) for row in rows], out=offsets[1:])
        tokens = np.fromiter((token for row in rows for token in row), dtype=np.uint16, count=int(offsets[-1]))
        return cls(tokens, offsets, categories)

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def row(self, index: int) -> np.ndarray:
        """Tokens of one row, uint16 [tokens]."""
        return self.tokens[self.offsets[index] : self.offsets[index + 1]]

    @property
    def lengths(self) -> np.ndarray:
        """Tokens in each row, int64 [rows]."""
        return np.diff(self.offsets)


@dataclass
class Batch:
    """Rows side by side. `targets` is the token after each of `ids`, -100 where there is none."""

    ids: Int64[Tensor, "batch pos"]
    targets: Int64[Tensor, "batch pos"]
    n_tokens: int  # targets that count
    rows: np.ndarray | None = None  # of held-out batches: the split's row that each comes from

    @property
    def packing(self) -> Packing:
        """Each row up to its last target: what has to be computed."""
        after = (self.targets != IGNORE).flip(1).cumsum(1).flip(1)
        return Packing.of(after > 0)


class BatchSampler:
    """Endless training batches.

    The order is drawn anew each epoch, with the copies of a row at equal distances: any stretch of steps sees each row
    about as often as the whole epoch does. A row longer than context + 1 tokens is cut into pieces that overlap by one
    token, so that each of its tokens is a target once; where the cuts fall is drawn anew each epoch as well. What does
    not fill a batch is left out, different rows each epoch.

    What comes is a function of (seed, cursor) alone: a sampler with the same split and settings that is given
    `state()` goes on with exactly the same batches.
    """

    def __init__(self, split: Split, batch_size: int, context: int, pad_id: int, seed: int) -> None:
        """
        Args:
            batch_size: rows in a batch (fewer only if the split has fewer pieces).
            context: the longest piece has this many inputs.

        Raises:
            GuppyError: the split has no row of two tokens, or a size is not positive.
        """
        if batch_size < 1:
            raise GuppyError(f"a batch of {batch_size} rows holds nothing; give at least 1")
        self.split, self.context, self.pad_id, self.seed = split, context, pad_id, seed
        self.cursor = 0
        pieces = len(_cut(split, context)[0])
        self.batch_size = min(batch_size, pieces)
        self.batches_per_epoch = pieces // self.batch_size
        self._epoch = -1

    def next(self) -> Batch:
        """The batch at the cursor; the cursor moves on."""
        epoch, index = divmod(self.cursor, self.batches_per_epoch)
        if epoch != self._epoch:
            self._plan(epoch)
        self.cursor += 1
        rows = self._order[index]
        return _batch(self.split.tokens, self._starts[rows], self._lengths[rows], self.pad_id)

    def state(self) -> dict[str, int]:
        """Where the sampler stands, as JSON."""
        return {"seed": self.seed, "cursor": self.cursor}

    def load_state(self, state: dict[str, int]) -> None:
        """Go on where `state()` was taken."""
        self.seed, self.cursor = int(state["seed"]), int(state["cursor"])
        self._epoch = -1

    def _plan(self, epoch: int) -> None:
        random = np.random.default_rng([self.seed, epoch])
        self._starts, self._lengths = _cut(self.split, self.context, random)
        # Cuts that start anywhere can only add pieces, so an epoch always has its batches.
        where = _places(self.split.tokens, self._starts, self._lengths, random)
        order = np.argsort(where, kind="stable")[: self.batches_per_epoch * self.batch_size]
        self._order = order.reshape(-1, self.batch_size)
        self._epoch = epoch


def heldout_batches(
    split: Split, batch_size: int, context: int, pad_id: int, max_rows: int | None = None
) -> list[Batch]:
    """The split as batches, shortest rows first, always the same; `max_rows` takes that many, evenly spread.

    Rows are cut as in training, but always at multiples of the context.
    """
    starts, lengths = _cut(split, context)
    if max_rows is not None and max_rows < len(starts):
        chosen = np.linspace(0, len(starts) - 1, max_rows).round().astype(np.int64)
        starts, lengths = starts[chosen], lengths[chosen]
    order = np.argsort(lengths, kind="stable")
    groups = [order[i : i + batch_size] for i in range(0, len(order), batch_size)]
    batches = [_batch(split.tokens, starts[group], lengths[group], pad_id) for group in groups]
    for batch, group in zip(batches, groups, strict=True):
        batch.rows = np.searchsorted(split.offsets, starts[group], side="right") - 1
    return batches


def _cut(split: Split, context: int, random: np.random.Generator | None = None) -> tuple[np.ndarray, np.ndarray]:
    """Starts and lengths (tokens, 2 to context + 1) of the pieces into which the rows fall."""
    if context < 1:
        raise GuppyError(f"a context of {context} holds no token; give at least 1")
    starts, targets = split.offsets[:-1], split.lengths - 1
    starts, targets = starts[targets > 0], targets[targets > 0]
    if not len(starts):
        raise GuppyError("there is no row of two tokens or more to learn from; give more text")
    # A long row's first piece has `first` targets, each later one `context`, the last one what remains.
    first = np.full(len(starts), context)
    if random is not None:
        long = targets > context
        first[long] = random.integers(1, context + 1, size=int(long.sum()))
    counts = 1 + np.maximum(0, -(-(targets - first) // context))
    which = np.repeat(np.arange(len(starts)), counts)
    nth = np.arange(len(which)) - np.repeat(np.cumsum(counts) - counts, counts)
    begin = np.where(nth == 0, 0, first[which] + (nth - 1) * context)
    end = np.minimum(first[which] + nth * context, targets[which])
    return starts[which] + begin, end - begin + 1


def _places(tokens: np.ndarray, starts: np.ndarray, lengths: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """A place in the epoch for each piece, 0 to 1: random, and for equal ones at equal distances."""
    kinds: dict[bytes, int] = {}
    pieces = zip(starts.tolist(), (starts + lengths).tolist(), strict=True)
    kind = np.fromiter((kinds.setdefault(tokens[a:b].tobytes(), len(kinds)) for a, b in pieces), np.int64, len(starts))
    copies = np.bincount(kind)
    nth = np.empty(len(kind))
    nth[np.argsort(kind, kind="stable")] = np.arange(len(kind)) - np.repeat(np.cumsum(copies) - copies, copies)
    return (nth + random.random(len(copies))[kind]) / copies[kind]


def _batch(tokens: np.ndarray, starts: np.ndarray, lengths: np.ndarray, pad_id: int) -> Batch:
    window = np.arange(lengths.max())
    inside = window < lengths[:, None]
    picked = tokens[np.where(inside, starts[:, None] + window, 0)].astype(np.int64)
    ids = np.where(inside, picked, pad_id)[:, :-1]
    targets = np.where(inside, picked, IGNORE)[:, 1:]
    return Batch(
        torch.from_numpy(np.ascontiguousarray(ids)),
        torch.from_numpy(np.ascontiguousarray(targets)),
        int(lengths.sum() - len(lengths)),
    )
