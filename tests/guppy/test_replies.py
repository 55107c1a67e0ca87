import json

from guppy.batches import Split
from guppy.corpus import Corpus
from guppy.replies import Exchange, exchanges, sentences, words


def test_exchanges_are_the_turns_of_each_row(tmp_path):
    rows = [
        {"input": f"is it {i}? <|im_end|>", "output": f"no.\nit is {i}.", "category": f"t{i % 3}"} for i in range(60)
    ]
    (tmp_path / "rows.jsonl").write_text("\n".join(map(json.dumps, rows)))
    corpus = Corpus.from_path(tmp_path / "rows.jsonl", "char")
    found = exchanges(corpus.tokenizer, corpus.train) + exchanges(corpus.tokenizer, corpus.heldout)
    expected = [Exchange(row["input"], row["output"], row["category"], True) for row in rows]
    assert sorted(found, key=lambda e: e.prompt) == sorted(expected, key=lambda e: e.prompt)


def test_a_row_of_several_turns_opens_once_and_its_tail_is_left_out(tmp_path):
    (tmp_path / "text.txt").write_text("plain text about nothing. " * 20)
    corpus = Corpus.from_path(tmp_path / "text.txt", "char")
    assert exchanges(corpus.tokenizer, corpus.train) == []
    chat = corpus.tokenizer.encode_chat
    turns = [("user", "a"), ("assistant", "b"), ("user", "c"), ("assistant", "d"), ("user", "e")]
    long, short = chat(turns, reply=False), chat([("assistant", "x"), ("user", "f"), ("assistant", "g")], reply=False)
    split = Split.from_rows([long, [], short[:-1], short], ["one", "none", "cut", "two"])
    assert exchanges(corpus.tokenizer, split) == [
        Exchange("a", "b", "one", True),
        Exchange("c", "d", "one", False),
        Exchange("f", "g", "two", True),
    ]


def test_words_and_sentences():
    assert words("Don't, don’t: 3 fish_es! Ä") == ["don't", "don’t", "3", "fish_es", "ä"]
    assert sentences("Oh. is it 3.5?  yes!\n...\nno mark") == ["Oh.", "is it 3.5?", "yes!", "no mark"]
    assert words("… !") == sentences("… !") == []
