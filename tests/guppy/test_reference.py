"""Reference lines: cross-entropies by hand, and a grammar whose entropy is known."""

from __future__ import annotations

import math
import time
from pathlib import Path

import pytest

from guppy.batches import Split
from guppy.corpus import Corpus
from guppy.personas import load_persona
from guppy.reference import reference_lines
from guppy.tokenizer import train_char


def test_cross_entropies_by_hand() -> None:
    tokenizer = train_char(["abc"])
    a, b, c = (tokenizer.encode(letter)[0] for letter in "abc")
    train = Split.from_rows([[a, b, a, b, c], [b, b], [c], []], [""] * 4)
    heldout = Split.from_rows([[a, b], [c, b, c], []], [""] * 3)
    got = reference_lines(Corpus("abc", tokenizer, train, heldout, [], {}))
    size = tokenizer.vocab_size
    # Training targets: b a b c | b, three kinds. Pairs: ab ba ab bc | bb.
    unigram = {a: (1 + 3 / size) / 8, b: (3 + 3 / size) / 8, c: (1 + 3 / size) / 8}
    after_a_b = (2 + 1 * unigram[b]) / 3
    after_c_b = unigram[b]  # nothing was seen after c
    after_b_c = (1 + 3 * unigram[c]) / 6
    assert got.log_v == pytest.approx(math.log(256))
    assert got.unigram == pytest.approx(-math.log(unigram[b] * unigram[b] * unigram[c]) / 3)
    assert got.bigram == pytest.approx(-math.log(after_a_b * after_c_b * after_b_c) / 3)
    assert got.grammar is None and "grammar" not in got.to_dict()


def test_no_token_is_impossible() -> None:
    tokenizer = train_char(["abc"])
    train = Split.from_rows([tokenizer.encode("ababab")], [""])
    heldout = Split.from_rows([tokenizer.encode("a?c!zz")], [""])
    got = reference_lines(Corpus("abc", tokenizer, train, heldout, [], {}))
    assert 0 < got.unigram < 20 and 0 < got.bigram < 20


def test_lines_descend() -> None:
    got = reference_lines(Corpus.from_persona("guppy", rows=4000))
    assert got.log_v > got.unigram > got.bigram > got.grammar > 0


KNOWN = """
name: known
prompt_noise: {capital: 0.5}
topics:
  a:
    slots: {x: [%s], unused: [u, v]}
    rules: {y: [%s], quiet: ["", "", ""]}
    prompts: ["p {quiet}{x}"]
    replies: [3: "r {x} {y}", 1: "s {y}"]
"""


def test_a_grammar_without_ambiguity_has_its_true_entropy(tmp_path: Path) -> None:
    """Ways to say the same inside a template, an unused slot, and noise without effect count nothing."""
    path = tmp_path / "known.yaml"
    path.write_text(KNOWN % (", ".join(f"x{n}" for n in range(100)), ", ".join(f"y{n}" for n in range(70))))
    draws = load_persona(path).draw(4000, seed=0)
    replies = -0.75 * math.log(0.75) - 0.25 * math.log(0.25)
    expected = math.log(2) + math.log(100) + math.log(70) + replies
    assert sum(draw.nats for draw in draws) / len(draws) == pytest.approx(expected, rel=0.005)
    corpus = Corpus.from_persona(path, rows=3000)
    targets = int((corpus.heldout.lengths - 1).sum())
    assert reference_lines(corpus).grammar == pytest.approx(corpus.nats["heldout"] / targets)


def test_sixty_thousand_rows_are_quick() -> None:
    corpus = Corpus.from_persona("guppy", rows=2000)
    many = Split.from_rows(
        [row.tolist() for row in map(corpus.train.row, range(len(corpus.train)))] * 30, corpus.train.categories * 30
    )
    corpus.train = many
    start = time.process_time()
    reference_lines(corpus)
    assert time.process_time() - start < 2
