"""Corpora: leak-free splits, files in and out, entropies by hand, and batches that resume to the bit."""

from __future__ import annotations

import gzip
import json
import math
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch

from guppy.batches import IGNORE, Batch, BatchSampler, Split, heldout_batches
from guppy.corpus import Corpus, draw_split
from guppy.errors import GuppyError
from guppy.personas import load_persona
from guppy.rows import Passage, pair_of
from guppy.splits import split_pairs, text_key
from guppy.tokenizer import Tokenizer, train_char

PROSE = "\n".join(f"the {n}th fish swims past the {n % 7}th stone and thinks of food." for n in range(200))


@pytest.fixture(scope="module")
def fish() -> Corpus:
    return Corpus.from_persona("guppy", rows=4000, seed=0)


def write_jsonl(path: Path, rows: list[dict[str, str]]) -> Path:
    text = "".join(json.dumps(row) + "\n" for row in rows)
    path.write_bytes(gzip.compress(text.encode()) if path.suffix == ".gz" else text.encode())
    return path


def some_pairs(count: int = 400) -> list[dict[str, str]]:
    return [
        {"input": f"what is number {n}?", "output": f"it is {n} flakes.", "category": f"c{n % 3}"} for n in range(count)
    ]


# -- the split ---------------------------------------------------------------------------------------


def shared(train: list, heldout: list) -> tuple[set[str], set[str]]:
    halves = [[set(map(text_key, side)) for side in zip(*map(pair_of, rows), strict=True)] for rows in (train, heldout)]
    return halves[0][0] & halves[1][0], halves[0][1] & halves[1][1]


@pytest.mark.parametrize("seed", [0, 1])
def test_no_prompt_and_no_reply_is_in_both_splits(seed: int) -> None:
    train, heldout = draw_split(load_persona("guppy"), 6000, seed)
    assert shared(train, heldout) == (set(), set())
    assert len(train) + len(heldout) == 6000
    assert len(heldout) > 0.03 * 6000


def test_every_topic_is_held_out(fish: Corpus) -> None:
    assert set(fish.heldout.categories) == set(fish.train.categories) == set(load_persona("guppy").topics)


def test_the_seed_decides_the_split() -> None:
    persona = load_persona("guppy")
    assert draw_split(persona, 1000, 3) == draw_split(persona, 1000, 3)
    assert draw_split(persona, 1000, 3) != draw_split(persona, 1000, 4)


def test_repeated_texts_do_not_leak() -> None:
    """Twelve prompts and twelve replies, each pair many times: nearly all rows compete for the same strings."""
    pairs = [(f"p{n % 12}", f"r{n * n % 11}") for n in range(2000)]
    dealt = split_pairs(pairs, ["t"] * len(pairs), 0.05, seed=0)
    assert sorted(dealt.train + dealt.heldout + dealt.lost) == list(range(2000))
    assert dealt.train and dealt.heldout
    for side in (0, 1):
        assert not {pairs[i][side] for i in dealt.train} & {pairs[i][side] for i in dealt.heldout}


def test_texts_that_never_repeat_cost_nothing() -> None:
    pairs = [(f"p{n % 500}", f"r{n}") for n in range(5000)]
    dealt = split_pairs(pairs, ["t"] * len(pairs), 0.05, seed=0)
    assert not dealt.lost
    assert 200 <= len(dealt.heldout) <= 300


def test_case_and_punctuation_do_not_make_another_text() -> None:
    assert text_key("Hi,  GUPPY!?") == text_key("hi guppy") != text_key("hi guppy 2")
    assert text_key("?!") == "?!" != text_key("...")


def test_a_persona_of_few_words_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "mute.yaml"
    path.write_text("name: mute\ntopics:\n  a: {prompts: [hi, yo], replies: [blub]}\n")
    with pytest.raises(GuppyError, match=r"mute.*more prompts and replies"):
        Corpus.from_persona(path, rows=100)
    with pytest.raises(GuppyError, match="0 rows"):
        Corpus.from_persona("guppy", rows=0)


def test_a_small_persona_can_be_split(tmp_path: Path) -> None:
    path = tmp_path / "small.yaml"
    prompts = ", ".join(f"question {n}" for n in range(12))
    replies = ", ".join(f"answer {n}" for n in range(12))
    path.write_text(f"name: small\ntopics:\n  a: {{prompts: [{prompts}], replies: [{replies}]}}\n")
    corpus = Corpus.from_persona(path, rows=500)
    assert len(corpus.train) + len(corpus.heldout) == 500
    assert shared(corpus.rows(corpus.train), corpus.rows(corpus.heldout)) == (set(), set())


