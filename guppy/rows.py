"""Rows of a corpus and the files they stand in: .jsonl, .jsonl.gz, .csv, .parquet and plain .txt."""

from __future__ import annotations

import itertools
import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from guppy.errors import GuppyError
from guppy.grammar import Conversation
from guppy.reading import read_csv, read_parquet, read_text
from guppy.tokenizer import IM_END, IM_START, ROLES, Tokenizer

# Of a row that is not alone in its file: more is a mistake in the file rather than a conversation.
LONGEST_ROW = 100_000

_MESSAGE = re.compile(r"(user|assistant)\n(.*)" + re.escape(IM_END) + r"(\s*)", re.DOTALL)


@dataclass(frozen=True)
class Passage:
    """Text that is no chain of questions and answers: prose, or ChatML of another order."""

    text: str
    category: str = "text"

    @property
    def is_chat(self) -> bool:
        return self.text.startswith(IM_START)


Row = Conversation | Passage


def read_rows(path: Path) -> list[Row]:
    """Rows of a file.

    .jsonl, .jsonl.gz, .csv and .parquet hold {input, output}, {messages: [{role, content}, …]} or {text}, each with
    an optional category; of a row that has several of them, messages count most and text least. Any other file is a
    text: one that starts with <|im_start|> is conversations in ChatML, one after another, any other one passage.

    Raises:
        GuppyError: the file is missing, empty, ill-encoded, broken or too large, or a row is wrong, empty or too
            long; with its line (in a .parquet file: its row).
    """
    return [row for _, row in numbered_rows(path)]


def numbered_rows(path: Path) -> list[tuple[str, Row]]:
    """Rows as `read_rows` reads them, each with where it stands, as in "line 3"."""
    if path.name.endswith((".csv", ".parquet")):
        read = read_csv if path.suffix == ".csv" else read_parquet
        rows = [(place, _row(record, f"{path}, {place}")) for place, record in read(path)]
    elif path.name.endswith((".jsonl", ".jsonl.gz", ".json")):
        # Not splitlines(): that would also split at characters that JSON allows inside of a string.
        lines = enumerate(read_text(path).split("\n"), start=1)
        rows = [(f"line {i}", _json_row(line, f"{path}, line {i}")) for i, line in lines if line.strip()]
    else:
        rows = list(_text_rows(read_text(path)))
    if not rows:
        raise GuppyError(f"{path} is empty; give a file with conversations or text in it")
    if len(rows) > 1:
        for place, row in rows:
            if len(row.text) > LONGEST_ROW:
                raise GuppyError(
                    f"{path}, {place}: this row has {len(row.text):,} characters; split it into rows of up to "
                    f"{LONGEST_ROW:,}, or delete it"
                )
    return rows


def write_rows(path: Path, rows: Iterable[Row]) -> None:
    """Write .jsonl that `read_rows` reads back: {input, output, category, text}, with `messages` where there are
    further turns, or {category, text}."""
    with open(path, "w", encoding="utf-8", newline="\n") as file:
        for row in rows:
            file.write(json.dumps(record_of(row), ensure_ascii=False) + "\n")


def record_of(row: Row) -> dict[str, Any]:
    """A row as JSON."""
    if isinstance(row, Passage):
        return {"category": row.category, "text": row.text}
    record: dict[str, Any] = {"input": row.input, "output": row.output, "category": row.category}
    if row.later:
        record["messages"] = messages_of(row)
    return record | {"text": row.text}


def messages_of(row: Conversation) -> list[dict[str, str]]:
    """All turns in the form that chat data sets have."""
    return [{"role": role, "content": text} for role, text in row.messages]


def exchanges_of(row: Row) -> Sequence[tuple[str, str]]:
    """Prompts and replies of all turns, as far as the split is concerned: a passage is both."""
    return row.exchanges if isinstance(row, Conversation) else ((row.text, row.text),)


def pair_of(row: Row) -> tuple[str, str]:
    """The first prompt and reply; a passage is both."""
    return exchanges_of(row)[0]


def encode_rows(tokenizer: Tokenizer, rows: Sequence[Row]) -> list[list[int]]:
    """Token ids of each row. Special tokens are read as such only where ChatML is spelled out in a passage."""
    chats = iter(tokenizer.encode_chats([row.messages for row in rows if isinstance(row, Conversation)]))
    return [
        next(chats) if isinstance(row, Conversation) else tokenizer.encode(row.text, specials=row.is_chat)
        for row in rows
    ]


