"""Near-duplicates: texts of one split that nearly stand in another.

Two texts are compared as `guppy.splits.text_key` leaves them (no case, no punctuation). A text's grams are the
different stretches of 8 bytes in it, in English 8 characters; a shorter text is one gram. A text is a near-duplicate of
another one that holds more than 0.8 of its grams (containment, Broder 1997, section 2): the other may say more. Words
would do for documents; most of these texts have fewer than 8 of them.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from guppy.splits import text_key

GRAM = 8
CONTAINED = 0.8


def near_duplicates(texts: Sequence[str], known: Sequence[str]) -> np.ndarray:
    """Which of the texts, bool [texts], are nearly in one of the known ones."""
    found = np.zeros(len(texts), dtype=bool)
    if not len(texts) or not len(known):
        return found
    numbers, owners = grams([text_key(text) for text in texts])
    different = _distinct(numbers)
    numbers = np.searchsorted(different, numbers)
    known_grams, known_owners = grams([text_key(text) for text in known])
    at = np.minimum(np.searchsorted(different, known_grams), len(different) - 1)
    there = different[at] == known_grams
    # Each known text's grams once, in the order of the grams: gram g stands in holders[starts[g] : starts[g + 1]].
    listed = _distinct(at[there] * len(known) + known_owners[there])
    holders = listed % len(known)
    starts = np.searchsorted(listed, np.arange(len(different) + 1) * len(known))
    held = np.diff(starts)

    pairs = _distinct(owners * len(different) + numbers)
    bounds = np.searchsorted(pairs, np.arange(len(texts) + 1) * len(different))
    numbers = pairs % len(different)
    for i in range(len(texts)):
        own = numbers[bounds[i] : bounds[i + 1]]
        needed = CONTAINED * len(own)
        if np.count_nonzero(held[own]) > needed:
            lists = [holders[starts[gram] : starts[gram + 1]] for gram in own]
            found[i] = np.bincount(np.concatenate(lists)).max() > needed
    return found


def _distinct(values: np.ndarray) -> np.ndarray:
    """The different values in order. (numpy's `unique` hashes, which takes five times as long on millions.)"""
    values = np.sort(values)
    return values[np.concatenate([values[:1] == values[:1], values[1:] != values[:-1]])]


def grams(keys: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
    """All grams of texts as `text_key` leaves them: as numbers, uint64 [grams], and whose each is, int64 [grams]."""
    raw = [key.encode("utf-8", "surrogatepass").ljust(GRAM, b"\0") for key in keys]
    lengths = np.array([len(key) for key in raw], dtype=np.int64)
    if not raw:
        return np.empty(0, np.uint64), lengths
    counts = lengths - GRAM + 1
    owners = np.repeat(np.arange(len(raw)), counts)
    starts = np.cumsum(lengths) - lengths
    places = np.arange(len(owners)) - np.repeat(np.cumsum(counts) - counts, counts) + starts[owners]
    joined = b"".join(raw)
    # Eight bytes from each place on are one number.
    numbers = np.ndarray(len(joined) - GRAM + 1, dtype="<u8", buffer=joined, strides=(1,))
    return numbers[places], owners