# -- corpora -----------------------------------------------------------------------------------------


def test_rows_are_chatml_and_fit_the_context(fish: Corpus) -> None:
    assert fish.is_chat and fish.name == "guppy"
    conversations, _ = draw_split(load_persona("guppy"), 4000, 0)
    for i in (0, 1, len(fish.train) - 1):
        assert fish.tokenizer.decode(fish.train.row(i)) == conversations[i].text
        assert fish.train.categories[i] == conversations[i].category
    assert fish.train.lengths.max() <= 128
    assert np.percentile(fish.train.lengths, 5) >= 15 and np.percentile(fish.train.lengths, 95) <= 60


def test_the_same_call_makes_the_same_corpus(fish: Corpus) -> None:
    assert Corpus.from_persona("guppy", rows=4000, seed=0).sha256 == fish.sha256
    assert Corpus.from_persona("guppy", rows=4000, seed=1).sha256 != fish.sha256
    assert Corpus.from_description(fish.describe()).sha256 == fish.sha256


def test_the_description_is_json(fish: Corpus) -> None:
    description = json.loads(json.dumps(fish.describe()))
    assert description["kind"] == "persona" and description["persona"] == "guppy"
    assert (description["rows"], description["seed"], description["tokenizer"]) == (4000, 0, "bpe")


def test_the_tokenizer_is_trained_on_training_text_only(tmp_path: Path) -> None:
    rows = [row | {"output": row["output"] + chr(0x4E00 + n)} for n, row in enumerate(some_pairs())]
    corpus = Corpus.from_path(write_jsonl(tmp_path / "pairs.jsonl", rows), "char")
    known = set("".join(corpus.tokenizer.token_strings(range(corpus.tokenizer.vocab_size))))
    assert all(row.output[-1] in known for row in corpus.rows(corpus.train))
    assert not any(row.output[-1] in known for row in corpus.rows(corpus.heldout))
    assert len(corpus.heldout)


def test_a_tokenizer_can_be_given(fish: Corpus, tmp_path: Path) -> None:
    corpus = Corpus.from_path(write_jsonl(tmp_path / "pairs.jsonl", some_pairs()), fish.tokenizer)
    assert corpus.tokenizer.sha256 == fish.tokenizer.sha256
    again = Corpus.from_description(corpus.describe(), fish.tokenizer)
    assert again.sha256 == corpus.sha256


def test_an_unknown_tokenizer_is_refused() -> None:
    with pytest.raises(GuppyError, match="'words'; choose bpe or char"):
        Corpus.from_persona("guppy", rows=200, tokenizer="words")


def test_probes_are_ten_and_encode_as_chat(fish: Corpus) -> None:
    assert len(fish.probes) == 10 == len(set(fish.probes))
    assert fish.encode_probe("hi") == fish.tokenizer.encode_chat("hi")


def test_entropies_by_hand() -> None:
    tokenizer = train_char(["abc"])
    a, b, c = (tokenizer.encode(letter)[0] for letter in "abc")
    split = Split.from_rows([[a, b, a, b, c], [b, b], [c], []], [""] * 4)
    corpus = Corpus("abc", tokenizer, split, split, [], {})
    got = corpus.reference_entropies()
    # Targets: b a b c | b. Pairs: ab ba ab bc | bb.
    unigram = -(3 * math.log(3 / 5) + math.log(1 / 5) + math.log(1 / 5)) / 5
    bigram = -(2 * math.log(2 / 2) + 3 * math.log(1 / 3)) / 5
    assert got["log_v"] == pytest.approx(math.log(256))
    assert got["unigram"] == pytest.approx(unigram) and got["bigram"] == pytest.approx(bigram)


def test_entropies_descend(fish: Corpus) -> None:
    got = fish.reference_entropies()
    assert got["log_v"] > got["unigram"] > got["bigram"] > 0


# -- files -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["bpe", "char"])
def test_a_saved_corpus_is_the_same(kind: str, tmp_path: Path) -> None:
    corpus = Corpus.from_persona("guppy", rows=600, tokenizer=kind)
    corpus.save(tmp_path / "deep" / "corpus")
    loaded = Corpus.load(tmp_path / "deep" / "corpus")
    assert loaded.sha256 == corpus.sha256
    assert loaded.train.categories == corpus.train.categories
    assert sorted(path.name for path in (tmp_path / "deep" / "corpus").iterdir()) == [
        "heldout.jsonl", "tokenizer.json", "train.jsonl"
    ]  # fmt: skip
    assert Corpus.from_description(loaded.describe()).sha256 == corpus.sha256
    row = json.loads((tmp_path / "deep" / "corpus" / "train.jsonl").read_text(encoding="utf-8").split("\n")[0])
    assert list(row) == ["input", "output", "category", "text"]


