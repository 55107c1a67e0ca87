"""A kept corpus is the corpus or nothing."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from guppy import corpora
from guppy.corpus import Corpus


@pytest.fixture(autouse=True)
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("GUPPY_CHECKPOINTS", str(tmp_path))
    return tmp_path


@pytest.fixture(scope="module")
def corpus() -> Corpus:
    return Corpus.from_persona("guppy", rows=600, seed=3)


def test_comes_back_as_it_was(corpus: Corpus):
    assert corpora.find(corpus.sha256) is None
    corpora.keep(corpus)
    found = corpora.find(corpus.sha256)
    assert found is not None and found.sha256 == corpus.sha256
    for mine, theirs in ((corpus.train, found.train), (corpus.heldout, found.heldout)):
        np.testing.assert_array_equal(mine.tokens, theirs.tokens)
        np.testing.assert_array_equal(mine.offsets, theirs.offsets)
        assert mine.categories == theirs.categories
    assert (found.name, found.probes, found.describe()) == (corpus.name, corpus.probes, corpus.describe())
    assert found.tokenizer.encode("hello fish") == corpus.tokenizer.encode("hello fish")


def test_is_made_once(monkeypatch: pytest.MonkeyPatch):
    first = corpora.from_persona("guppy", 600, 3)
    monkeypatch.setattr(Corpus, "from_persona", lambda *_: pytest.fail("made again"))
    assert corpora.from_persona("guppy", 600, 3).sha256 == first.sha256
    assert corpora.find_persona("guppy", 600, 4) is None


@pytest.mark.parametrize("damage", [b"", b"no tensors at all", None])
def test_a_damaged_file_is_nothing(corpus: Corpus, damage: bytes | None):
    corpora.keep(corpus)
    path = corpora.folder() / f"{corpus.sha256}.safetensors"
    content = bytearray(path.read_bytes())
    content[-1] ^= 1  # one bit of one token
    path.write_bytes(content if damage is None else damage)
    assert corpora.find(corpus.sha256) is None


def test_only_the_last_ones_stay(corpus: Corpus, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(corpora, "KEPT", 1)
    corpora.keep(corpus)
    other = Corpus.from_persona("guppy", rows=500, seed=1, tokenizer=corpus.tokenizer)
    corpora.keep(other)
    assert corpora.find(corpus.sha256) is None and corpora.find(other.sha256) is not None
    assert len(list(corpora.folder().glob("*.json"))) == 1


def test_a_folder_that_cannot_be_written_costs_only_time(corpus: Corpus, root: Path):
    (root / corpora.FOLDER).write_text("in the way")
    corpora.keep(corpus)
    assert corpora.find(corpus.sha256) is None
    assert corpora.from_persona("guppy", 300, 0).sha256
