"""Which topic is a reply about? A small classifier, so that a model's replies can be held to what it was asked."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from itertools import pairwise

import numpy as np

from guppy.replies import words

SMOOTHING = 0.1
# More than enough for a persona; bounds the table (features x topics) for data with a million words or topics.
MOST_FEATURES = 30_000
MOST_TOPICS = 200
LEARNED_FROM = 20_000


class TopicClassifier:
    """Multinomial naive Bayes over words and pairs of neighbouring words (McCallum & Nigam 1998).

    Attributes:
        topics: what it can answer.
    """

    def __init__(self, replies: Sequence[str], topics: Sequence[str]) -> None:
        """Learn from replies and their topics (at most 20,000, evenly spread)."""
        chosen = np.unique(np.linspace(0, len(replies) - 1, min(len(replies), LEARNED_FROM)).round().astype(int))
        features = [_features(replies[i]) for i in chosen]
        common = Counter(feature for each in features for feature in each).most_common(MOST_FEATURES)
        self._column = {feature: column for column, (feature, _) in enumerate(common)}
        self.topics = sorted({topics[i] for i in chosen})
        row_of = {topic: row for row, topic in enumerate(self.topics)}
        rows = [row_of[topics[i]] for i in chosen]
        cells = np.fromiter(
            (
                row * len(self._column) + column
                for row, each in zip(rows, features, strict=True)
                for column in self._columns(each)
            ),
            dtype=np.int64,
        )
        counts = np.bincount(cells, minlength=len(self.topics) * len(self._column)).reshape(len(self.topics), -1)
        counts = counts + SMOOTHING
        # log p(feature | topic) and log p(topic)
        self._weights = np.log(counts / counts.sum(1, keepdims=True)).T  # [feature, topic]
        self._bias = np.log(np.bincount(rows, minlength=len(self.topics)) / len(rows))  # [topic]

    def guess(self, replies: Iterable[str]) -> list[str]:
        """The likeliest topic of each reply."""
        columns = (list(self._columns(_features(reply))) for reply in replies)
        return [self.topics[int((self._bias + self._weights[each].sum(0)).argmax())] for each in columns]

    def accuracy(self, replies: Sequence[str], topics: Sequence[str]) -> float:
        """The share of replies whose topic it guesses."""
        right = sum(guess == topic for guess, topic in zip(self.guess(replies), topics, strict=True))
        return right / max(1, len(replies))

    def _columns(self, features: Iterable[str]) -> Iterable[int]:
        return (self._column[feature] for feature in features if feature in self._column)


def learnable(topics: Sequence[str]) -> bool:
    """Whether there are topics to tell apart, and not too many."""
    return 2 <= len(set(topics)) <= MOST_TOPICS


def _features(text: str) -> list[str]:
    inside = words(text)
    return inside + [f"{a} {b}" for a, b in pairwise(inside)]
