from collections import Counter

import numpy as np

from guppy.batches import BatchSampler, Split


def rows_of(sampler: BatchSampler, batches: int) -> list[list[tuple[int, ...]]]:
    """The rows of the next batches, as tokens without padding (0)."""
    drawn = []
    for _ in range(batches):
        ids = sampler.next().ids.tolist()
        drawn.append([tuple(token for token in row if token) for row in ids])
    return drawn


def test_copies_of_a_row_come_at_equal_distances() -> None:
    """Row k, k = 1 to 8, is there 40·k times among 1,440: each stretch of batches holds its share of each."""
    rows = [[k, k, k] for k in range(1, 9) for _ in range(40 * k)]
    sampler = BatchSampler(Split.from_rows(rows, [""] * len(rows)), 4, 8, pad_id=0, seed=0)
    stretch = 16
    for _ in range(sampler.batches_per_epoch // stretch):
        counts = Counter(row[0] for batch in rows_of(sampler, stretch) for row in batch)
        assert all(abs(counts[k] - 4 * stretch * k / 36) <= 2 for k in range(1, 9)), counts


def test_rows_that_differ_come_in_any_order() -> None:
    rows = [[token] * 3 for token in range(1, 2001)]
    split = Split.from_rows(rows, [""] * len(rows))
    order = [row[0] for batch in rows_of(BatchSampler(split, 10, 8, 0, seed=0), 200) for row in batch]
    assert sorted(order) == list(range(1, 2001))
    assert abs(np.corrcoef(order, range(2000))[0, 1]) < 0.1


def test_lengths_are_mixed_in_every_batch() -> None:
    random = np.random.default_rng(0)
    rows = [[1] * int(length) for length in random.integers(4, 64, size=8000)]
    sampler = BatchSampler(Split.from_rows(rows, [""] * len(rows)), 16, 64, pad_id=0, seed=0)
    tokens = [sampler.next().n_tokens / 16 for _ in range(200)]
    assert abs(np.mean(tokens) - np.mean([len(row) - 1 for row in rows])) < 1
    assert np.std(tokens) < 6, "sixteen rows of any length: a fourth of their own spread"
