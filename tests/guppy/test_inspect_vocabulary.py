import collections

import pytest
import torch
from networks import TEXTS, tiny

from guppy.corpus import Corpus
from guppy.errors import GuppyError
from guppy.inspect import vocabulary
from guppy.inspect.asking import Subject
from guppy.inspect.vocabulary import asked_tokens, met_tokens, token_id, words
from guppy.tokenizer import train_bpe


class Source:
    """As much of a run as the vocabulary asks for."""

    def __init__(self, described, tokenizer, is_chat=True):
        self.manifest, self.tokenizer, self.is_chat = {"corpus": described}, tokenizer, is_chat


@pytest.fixture(scope="module")
def corpus():
    return Corpus.from_persona("guppy", rows=400)


def test_met_tokens_are_those_of_the_training_split(corpus, monkeypatch):
    monkeypatch.setattr(vocabulary, "_met", {})
    run = Source(corpus.describe() | {"sha256": corpus.sha256}, corpus.tokenizer)
    counts = collections.Counter(corpus.train.tokens.tolist())
    expected = {token for token, count in counts.items() if count >= 3}
    found = met_tokens(run)
    assert set(found.tolist()) == expected | {corpus.tokenizer.im_start_id, corpus.tokenizer.im_end_id}
    assert 100 < len(found) < corpus.tokenizer.vocab_size, "bytes that no text has are left out"
    monkeypatch.setattr(vocabulary, "_find_met", lambda run: pytest.fail("found once"))
    assert met_tokens(run) is found


def test_of_many_conversations_a_sample_stands_for_all(corpus, monkeypatch):
    monkeypatch.setattr(vocabulary, "_met", {})
    monkeypatch.setattr(vocabulary, "SAMPLE", 300)
    made = Corpus.from_persona("guppy", 300, tokenizer=corpus.tokenizer)
    counts = collections.Counter(made.train.tokens.tolist())
    found = met_tokens(Source(corpus.describe(), corpus.tokenizer))
    assert {token for token, count in counts.items() if count >= 3} <= set(found.tolist())
    assert len(found) <= 2 + sum(count >= 3 for count in counts.values())


def test_without_its_training_text_all_tokens_count(corpus, monkeypatch):
    monkeypatch.setattr(vocabulary, "_met", {})
    gone = Source({"kind": "path", "path": "/nowhere/at/all.txt", "sha256": "0"}, corpus.tokenizer)
    assert met_tokens(gone) is None
    model = tiny(vocab_size=corpus.tokenizer.padded_vocab_size)
    nothing = torch.empty(0, dtype=torch.int64)
    everything = list(range(corpus.tokenizer.vocab_size))
    for run in (gone, None):
        subject = Subject(model, corpus.tokenizer, nothing, [], run)
        assert asked_tokens(subject, "met").tolist() == everything
    known = Source(corpus.describe(), corpus.tokenizer)
    subject = Subject(model, corpus.tokenizer, nothing, [], known)
    unmet = next(i for i in everything if i not in met_tokens(known).tolist())
    assert unmet in asked_tokens(subject, "met", unmet).tolist()
    assert unmet not in asked_tokens(subject, "met").tolist()
    assert asked_tokens(subject, "all").tolist() == everything


def test_tokens_by_text_and_by_id():
    tokenizer = train_bpe(TEXTS, 300)
    single = next(i for i in range(259, 300) if tokenizer.token_strings([i])[0].startswith(" "))
    text = tokenizer.token_strings([single])[0]
    assert token_id(tokenizer, text) == token_id(tokenizer, f"#{single}") == single
    assert token_id(tokenizer, "<|im_end|>") == tokenizer.im_end_id
    assert token_id(tokenizer, "#") == tokenizer.encode("#")[0]
    for bad in ("", "#4000", "zebra"):
        with pytest.raises(GuppyError):
            token_id(tokenizer, bad)
    assert words(tokenizer, torch.tensor([[single, 5]]), [5]) == {
        "5": tokenizer.token_strings([5])[0],
        str(single): text,
    }
