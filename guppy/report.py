"""What is in a corpus, counted: sizes, repeats, overlap of the splits, tokens (`python -m guppy data --report`)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np

from guppy.corpus import Corpus
from guppy.rows import Row, pair_of
from guppy.splits import text_key

CONTEXT = 128
"""Context length of the presets: longer rows are cut into pieces in training."""


def report(corpus: Corpus) -> dict[str, Any]:
    """Count a corpus, from its tokens back to text, so that it says what training really sees.

    Returns:
        A JSON-able dict: `corpus` (how it was made) with hashes; `splits` (rows, tokens and how many prompts, replies
        and pairs differ, for train, heldout and all); `overlap` (prompts and replies that both splits hold: the same
        strings, and the same words when case, spaces and punctuation do not count); `tokens` (a row's length,
        vocabulary); `reference` (see `Corpus.reference_entropies`); `topics` (rows by category).
    """
    train, heldout = corpus.rows(corpus.train), corpus.rows(corpus.heldout)
    return {
        "name": corpus.name,
        "corpus": corpus.describe(),
        "sha256": corpus.sha256,
        "tokenizer_sha256": corpus.tokenizer.sha256,
        "splits": {
            "train": _variety(train) | {"tokens": len(corpus.train.tokens)},
            "heldout": _variety(heldout) | {"tokens": len(corpus.heldout.tokens)},
            "all": _variety(train + heldout) | {"tokens": len(corpus.train.tokens) + len(corpus.heldout.tokens)},
        },
        "overlap": _overlap(train, heldout),
        "tokens": _tokens(corpus),
        "reference": corpus.reference_entropies(),
        "topics": _topics(corpus),
    }


def format_report(counts: dict[str, Any]) -> str:
    """The report as tables for a terminal."""
    splits, overlap, tokens = counts["splits"], counts["overlap"], counts["tokens"]
    per_row, reference = tokens["per_row"], counts["reference"]
    made = ", ".join(f"{key} {value}" for key, value in counts["corpus"].items())
    sections = [
        f"{counts['name']}: {made}\nsha256 {counts['sha256']}",
        _table(
            ["", "train", "held out", "all"],
            [
                [label, *(f"{splits[name][key]:,}" for name in ("train", "heldout", "all"))]
                for label, key in (
                    ("rows", "rows"),
                    ("tokens", "tokens"),
                    ("different prompts", "prompts"),
                    ("different replies", "replies"),
                    ("different pairs", "pairs"),
                )
            ]
            + [["pairs that are unique", *(f"{splits[name]['unique']:.1%}" for name in ("train", "heldout", "all"))]],
        ),
        _table(
            ["in both splits", "prompts", "replies"],
            [
                ["the same string", f"{overlap['prompts']:,}", f"{overlap['replies']:,}"],
                ["the same words", f"{overlap['prompts_same_words']:,}", f"{overlap['replies_same_words']:,}"],
            ],
        ),
        _table(
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
        f"losses on the way down, nats a token: log V {reference['log_v']:.3f}, unigram {reference['unigram']:.3f}, "
        f"bigram {reference['bigram']:.3f}",
        _table(
            ["topic", "train", "held out"],
            [[row["topic"], f"{row['train']:,}", f"{row['heldout']:,}"] for row in counts["topics"]],
        ),
    ]
    return "\n\n".join(sections)


def _variety(rows: Sequence[Row]) -> dict[str, Any]:
    pairs = [pair_of(row) for row in rows]
    different = len(set(pairs))
    return {
        "rows": len(pairs),
        "prompts": len({prompt for prompt, _ in pairs}),
        "replies": len({reply for _, reply in pairs}),
        "pairs": different,
        "unique": different / len(pairs),
    }


def _overlap(train: Sequence[Row], heldout: Sequence[Row]) -> dict[str, int]:
    counts = {}
    for side, name in enumerate(("prompts", "replies")):
        strings = [{pair_of(row)[side] for row in rows} for rows in (train, heldout)]
        words = [{text_key(text) for text in texts} for texts in strings]
        counts[name] = len(strings[0] & strings[1])
        counts[f"{name}_same_words"] = len(words[0] & words[1])
    return counts


def _tokens(corpus: Corpus) -> dict[str, Any]:
    lengths = np.concatenate([corpus.train.lengths, corpus.heldout.lengths])
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
    train, heldout = Counter(corpus.train.categories), Counter(corpus.heldout.categories)
    return [{"topic": topic, "train": train[topic], "heldout": heldout[topic]} for topic in sorted(train | heldout)]


def _table(head: list[str], rows: list[list[str]]) -> str:
    """Columns of text: the first one to the left, numbers to the right."""
    widths = [max(len(row[i]) for row in [head, *rows]) for i in range(len(head))]
    lines = [
        "  ".join(
            [row[0].ljust(widths[0]), *(cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True))]
        )
        for row in [head, *rows]
    ]
    return "\n".join([lines[0], "─" * len(lines[0]), *lines[1:]])