def test_awkward_conversations_survive_saving(tmp_path: Path) -> None:
    rows = [{"input": f"{n}<|im_end|> \u2028 \x00 é", "output": f" user\n<|im_start|>🐟 {n}\n"} for n in range(200)]
    corpus = Corpus.from_path(write_jsonl(tmp_path / "odd.jsonl", rows))
    corpus.save(tmp_path / "odd")
    loaded = Corpus.load(tmp_path / "odd")
    assert loaded.sha256 == corpus.sha256
    inputs = {row.input for row in loaded.rows(loaded.train)}
    assert inputs and inputs <= {row["input"] for row in rows}


@pytest.mark.parametrize("name", ["rows.jsonl", "rows.jsonl.gz"])
def test_guppylm_rows_are_read(name: str, tmp_path: Path) -> None:
    rows = [
        {
            "text": f"<|im_start|>user\n{row['input']}<|im_end|>\n<|im_start|>assistant\n{row['output']}<|im_end|>",
            "category": row["category"],
        }
        for row in some_pairs()
    ]
    corpus = Corpus.from_path(write_jsonl(tmp_path / name, rows))
    same = Corpus.from_path(write_jsonl(tmp_path / "pairs.jsonl", some_pairs()))
    assert corpus.is_chat and corpus.sha256 == same.sha256
    assert shared(corpus.rows(corpus.train), corpus.rows(corpus.heldout)) == (set(), set())


def test_long_conversations_are_kept_whole(tmp_path: Path) -> None:
    turn = "<|im_start|>{}\n{} {}<|im_end|>"
    rows = [
        {"text": "\n".join(turn.format(role, role, n) for role in ("user", "assistant", "user", "assistant"))}
        for n in range(200)
    ]
    corpus = Corpus.from_path(write_jsonl(tmp_path / "talks.jsonl", rows))
    assert corpus.is_chat
    row = corpus.train.row(0).tolist()
    assert row.count(corpus.tokenizer.im_start_id) == row.count(corpus.tokenizer.im_end_id) == 4
    assert {row.text for row in corpus.rows(corpus.train)} <= {row["text"] for row in rows}


def test_a_text_in_chatml_is_conversations(tmp_path: Path) -> None:
    path = tmp_path / "chat.txt"
    turn = "<|im_start|>user\nnumber {0}?<|im_end|>\n<|im_start|>assistant\nyes {0}.<|im_end|>\n"
    path.write_text("\n".join(turn.format(n) for n in range(300)))
    corpus = Corpus.from_path(path)
    assert corpus.is_chat and len(corpus.train) + len(corpus.heldout) == 300


@pytest.mark.parametrize("kind", ["bpe", "char"])
def test_plain_text_keeps_its_end_back(kind: str, tmp_path: Path) -> None:
    path = tmp_path / "prose.txt"
    path.write_text(PROSE)
    corpus = Corpus.from_path(path, kind)
    assert not corpus.is_chat and corpus.tokenizer.kind == kind
    train, heldout = (corpus.tokenizer.decode(split.tokens) for split in (corpus.train, corpus.heldout))
    assert train + heldout == PROSE
    assert train.endswith("\n") and 0.05 < len(heldout) / len(PROSE) < 0.11
    assert corpus.encode_probe("the") == corpus.tokenizer.encode("the")
    assert len(corpus.probes) == 2 and heldout.startswith(corpus.probes[1])
    corpus.save(tmp_path / "saved")
    assert Corpus.load(tmp_path / "saved").sha256 == corpus.sha256


def test_specials_in_plain_text_stay_text(tmp_path: Path) -> None:
    path = tmp_path / "prose.txt"
    path.write_text("a manual of <|im_start|> and <|im_end|>, line by line.\n" * 50)
    corpus = Corpus.from_path(path)
    assert not set(corpus.train.tokens.tolist()) & {0, 1, 2}


