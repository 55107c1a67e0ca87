"""Rows of a corpus and the files they stand in: .jsonl, .jsonl.gz and plain .txt."""

from __future__ import annotations

import gzip
import json
import re
import zlib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from guppy.errors import GuppyError
from guppy.personas import Conversation
from guppy.tokenizer import IM_END, IM_START, Tokenizer

_ONE_EXCHANGE = re.compile(
    re.escape(f"{IM_START}user\n")
    + "(.*)"
    + re.escape(f"{IM_END}\n{IM_START}assistant\n")
    + "(.*)"
    + re.escape(IM_END)
    + r"\s*",
    re.DOTALL,
)


@dataclass(frozen=True)
class Passage:
    """Text that is no question and answer: prose, or a conversation of several turns in ChatML."""

    text: str
    category: str = "text"

    @property
    def is_chat(self) -> bool:
        return self.text.startswith(IM_START)


Row = Conversation | Passage


def read_rows(path: Path) -> list[Row]:
    """Rows of a .jsonl or .jsonl.gz file ({input, output} or {text}, with an optional category) or of a text.

    A text that starts with <|im_start|> is conversations in ChatML, one after another; any other is one passage.

    Raises:
        GuppyError: the file is missing, empty, ill-encoded or broken; with the line where it is.
    """
    text = _read_text(path)
    if path.name.endswith((".jsonl", ".jsonl.gz", ".json")):
        # Not splitlines(): that would also split at characters that JSON allows inside of a string.
        lines = text.split("\n")
        rows = [_row(line, f"{path}, line {i}") for i, line in enumerate(lines, start=1) if line.strip()]
    elif text.startswith(IM_START):
        parts = re.split(r"\s*(?=" + re.escape(f"{IM_START}user\n") + ")", text)
        rows = [_exchange(part, "chat") or Passage(part.rstrip(), "chat") for part in parts if part]
    else:
        rows = [Passage(text)] if text.strip() else []
    if not rows:
        raise GuppyError(f"{path} is empty; give a file with conversations or text in it")
    return rows


def write_rows(path: Path, rows: Iterable[Row]) -> None:
    """Write .jsonl that `read_rows` reads back: {input, output, category, text} or {text, category}."""
    with open(path, "w", encoding="utf-8", newline="\n") as file:
        for row in rows:
            pair = {"input": row.input, "output": row.output} if isinstance(row, Conversation) else {}
            file.write(json.dumps(pair | {"category": row.category, "text": row.text}, ensure_ascii=False) + "\n")


def encode_row(tokenizer: Tokenizer, row: Row) -> list[int]:
    """Token ids of a row. Special tokens are read as such only where ChatML is spelled out in a passage."""
    if isinstance(row, Conversation):
        return tokenizer.encode_chat([("user", row.input), ("assistant", row.output)], reply=False)
    return tokenizer.encode(row.text, specials=row.is_chat)


def decode_row(tokenizer: Tokenizer, ids: Iterable[int], category: str) -> Row:
    """The row that `encode_row` made these ids of."""
    ids = list(map(int, ids))
    starts = [i for i, token in enumerate(ids) if token == tokenizer.im_start_id]
    if len(starts) == 2 and starts[0] == 0 and ids.count(tokenizer.im_end_id) == 2 and ids[-1] == tokenizer.im_end_id:
        asked = tokenizer.decode(ids[1 : ids.index(tokenizer.im_end_id)])
        answered = tokenizer.decode(ids[starts[1] + 1 : -1])
        if asked.startswith("user\n") and answered.startswith("assistant\n"):
            return Conversation(asked.removeprefix("user\n"), answered.removeprefix("assistant\n"), category)
    return Passage(tokenizer.decode(ids), category)


def pair_of(row: Row) -> tuple[str, str]:
    """Prompt and reply, as far as the split is concerned: a passage is both."""
    return (row.input, row.output) if isinstance(row, Conversation) else (row.text, row.text)


def _read_text(path: Path) -> str:
    try:
        raw = path.read_bytes()
        if path.suffix == ".gz":
            raw = gzip.decompress(raw)
    except FileNotFoundError:
        raise GuppyError(f"there is no file {path}; give the path of a .jsonl, .jsonl.gz or .txt file") from None
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise GuppyError(f"{path} is not a whole gzip file ({error}); copy it again") from None
    except OSError as error:
        raise GuppyError(f"{path} cannot be read ({error.strerror}); check the path and its permissions") from None
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = raw[: error.start].count(b"\n") + 1
        raise GuppyError(f"{path}, line {line}: this is not UTF-8 text; save the file as UTF-8") from None


def _row(line: str, place: str) -> Row:
    try:
        row = json.loads(line)
    except (json.JSONDecodeError, RecursionError) as error:
        what = error.msg if isinstance(error, json.JSONDecodeError) else "nested too deeply"
        raise GuppyError(f"{place}: this is not JSON ({what}); mend or delete the line") from None
    keys = ("input", "output") if isinstance(row, dict) and "input" in row else ("text",)
    if not isinstance(row, dict) or not all(isinstance(row.get(key), str) for key in keys):
        raise GuppyError(f'{place}: a row should be {{"input": "…", "output": "…"}} or {{"text": "…"}}; mend the line')
    category = str(row.get("category", "text" if keys == ("text",) else "chat"))
    if keys == ("input", "output"):
        return Conversation(row["input"], row["output"], category)
    return _exchange(row["text"], category) or Passage(row["text"], category)


def _exchange(text: str, category: str) -> Conversation | None:
    """A ChatML text of one question and one answer as that, so that the split can tell them apart."""
    found = _ONE_EXCHANGE.fullmatch(text)
    if found is None or text.count(IM_START) != 2 or text.count(IM_END) != 2:
        return None
    return Conversation(found[1], found[2], category)
