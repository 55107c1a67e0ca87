"""Near-duplicates, held against a slow and plain count."""

from __future__ import annotations

import time
from random import Random

from guppy.overlap import near_duplicates
from guppy.splits import text_key


def plain(text: str, known: list[str]) -> bool:
    def grams(text: str) -> set[str]:
        key = text_key(text)
        return {key[i : i + 8] for i in range(max(1, len(key) - 7))} if len(key) >= 8 else {key}

    own = grams(text)
    return any(len(own & grams(other)) > 0.8 * len(own) for other in known)


def sentence(random: Random, words: int) -> str:
    return " ".join(
        random.choice(["water", "food", "snail", "warm", "light", "a", "is", "Filter!"]) for _ in range(words)
    )


def test_it_is_the_plain_count() -> None:
    random = Random(0)
    known = [sentence(random, random.randint(1, 12)) for _ in range(300)]
    texts = [sentence(random, random.randint(1, 9)) for _ in range(200)] + [f"{text} more" for text in known[:50]]
    expected = [plain(text, known) for text in texts]
    assert 30 < sum(expected) < 220
    assert near_duplicates(texts, known).tolist() == expected


def test_case_punctuation_and_additions_do_not_hide_a_duplicate() -> None:
    known = ["oh, the water is warm and the light is gold today. do you have flakes?", "hi"]
    texts = ["The water is warm, and the light is gold!", "hi!", "hi there friend", "the snail is slow", "flakes"]
    assert near_duplicates(texts, known).tolist() == [True, True, False, False, False]
    assert near_duplicates([], known).tolist() == [] and near_duplicates(["a"], []).tolist() == [False]
    assert near_duplicates(["wholly unlike it"], known).tolist() == [False]


def test_thousands_against_tens_of_thousands_are_quick() -> None:
    random = Random(0)
    known = [sentence(random, 14) for _ in range(20_000)]
    texts = [sentence(random, 14) for _ in range(1000)]
    start = time.process_time()
    near_duplicates(texts, known)
    assert time.process_time() - start < 5
