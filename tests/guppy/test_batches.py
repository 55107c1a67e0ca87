"""Batches: rows of a length together, cut where they are too long, resumed to the bit."""

from __future__ import annotations

import json
from collections import Counter

import numpy as np
import pytest
import torch

from guppy.batches import IGNORE, Batch, BatchSampler, Split, heldout_batches
from guppy.corpus import Corpus
from guppy.errors import GuppyError


@pytest.fixture(scope="module")
def fish() -> Corpus:
    return Corpus.from_persona("guppy", rows=4000, seed=0)


def ramp(*lengths: int) -> Split:
    """Rows of the numbers 1, 2, 3, …, so that each token tells where it stood."""
    numbers = iter(range(1, sum(lengths) + 1))
    return Split.from_rows([[next(numbers) for _ in range(length)] for length in lengths], [""] * len(lengths))


def targets_of(batches: list[Batch]) -> Counter[int]:
    return Counter(token for batch in batches for token in batch.targets.flatten().tolist() if token != IGNORE)


def epoch(sampler: BatchSampler) -> list[Batch]:
    return [sampler.next() for _ in range(sampler.batches_per_epoch)]


def check(batch: Batch, context: int, pad_id: int = 0) -> None:
    """On a ramp each target is its input plus one; padding stands on the right only."""
    assert batch.ids.dtype == batch.targets.dtype == torch.int64
    assert batch.ids.shape == batch.targets.shape and batch.ids.shape[1] <= context
    real = batch.targets != IGNORE
    assert batch.n_tokens == int(real.sum()) > 0
    assert torch.equal(batch.targets[real], batch.ids[real] + 1)
    assert torch.equal(real, real.long().cummin(dim=1).values.bool())
    assert (batch.ids[:, 1:][~real[:, :-1]] == pad_id).all()


def test_an_epoch_holds_every_target_once() -> None:
    split = ramp(*range(2, 34))
    sampler = BatchSampler(split, batch_size=4, context=40, pad_id=0, seed=0)
    assert sampler.batches_per_epoch == 8
    for _ in range(3):
        batches = epoch(sampler)
        for batch in batches:
            check(batch, 40)
        firsts = set(split.offsets[:-1] + 1)
        assert targets_of(batches) == Counter(set(range(1, split.offsets[-1] + 1)) - firsts)


def test_each_epoch_has_its_own_order() -> None:
    split = ramp(*[5, 9, 20] * 40)
    sampler = BatchSampler(split, batch_size=8, context=40, pad_id=0, seed=0)
    one, two = epoch(sampler), epoch(sampler)
    assert targets_of(one) == targets_of(two) and len(one) == 15
    assert not any(torch.equal(a.ids, b.ids) for a, b in zip(one, two, strict=True) if a.ids.shape == b.ids.shape)


def test_a_long_row_is_cut_and_loses_nothing() -> None:
    split = ramp(1000)
    sampler = BatchSampler(split, batch_size=1, context=16, pad_id=0, seed=0)
    seen, cuts = Counter(), set()
    for _ in range(8):
        batches = epoch(sampler)
        for batch in batches:
            check(batch, 16)
        assert max(targets_of(batches).values()) == 1
        seen += targets_of(batches)
        phases = {int(batch.ids[0, 0]) % 16 for batch in batches if batch.ids[0, 0] != 1}
        assert len(phases) == 1, "the pieces of an epoch follow each other"
        cuts |= phases
    assert len(cuts) > 3, "each epoch cuts elsewhere"
    assert set(seen) == set(range(2, 1001))
    assert min(seen.values()) >= 5, "what does not fill a batch is another piece each epoch"


def test_what_does_not_fill_a_batch_changes() -> None:
    sampler = BatchSampler(ramp(*[3] * 10), batch_size=4, context=8, pad_id=0, seed=0)
    assert sampler.batches_per_epoch == 2
    first, second = targets_of(epoch(sampler)), targets_of(epoch(sampler))
    assert len(first) == len(second) == 16 and first != second


def test_a_batch_is_never_larger_than_the_split() -> None:
    sampler = BatchSampler(ramp(3, 3, 3), batch_size=64, context=8, pad_id=0, seed=0)
    assert sampler.next().ids.shape == (3, 2)
    assert sampler.batches_per_epoch == 1


def test_rows_without_a_target_are_left_out() -> None:
    sampler = BatchSampler(ramp(1, 0, 4, 1), batch_size=2, context=8, pad_id=0, seed=0)
    assert sampler.next().n_tokens == 3
    with pytest.raises(GuppyError, match="no row of two tokens"):
        BatchSampler(ramp(1, 0), batch_size=2, context=8, pad_id=0, seed=0)


@pytest.mark.parametrize(("batch_size", "context"), [(0, 8), (4, 0)])
def test_sizes_of_nothing_are_refused(batch_size: int, context: int) -> None:
    with pytest.raises(GuppyError, match="at least 1"):
        BatchSampler(ramp(5), batch_size, context, pad_id=0, seed=0)


@pytest.mark.parametrize("at", [0, 1, 7, 15, 16, 40])
def test_batches_go_on_exactly(at: int, fish: Corpus) -> None:
    def sampler(seed: int) -> BatchSampler:
        return BatchSampler(fish.train, 256, 24, fish.tokenizer.pad_id, seed)

    straight = sampler(seed=5)
    for _ in range(at):
        straight.next()
    resumed = sampler(seed=0)
    resumed.next()
    resumed.load_state(json.loads(json.dumps(straight.state())))
    for _ in range(20):
        a, b = straight.next(), resumed.next()
        assert torch.equal(a.ids, b.ids) and torch.equal(a.targets, b.targets) and a.n_tokens == b.n_tokens


def test_the_seed_decides_the_order(fish: Corpus) -> None:
    a, b = (BatchSampler(fish.train, 64, 128, 0, seed).next() for seed in (0, 1))
    assert a.ids.shape != b.ids.shape or not torch.equal(a.ids, b.ids)


def test_heldout_batches_are_fixed_and_complete() -> None:
    split = ramp(*range(2, 60))
    batches = heldout_batches(split, 8, context=16, pad_id=0)
    for batch in batches:
        check(batch, 16)
    firsts = set(split.offsets[:-1] + 1)
    assert targets_of(batches) == Counter(set(range(1, split.offsets[-1] + 1)) - firsts)
    again = heldout_batches(split, 8, context=16, pad_id=0)
    assert all(torch.equal(a.ids, b.ids) for a, b in zip(batches, again, strict=True))


def test_some_heldout_rows_are_spread_evenly() -> None:
    split = ramp(*[4] * 100)
    batches = heldout_batches(split, 3, context=16, pad_id=0, max_rows=5)
    firsts = sorted(int(first) for batch in batches for first in batch.ids[:, 0])
    assert firsts == [1, 101, 201, 297, 397]
    assert len(heldout_batches(split, 200, 16, 0, max_rows=1000)[0].ids) == 100


def test_a_split_gives_its_rows_back() -> None:
    split = Split.from_rows([[1, 2, 3], [], [65_535]], ["a", "b", "c"])
    assert len(split) == 3 and split.lengths.tolist() == [3, 0, 1]
    assert [split.row(i).tolist() for i in range(3)] == [[1, 2, 3], [], [65_535]]
    assert split.tokens.dtype == np.uint16
