"""Corpora: drawn or read, saved and loaded, the same each time."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import numpy as np
import pytest

from guppy.corpus import Corpus
from guppy.draws import draw_split
from guppy.errors import GuppyError
from guppy.personas import Conversation, load_persona
from guppy.rows import Passage, pair_of
from guppy.tokenizer import Tokenizer

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


def test_rows_are_chatml_and_fit_the_context(fish: Corpus) -> None:
    assert fish.is_chat and fish.name == "guppy"
    sides = draw_split(load_persona("guppy"), 4000, 0)
    for split, draws in ((fish.train, sides.train), (fish.heldout, sides.heldout), (fish.composed, sides.composed)):
        assert len(split) == len(draws)
        for i in (0, 1, len(split) - 1):
            assert fish.tokenizer.decode(split.row(i)) == draws[i].conversation.text
            assert split.categories[i] == draws[i].conversation.category
    assert fish.train.lengths.max() <= 128
    # One conversation in eight has further turns.
    assert np.percentile(fish.train.lengths, 5) >= 15 and np.percentile(fish.train.lengths, 85) <= 60


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


# -- files -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["bpe", "char"])
def test_a_saved_corpus_is_the_same(kind: str, tmp_path: Path) -> None:
    corpus = Corpus.from_persona("guppy", rows=600, tokenizer=kind)
    corpus.save(tmp_path / "deep" / "corpus")
    loaded = Corpus.load(tmp_path / "deep" / "corpus")
    assert loaded.sha256 == corpus.sha256
    assert loaded.train.categories == corpus.train.categories
    assert loaded.reference_entropies() == corpus.reference_entropies()
    assert sorted(path.name for path in (tmp_path / "deep" / "corpus").iterdir()) == [
        "composed.jsonl", "corpus.json", "heldout.jsonl", "tokenizer.json", "train.jsonl"
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
    assert {row.output for row in corpus.rows(corpus.train)}.isdisjoint(
        row.output for row in corpus.rows(corpus.heldout)
    )


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
    conversation = corpus.rows(corpus.train)[0]
    assert isinstance(conversation, Conversation) and len(conversation.later) == 1
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


def test_a_passage_is_both_prompt_and_reply() -> None:
    assert pair_of(Passage("a")) == ("a", "a")


def test_the_tokenizer_of_a_directory_yields_to_another_kind(fish: Corpus, tmp_path: Path) -> None:
    fish.save(tmp_path / "fish")
    assert Corpus.from_path(tmp_path / "fish", "char").tokenizer.kind == "char"
    kept = Corpus.from_path(tmp_path / "fish", "bpe").tokenizer
    assert kept.sha256 == Tokenizer.load(tmp_path / "fish" / "tokenizer.json").sha256
