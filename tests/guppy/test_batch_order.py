from collections import Counter

import numpy as np

from guppy.batches import WINDOW, BatchSampler, Split


def rows_of(sampler: BatchSampler, batches: int) -> list[list[tuple[int, ...]]]:
    """The rows of the next batches, as tokens without padding (0)."""
    drawn = []
    for _ in range(batches):
        ids = sampler.next().ids.tolist()
        drawn.append([tuple(token for token in row if token) for row in ids])
    return drawn


def test_copies_of_a_row_come_at_equal_distances() -> None:
    """Row k, k = 1 to 8, is there 40·k times among 1,440: each window of batches holds its share of each."""
    rows = [[k, k, k] for k in range(1, 9) for _ in range(40 * k)]
    sampler = BatchSampler(Split.from_rows(rows, [""] * len(rows)), 4, 8, pad_id=0, seed=0)
    for _ in range(sampler.batches_per_epoch // WINDOW):
        counts = Counter(row[0] for batch in rows_of(sampler, WINDOW) for row in batch)
        assert all(abs(counts[k] - 4 * WINDOW * k / 36) <= 2 for k in range(1, 9)), counts


def test_rows_that_differ_come_in_any_order() -> None:
    rows = [[token] * 3 for token in range(1, 2001)]
    split = Split.from_rows(rows, [""] * len(rows))
    order = [row[0] for batch in rows_of(BatchSampler(split, 10, 8, 0, seed=0), 200) for row in batch]
    assert sorted(order) == list(range(1, 2001))
    assert abs(np.corrcoef(order, range(2000))[0, 1]) < 0.1


def test_a_batch_holds_several_lengths_and_little_padding() -> None:
    random = np.random.default_rng(0)
    rows = [[1] * int(length) for length in random.integers(4, 64, size=8000)]
    sampler = BatchSampler(Split.from_rows(rows, [""] * len(rows)), 16, 64, pad_id=0, seed=0)
    batches = [sampler.next() for _ in range(200)]
    lengths = [len(set((batch.targets >= 0).sum(1).tolist())) for batch in batches]
    assert np.mean(lengths) > 3
    assert sum(batch.n_tokens for batch in batches) > 0.92 * sum(batch.ids.numel() for batch in batches)
