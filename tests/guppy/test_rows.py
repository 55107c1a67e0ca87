"""Rows of every kind of file, and what is said about broken ones."""

from __future__ import annotations

import json
from pathlib import Path

import pyarrow
import pytest
from pyarrow import parquet

from guppy import reading
from guppy.corpus import Corpus
from guppy.errors import GuppyError
from guppy.grammar import Conversation
from guppy.rows import Passage, decode_row, encode_rows, exchanges_of, numbered_rows, pair_of, read_rows, write_rows
from guppy.tokenizer import train_bpe

ONE = Conversation("hi", "hello", "greeting")
TWO = Conversation('hi, "you"', "hello\nthere", "chat", (("why?", "because."), ("é?", "🐟")))


def messages(row: Conversation) -> list[dict[str, str]]:
    return [{"role": role, "content": text} for role, text in row.messages]


# -- turns -------------------------------------------------------------------------------------------


def test_rows_of_several_turns_come_back(tmp_path: Path) -> None:
    rows = [ONE, TWO, Passage("<|im_start|>system\nbe<|im_end|>", "chat"), Passage("prose\n")]
    write_rows(tmp_path / "a.jsonl", rows)
    assert read_rows(tmp_path / "a.jsonl") == rows
    first, second = (json.loads(line) for line in (tmp_path / "a.jsonl").read_text().splitlines()[:2])
    assert list(first) == ["input", "output", "category", "text"]
    assert list(second) == ["input", "output", "category", "messages", "text"]
    assert second["messages"] == messages(TWO) and second["input"] == TWO.input


def test_tokens_become_the_row_again() -> None:
    tokenizer = train_bpe([ONE.text, TWO.text], 300)
    for row in (ONE, TWO):
        assert decode_row(tokenizer, encode_rows(tokenizer, [row])[0], row.category) == row
        assert tokenizer.decode(encode_rows(tokenizer, [row])[0]) == row.text
    for text in (
        "<|im_start|>user\nhi<|im_end|>",
        "<|im_start|>assistant\nhi<|im_end|>\n<|im_start|>user\nhi<|im_end|>",
        "<|im_start|>user\nhi<|im_end|> <|im_start|>assistant\nhi<|im_end|>",
        "<|im_start|>user\nhi<|im_end|>\n<|im_start|>assistant\nhi",
        "prose",
    ):
        odd = Passage(text, "chat")
        assert decode_row(tokenizer, encode_rows(tokenizer, [odd])[0], "chat") == odd


def test_pairs_and_exchanges() -> None:
    assert pair_of(TWO) == (TWO.input, TWO.output) and len(exchanges_of(TWO)) == 3
    assert pair_of(Passage("a")) == ("a", "a")


# -- CSV and Parquet ---------------------------------------------------------------------------------


def test_csv_is_read(tmp_path: Path) -> None:
    path = tmp_path / "rows.csv"
    path.write_bytes(
        b"\xef\xbb\xbfcategory, input ,output,unused\r\n"
        b'greeting,hi,hello,1\r\n\r\n,"a ""b"", c","two\nlines",2\r\n,last,one,3\r\n'
    )
    assert numbered_rows(path) == [
        ("line 2", ONE),
        ("line 4", Conversation('a "b", c', "two\nlines", "chat")),
        ("line 6", Conversation("last", "one", "chat")),
    ]


def test_csv_holds_messages_as_json(tmp_path: Path) -> None:
    path = tmp_path / "rows.csv"
    quoted = json.dumps(messages(TWO)).replace('"', '""')
    path.write_text(f'messages,category\n"{quoted}",chat\n', encoding="utf-8")
    assert read_rows(path) == [TWO]


def write_parquet(path: Path, columns: dict, **options) -> Path:
    parquet.write_table(pyarrow.table(columns), path, **options)
    return path