def decode_row(tokenizer: Tokenizer, ids: Iterable[int], category: str) -> Row:
    """The row that `encode_rows` made these ids of."""
    ids = list(map(int, ids))
    starts = [i for i, token in enumerate(ids) if token == tokenizer.im_start_id]
    messages = []
    for start, end in itertools.pairwise([*starts, len(ids)]):
        turn = ids[start + 1 : end]
        if turn.count(tokenizer.im_end_id) != 1:
            break
        closed = turn.index(tokenizer.im_end_id)
        role, _, said = tokenizer.decode(turn[:closed]).partition("\n")
        if tokenizer.decode(turn[closed + 1 :]) != ("" if end == len(ids) else "\n"):
            break
        messages.append((role, said))
    if starts[:1] == [0] and len(messages) == len(starts) and _alternates(messages):
        return _conversation(messages, category)
    return Passage(tokenizer.decode(ids), category)


def _alternates(messages: Sequence[tuple[str, str]]) -> bool:
    """Whether these are questions of the user's, each with the assistant's answer."""
    return [role for role, _ in messages] == [*ROLES] * (len(messages) // 2) != []


def _conversation(messages: Sequence[tuple[str, str]], category: str) -> Conversation:
    said = [text for _, text in messages]
    (asked, answered), *later = zip(said[::2], said[1::2], strict=True)
    return Conversation(asked, answered, category, tuple(later))


def _text_rows(text: str) -> Iterator[tuple[str, Row]]:
    if not text.startswith(IM_START):
        if text.strip():
            yield "line 1", Passage(text)
        return
    line = 1
    for part in re.split("(?=" + re.escape(f"{IM_START}user\n") + ")", text):
        if part:
            yield f"line {line}", _chat(part.rstrip(), "chat")
        line += part.count("\n")


def _json_row(line: str, place: str) -> Row:
    try:
        record = json.loads(line)
    except (json.JSONDecodeError, RecursionError) as error:
        what = error.msg if isinstance(error, json.JSONDecodeError) else "nested too deeply"
        raise GuppyError(f"{place}: this is not JSON ({what}); mend or delete the line") from None
    if not isinstance(record, dict):
        raise GuppyError(f'{place}: a row should be {{"input": "…", "output": "…"}} or {{"text": "…"}}; mend the line')
    return _row(record, place)


def _row(record: Mapping[str, Any], place: str) -> Row:
    """The row of a record that says what is asked and answered, in one of three ways."""
    category = record.get("category")
    named = str(category) if category not in (None, "") else None
    if record.get("messages") is not None:
        row: Row = _of_messages(record["messages"], named or "chat", place)
    elif record.get("input") is not None or "output" in record:
        asked, answered = (_text(record, key, place) for key in ("input", "output"))
        row = Conversation(asked, answered, named or "chat")
    else:
        text = _text(record, "text", place)
        row = _chat(text, named or ("chat" if text.startswith(IM_START) else "text"))
    if not all(text.strip() for pair in exchanges_of(row) for text in pair):
        raise GuppyError(f"{place}: one of the texts is empty; write something, or delete the row")
    return row


def _text(record: Mapping[str, Any], key: str, place: str) -> str:
    text = record.get(key)
    if isinstance(text, str):
        return text
    what = f"'{key}' is no text" if key in record else f"'{key}' is missing"
    raise GuppyError(f"{place}: a row should be input and output, messages, or text, but {what}; mend the row")


def _of_messages(messages: Any, category: str, place: str) -> Conversation:
    if isinstance(messages, str):  # as a .csv file holds them
        try:
            messages = json.loads(messages)
        except (json.JSONDecodeError, RecursionError):
            messages = None
    turns = (
        [(message.get("role"), message.get("content")) for message in messages if isinstance(message, Mapping)]
        if isinstance(messages, Sequence)
        else []
    )
    if not _alternates(turns) or not all(isinstance(text, str) for _, text in turns):
        raise GuppyError(
            f"{place}: 'messages' should be {{role, content}} of user and assistant in turn, ending with the "
            "assistant; mend the row"
        )
    return _conversation(turns, category)


def _chat(text: str, category: str) -> Row:
    """A text in ChatML as a conversation, so that the split can tell prompts from replies; any other as a passage."""
    before, *turns = text.split(IM_START)
    found = [_MESSAGE.fullmatch(turn) for turn in turns]
    if not before and found and all(found) and text.count(IM_END) == len(turns):
        messages = [(match[1], match[2]) for match in found]
        if _alternates(messages) and all(match[3] == "\n" for match in found[:-1]):
            return _conversation(messages, category)
    return Passage(text, category)
