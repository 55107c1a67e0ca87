"""What is in a corpus, counted: sizes, repeats, overlap of the splits, tokens (`python -m guppy data --report`)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np

from guppy.corpus import Corpus
from guppy.grammar import CONTEXT
from guppy.overlap import near_duplicates
from guppy.rows import Row, exchanges_of
from guppy.splits import text_key
from guppy.tables import table

NAMES = {"train": "train", "heldout": "held out", "composed": "composed", "all": "all"}


def report(corpus: Corpus) -> dict[str, Any]:
    """Count a corpus, from its tokens back to text, so that it says what training really sees.

    Returns:
        A JSON-able dict: `corpus` (how it was made) with hashes; `splits` (rows, tokens, rows by number of turns, and
        over all turns how many prompts, replies and pairs differ, for each split and all); `overlap` (for each split
        but train: how many of its different prompts and replies stand in train as well: the same strings, the same
        words when case, spaces and punctuation do not count, and nearly, see `guppy.overlap`); `tokens` (a row's
        length, vocabulary); `reference` (see `guppy.reference`); `topics` (rows by category, and the category's share
        of all rows).
    """
    rows = {name: corpus.rows(split) for name, split in corpus.splits.items()}
    counts = {name: _variety(some) | {"tokens": len(corpus.splits[name].tokens)} for name, some in rows.items()}
    everything = [row for some in rows.values() for row in some]
    tokens = sum(len(split.tokens) for split in corpus.splits.values())
    return {
        "name": corpus.name,
        "corpus": corpus.describe(),
        "sha256": corpus.sha256,
        "tokenizer_sha256": corpus.tokenizer.sha256,
        "splits": counts | {"all": _variety(everything) | {"tokens": tokens}},
        "overlap": {name: _overlap(some, rows["train"]) for name, some in rows.items() if name != "train"},
        "tokens": _tokens(corpus),
        "reference": corpus.reference_entropies(),
        "topics": _topics(corpus),
    }


def format_report(counts: dict[str, Any]) -> str:
    """The report as tables for a terminal."""
    splits, overlap, tokens = counts["splits"], counts["overlap"], counts["tokens"]
    per_row, reference = tokens["per_row"], counts["reference"]
    made = ", ".join(f"{key} {value}" for key, value in counts["corpus"].items())
    lines = ", ".join(f"{name.replace('log_v', 'log V')} {value:.3f}" for name, value in reference.items())
    in_train = [
        [f"{NAMES[name]}, {what}", *(f"{found[side + ending]:,}" for side in ("prompts", "replies"))]
        for name, found in overlap.items()
        for what, ending in (("the same string", ""), ("the same words", "_same_words"), ("nearly", "_near"))
    ]
    sections = [
        f"{counts['name']}: {made}\nsha256 {counts['sha256']}",
        table(
            ["", *(NAMES[name] for name in splits)],
            [
                [label, *(f"{split[key]:,}" for split in splits.values())]
                for label, key in (
                    ("rows", "rows"),
                    ("tokens", "tokens"),
                    ("exchanges", "exchanges"),
                    ("different prompts", "prompts"),
                    ("different replies", "replies"),
                    ("different pairs", "pairs"),
                )
            ]
            + [
                ["pairs that are unique", *(f"{split['unique']:.1%}" for split in splits.values())],
                ["rows of several turns", *(f"{split['several_turns']:.1%}" for split in splits.values())],
            ],
        ),
        table(["also in train", "prompts", "replies"], in_train),
        table(
            ["tokens in a row", "mean", "median", "95%", "99%", "longest", f"over {tokens['context']}"],
            [
                [
                    "",
                    f"{per_row['mean']:.1f}",
                    *(f"{per_row[key]:,}" for key in ("p50", "p95", "p99", "max")),
                    f"{tokens['rows_over_context']:,}",
                ]
            ],
        ),
        f"tokenizer: {tokens['vocab_size']:,} tokens ({tokens['kind']}), {tokens['padded_vocab_size']:,} padded; "
        f"{tokens['never_seen']:,} never in training; {tokens['characters_per_token']:.2f} characters a token",
        f"losses on the way down, nats a token: {lines}",
        table(
            ["topic", "share", *(NAMES[name] for name in splits if name != "all")],
            [
                [row["topic"], f"{row['share']:.1%}", *(f"{row[name]:,}" for name in splits if name != "all")]
                for row in counts["topics"]
            ],
        ),
    ]
    return "\n\n".join(sections)


def _variety(rows: Sequence[Row]) -> dict[str, Any]:
    pairs = [pair for row in rows for pair in exchanges_of(row)]
    different = len(set(pairs))
    return {
        "rows": len(rows),
        "exchanges": len(pairs),
        "several_turns": sum(len(exchanges_of(row)) > 1 for row in rows) / len(rows),
        "prompts": len({prompt for prompt, _ in pairs}),
        "replies": len({reply for _, reply in pairs}),
        "pairs": different,
        "unique": different / len(pairs),
    }


def _overlap(rows: Sequence[Row], train: Sequence[Row]) -> dict[str, int]:
    counts = {}
    for side, name in enumerate(("prompts", "replies")):
        here, there = ({pair[side] for row in some for pair in exchanges_of(row)} for some in (rows, train))
        counts[name] = len(here & there)
        counts[f"{name}_same_words"] = len({text_key(text) for text in here} & {text_key(text) for text in there})
        counts[f"{name}_near"] = int(near_duplicates(sorted(here), sorted(there)).sum())
    return counts


def _tokens(corpus: Corpus) -> dict[str, Any]:
    lengths = np.concatenate([split.lengths for split in corpus.splits.values()])
    seen = np.unique(corpus.train.tokens)
    p50, p95, p99 = (int(value) for value in np.percentile(lengths, (50, 95, 99), method="nearest"))
    return {
        "kind": corpus.tokenizer.kind,
        "vocab_size": corpus.tokenizer.vocab_size,
        "padded_vocab_size": corpus.tokenizer.padded_vocab_size,
        "never_seen": corpus.tokenizer.vocab_size - len(seen),
        "per_row": {"mean": float(lengths.mean()), "p50": p50, "p95": p95, "p99": p99, "max": int(lengths.max())},
        "context": CONTEXT,
        "rows_over_context": int((lengths > CONTEXT + 1).sum()),
        "characters_per_token": len(corpus.tokenizer.decode(corpus.train.tokens)) / len(corpus.train.tokens),
    }


def _topics(corpus: Corpus) -> list[dict[str, Any]]:
    counts = {name: Counter(split.categories) for name, split in corpus.splits.items()}
    totals = Counter(topic for split in corpus.splits.values() for topic in split.categories)
    return [
        {"topic": topic, "share": totals[topic] / totals.total()} | {name: counts[name][topic] for name in counts}
        for topic in sorted(totals)
    ]