@pytest.mark.parametrize("packed", [True, False])
def test_parquet_is_read(packed: bool, tmp_path: Path) -> None:
    pairs = {"input": ["hi", "a"] * 1500, "output": ["hello", "b"] * 1500, "category": ["greeting", None] * 1500}
    path = write_parquet(tmp_path / "a.parquet", pairs | {"id": list(range(3000))}, use_dictionary=packed)
    rows = numbered_rows(path)
    assert len(rows) == 3000
    assert rows[0] == ("row 1", ONE) and rows[2999] == ("row 3000", Conversation("a", "b", "chat"))

    path = write_parquet(tmp_path / "b.parquet", {"messages": [messages(TWO), messages(ONE)]}, use_dictionary=packed)
    assert read_rows(path)[0].exchanges == TWO.exchanges
    coded = pyarrow.array(["hi", "yo"] * 2).dictionary_encode()
    path = write_parquet(tmp_path / "c.parquet", {"text": coded, "category": [0, 1] * 2})
    assert read_rows(path)[:2] == [Passage("hi", "0"), Passage("yo", "1")]


def test_a_corpus_of_each_kind_is_the_same(tmp_path: Path) -> None:
    rows = [{"input": f"what is {n}?", "output": f"it is {n} flakes."} for n in range(300)]
    (tmp_path / "a.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (tmp_path / "a.csv").write_text("input,output\n" + "".join(f"{row['input']},{row['output']}\n" for row in rows))
    write_parquet(tmp_path / "a.parquet", {key: [row[key] for row in rows] for key in rows[0]})
    hashes = {Corpus.from_path(tmp_path / f"a.{kind}", "char").sha256 for kind in ("jsonl", "csv", "parquet")}
    assert len(hashes) == 1


# -- what is wrong with a file -----------------------------------------------------------------------

LONG = "a" * 10_000_000
BROKEN = {
    "columns": ("a.csv", b"question,answer\na,b\n", "line 1: the columns are 'question', 'answer'; name them input"),
    "semicolons": ("a.csv", b"input;output\na;b\n", "line 1: the columns are 'input;output'"),
    "too few fields": ("a.csv", b"input,output\na,b\nc\n", "line 3: there are 1 fields where the first line has 2"),
    "too many fields": ("a.csv", b"input,output\na,b,c\n", "line 2: there are 3 fields"),
    "open quote": ("a.csv", b'input,output\na,b\n"c,d\ne,f\n', "line 3: this is not CSV"),
    "long field": ("a.csv", f"input,output\na,b\n{LONG},b\n".encode(), "line 3: this is not CSV (field larger"),
    "empty cell": ("a.csv", b"input,output\na,b\nc,\n", "line 3: one of the texts is empty"),
    "mixed encodings": ("a.csv", b"input,output\n\xc3\xa9,b\ncaf\xe9,d\n", "line 3: this is not UTF-8"),
    "UTF-16": ("a.csv", "input,output\na,b\n".encode("utf-16"), "line 1: this is UTF-16"),
    "only columns": ("a.csv", b"input,output\n", "is empty"),
    "nothing": ("a.csv", b"", "is empty"),
    "messages that are none": ("a.csv", b"messages\nhello\n", "line 2: 'messages' should be"),
    "empty row": ("a.jsonl", b'{"input": "a", "output": "b"}\n{"input": " ", "output": "b"}\n', "line 2: one of the"),
    "long row": (
        "a.jsonl",
        f'{{"text": "a"}}\n{{"input": "{LONG}", "output": "b"}}\n'.encode(),
        "line 2: this row has",
    ),
    "no answer": ("a.jsonl", b'{"messages": [{"role": "user", "content": "a"}]}\n', "line 1: 'messages' should be"),
    "a system": (
        "a.jsonl",
        b'{"messages": [{"role": "system", "content": "a"}, {"role": "user", "content": "a"}]}\n',
        "line 1: 'messages' should be",
    ),
    "no Parquet": ("a.parquet", b"PAR1 or so", "is not a whole Parquet file"),
    "empty Parquet": ("a.parquet", b"", "is not a whole Parquet file"),
}


def told(path: Path) -> str:
    with pytest.raises(GuppyError) as caught:
        read_rows(path)
    message = str(caught.value)
    assert str(path) in message and "\n" not in message and "; " in message and len(message) < 400, message
    return message


@pytest.mark.parametrize(("name", "content", "what"), BROKEN.values(), ids=BROKEN)
def test_a_broken_file_is_told(name: str, content: bytes, what: str, tmp_path: Path) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    assert what in told(path)


def test_a_broken_parquet_file_is_told(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    assert "there is no file" in told(path)
    write_parquet(path, {"question": ["a"], "answer": ["b"]})
    assert "the columns are 'question', 'answer'; name them" in told(path)
    write_parquet(path, {"input": [1], "output": ["b"]})
    assert "column 'input' holds int64" in told(path)
    write_parquet(path, {"input": ["a", None], "output": ["b", "c"]})
    assert "row 2: a row should be" in told(path)
    odd = pyarrow.array([b"a"] * 1100 + [b"caf\xe9"], pyarrow.binary()).view(pyarrow.string())
    write_parquet(path, {"text": odd})
    assert "row 1101: this is not UTF-8" in told(path)
    write_parquet(path, {"text": ["some text"] * 1000})
    path.write_bytes(path.read_bytes()[:-200])
    assert "is not a whole Parquet file" in told(path)
    write_parquet(path, {"text": [str(n) for n in range(20_000)]}, compression="none", use_dictionary=False)
    content = bytearray(path.read_bytes())
    content[40:4000] = bytes(3960)  # a page's header, and what it heads
    path.write_bytes(content)
    assert "row 1: " in told(path) or "is not a whole Parquet file" in told(path)


def test_a_small_file_that_unpacks_to_a_large_one_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reading, "LARGEST_FILE", 2**20)
    monkeypatch.setattr(reading, "_batches", lambda *_: pytest.fail("read what its metadata tells is too large"))
    path = write_parquet(
        tmp_path / "a.parquet", {"text": ["a" * 50_000] * 40}, compression="zstd", use_dictionary=False
    )
    assert path.stat().st_size < 20_000 and "unpacks to more than 1 MB" in told(path)
    monkeypatch.setattr(reading, "MOST_ROWS", 30)
    assert "has 40 rows; give a file of up to 30" in told(path)


@pytest.mark.parametrize("column", ["text", "messages"])
def test_a_dictionary_that_unpacks_to_much_is_refused(
    column: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its metadata counts the one text, its rows repeat it: only its first rows may be spread out."""
    monkeypatch.setattr(reading, "LARGEST_FILE", 2**20)
    values = {"text": ["a" * 50_000] * 4000, "messages": [messages(Conversation("a" * 50_000, "b", ""))] * 2000}
    path = write_parquet(
        tmp_path / "a.parquet", {column: values[column]}, compression="zstd", use_dictionary=True, row_group_size=4000
    )
    with parquet.ParquetFile(path) as file:
        group = file.metadata.row_group(0)
        assert sum(group.column(i).total_uncompressed_size for i in range(group.num_columns)) < 2**20
    before = pyarrow.default_memory_pool().max_memory()
    assert "unpacks to more than 1 MB" in told(path)
    assert pyarrow.default_memory_pool().max_memory() < before + 16 * 2**20


def test_a_gzip_bomb_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import gzip

    monkeypatch.setattr(reading, "LARGEST_FILE", 2**20)
    path = tmp_path / "a.jsonl.gz"
    path.write_bytes(gzip.compress(b"a" * 2**22))
    assert "holds more than 1 MB" in told(path)


def test_one_long_text_is_no_mistake(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text(json.dumps({"text": "some words " * 20_000}))
    assert len(read_rows(tmp_path / "a.jsonl")[0].text) == 220_000
