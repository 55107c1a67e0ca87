"""A process of its own that reads a file that a visitor uploaded, counts it and keeps its corpus.

    python -m lab.check_worker PATH bpe|char

It prints one JSON object: what `check` returns, or {"error": sentence, "line": where, or null}.
"""

from __future__ import annotations

import json
import os
import random
import re
import sys
from collections import Counter
from pathlib import Path
from typing import Any

from guppy.errors import GuppyError
from guppy.rows import Conversation, Row, exchanges_of, numbered_rows
from lab.confine import limit_memory

MEMORY = 4 * 2**30
# Packed files may hold far more than was uploaded; a minute's training reads some 2 MB.
MOST_TEXT = 64 * 2**20
SHOWN = 8
LONGEST_SHOWN = 600
MOST_CATEGORIES = 12


def check(path: Path, tokens: str) -> dict[str, Any]:
    """Read, count and keep a file's corpus.

    Returns:
        `kind` ("conversations", "texts" or "text"), `characters`, `repeated` (rows that stand in the file before),
        `lost` (rows in neither split, because they share a text with both sides), `shared` (shares of prompts and
        replies that stand in the file again), `faults` (sentences, each with a line and how to mend it), `samples` to
        look at, `sha256` of the corpus, and `report`, as `guppy.report.report` makes it (its most frequent topics).

    Raises:
        GuppyError: it cannot be learned from; with its line.
    """
    rows = [row for _, row in numbered_rows(path)]
    characters = sum(len(row.text) for row in rows)
    if characters > MOST_TEXT:
        raise GuppyError(
            f"{path} holds {characters >> 20} MB of text; give a part of it, of up to {MOST_TEXT >> 20} MB"
        )
    plain = len(rows) == 1 and not isinstance(rows[0], Conversation)
    # What counts takes seconds to load, and a file with a mistake in it need not wait for that.
    from guppy import corpora
    from guppy.checks import check_file
    from guppy.corpus import Corpus
    from guppy.report import report

    faults = check_file(path)
    corpus = Corpus.from_path(path, tokens)
    corpora.keep(corpus)
    counts = report(corpus)
    # What the file's owner chose freely is cut to what a page can show; where it lies here is nobody's business.
    topics = sorted(counts["topics"], key=lambda topic: -topic["share"])[:MOST_CATEGORIES]
    counts["topics"] = [topic | {"topic": _short(topic["topic"])} for topic in topics]
    del counts["corpus"]["path"]
    return {
        "kind": "text" if plain else "conversations" if corpus.is_chat else "texts",
        "characters": characters,
        "repeated": len(rows) - len({row.text for row in rows}),
        "lost": 0 if plain else len(rows) - counts["splits"]["all"]["rows"],
        "shared": _shared(rows),
        "faults": [_readable(fault, path) for fault in faults],
        "samples": _excerpts(rows[0].text) if plain else _samples(rows),
        "sha256": corpus.sha256,
        "report": counts,
    }


def _shared(rows: list[Row]) -> dict[str, float]:
    """Shares of all prompts, and of all replies, that stand in the file again: what a random split would leak."""
    pairs = [pair for row in rows for pair in exchanges_of(row)]
    shares = {}
    for side, name in enumerate(("prompts", "replies")):
        counts = Counter(pair[side] for pair in pairs)
        shares[name] = sum(count for count in counts.values() if count > 1) / len(pairs)
    return shares


def _samples(rows: list[Row]) -> list[dict[str, Any]]:
    """Some rows, from all over the file, in its order."""
    chosen = sorted(random.Random(0).sample(range(len(rows)), min(SHOWN, len(rows))))
    return [_sample(rows[i]) for i in chosen]


def _sample(row: Row) -> dict[str, Any]:
    turns = exchanges_of(row) if isinstance(row, Conversation) else [(row.text,)]
    return {"category": _short(row.category), "turns": [[_short(text) for text in turn] for turn in turns[:4]]}


def _excerpts(text: str) -> list[dict[str, Any]]:
    """The beginning and the middle of a text."""
    middle = text.find("\n", len(text) // 2) + 1
    return [
        {"category": name, "turns": [[_short(text[at:])]]}
        for name, at in (("beginning", 0), ("middle", middle))
        if at or name == "beginning"
    ]


def _short(text: str) -> str:
    text = text if len(text) <= LONGEST_SHOWN else text[:LONGEST_SHOWN] + "…"
    return text.encode("utf-8", "replace").decode()  # JSON can spell halves of characters


def _readable(message: str, path: Path) -> dict[str, Any]:
    """A sentence about the file without the file's path, and the line (or row) it names."""
    match = re.match(re.escape(str(path)) + r"(?:, ((?:line|row) \d+))?(:?) ", message)
    if not match:
        return {"error": message.replace(str(path), "the file"), "line": None}
    return {"error": ("" if match[2] else "it ") + message[match.end() :], "line": match[1]}


def main() -> None:
    limit_memory(MEMORY)
    if hasattr(os, "nice"):
        os.nice(5)  # whoever looks at the lab comes first
    # Nothing that is loaded may write beside the answer.
    answers, sys.stdout = sys.stdout, sys.stderr
    path = Path(sys.argv[1])
    try:
        told = check(path, sys.argv[2])
    except GuppyError as error:
        told = _readable(str(error), path)
    except (MemoryError, RecursionError):
        told = {"error": "it takes more memory than there is; give a part of it", "line": None}
    answers.write(json.dumps(told))


if __name__ == "__main__":
    main()