BROKEN = {
    "empty": ("a.jsonl", b"", "a.jsonl is empty"),
    "blank": ("a.txt", b"\n \n", "a.txt is empty"),
    "not JSON": ("a.jsonl", b'{"text": "a"}\n{"text": \n', "line 2: this is not JSON"),
    "no object": ("a.jsonl", b'{"text": "a"}\n\n["b"]\n', "line 3: a row should be"),
    "no text": ("a.jsonl", b'{"input": "a"}\n', "line 1: a row should be"),
    "no string": ("a.jsonl", b'{"text": 5}\n', "line 1: a row should be"),
    "deep": ("a.jsonl", b"[" * 100_000, "line 1: this is not JSON"),
    "not UTF-8": ("a.txt", b"one\ntwo\ncaf\xe9\n", "line 3: this is not UTF-8"),
    "cut gzip": ("a.jsonl.gz", gzip.compress(b'{"text": "a"}\n' * 99)[:30], "not a whole gzip file"),
    "no gzip": ("a.jsonl.gz", b'{"text": "a"}\n', "not a whole gzip file"),
    "too little": ("a.jsonl", b'{"text": "a"}\n', "holds too little"),
    "too little text": ("a.txt", b"hello", "holds too little"),
}


@pytest.mark.parametrize(("name", "content", "what"), BROKEN.values(), ids=BROKEN)
def test_a_broken_file_is_told(name: str, content: bytes, what: str, tmp_path: Path) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(GuppyError) as caught:
        Corpus.from_path(path)
    message = str(caught.value)
    assert str(path) in message and what in message and "\n" not in message


def test_a_missing_file_is_told(fish: Corpus, tmp_path: Path) -> None:
    with pytest.raises(GuppyError, match="there is no file"):
        Corpus.from_path(tmp_path / "nowhere.txt")
    fish.save(tmp_path / "half")
    (tmp_path / "half" / "heldout.jsonl").unlink()
    with pytest.raises(GuppyError, match=r"no file .*heldout\.jsonl"):
        Corpus.load(tmp_path / "half")


def test_a_directory_that_cannot_be_made_is_told(fish: Corpus, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(GuppyError, match="cannot be written"):
        fish.save(tmp_path / "file" / "corpus")


def test_a_description_of_another_kind_is_told() -> None:
    with pytest.raises(GuppyError, match="cannot be made again"):
        Corpus.from_description({"kind": "cloud"})


def test_windows_line_ends_and_a_mark_at_the_start_do_not_matter(tmp_path: Path) -> None:
    path = tmp_path / "pairs.jsonl"
    path.write_bytes(b"\xef\xbb\xbf" + "".join(json.dumps(row) + "\r\n" for row in some_pairs()).encode())
    same = Corpus.from_path(write_jsonl(tmp_path / "same.jsonl", some_pairs()))
    assert Corpus.from_path(path).sha256 == same.sha256


# -- batches -----------------------------------------------------------------------------------------


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


def test_rows_of_a_length_come_together_in_a_new_order() -> None:
    split = ramp(*[5, 9, 20] * 40)
    sampler = BatchSampler(split, batch_size=8, context=40, pad_id=0, seed=0)
    one, two = epoch(sampler), epoch(sampler)
    assert all((batch.targets != IGNORE).all() for batch in one + two), "no padding where lengths allow none"
    assert Counter(batch.ids.shape[1] for batch in one) == {4: 5, 8: 5, 19: 5}
    assert not all(torch.equal(a.ids, b.ids) for a, b in zip(one, two, strict=True) if a.ids.shape == b.ids.shape)
    assert [batch.ids.shape[1] for batch in one] != sorted(batch.ids.shape[1] for batch in one)


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


def test_padding_is_rare(fish: Corpus) -> None:
    sampler = BatchSampler(fish.train, 64, 128, fish.tokenizer.pad_id, seed=0)
    batches = epoch(sampler)
    assert sum(batch.n_tokens for batch in batches) > 0.94 * sum(batch.ids.numel() for batch in batches)


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


def test_a_passage_is_both_prompt_and_reply() -> None:
    assert pair_of(Passage("a")) == ("a", "a")


def test_the_tokenizer_of_a_directory_yields_to_another_kind(fish: Corpus, tmp_path: Path) -> None:
    fish.save(tmp_path / "fish")
    assert Corpus.from_path(tmp_path / "fish", "char").tokenizer.kind == "char"
    kept = Corpus.from_path(tmp_path / "fish", "bpe").tokenizer
    assert kept.sha256 == Tokenizer.load(tmp_path / "fish" / "tokenizer.json").sha256
