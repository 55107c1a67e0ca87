"""The rows that two programs are compared on, and the one way in which both are scored.

A yardstick is a folder with train.jsonl, eval.jsonl (each also .gz) and tokenizer.json. Rows are tokenised and cut as
the reference does it, and its folder is written from the same rows, so both sides read the same tokens.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from jaxtyping import Float, Int64
from tokenizers import Tokenizer as PlainTokenizer
from torch import Tensor, nn

from guppy.batches import Batch, Split, heldout_batches
from guppy.corpora import from_persona
from guppy.corpus import Corpus
from guppy.errors import GuppyError
from guppy.evaluate import token_loss
from guppy.rows import Row, pair_of, read_rows, write_rows
from guppy.tokenizer import Tokenizer

CONTEXT = 128
"""Rows are cut to so many tokens, the first of which is no target."""
EVAL_BATCH = 64
# What our own checkpoints score while the clock runs. The loss that is reported is scored on all rows, with it stopped.
OWN_ROWS = 16
CHECKED_ROWS = 200
PERSONA, PERSONA_ROWS = "guppy", 60_000

Logits = Callable[[Int64[Tensor, "batch pos"]], Float[Tensor, "batch pos vocab"]]


@dataclass(frozen=True)
class Score:
    """Mean cross-entropy in nats per target; `new_replies` on rows whose reply is in no training row, if there are."""

    loss: float
    new_replies: float | None


@dataclass(frozen=True)
class Yardstick:
    """Tokens to learn from and to be scored on.

    Attributes:
        known, new: evaluation rows whose reply is in a training row, and those whose reply is in none.
        distinct: training rows that differ.
    """

    tokenizer_path: Path
    train: Split
    known: Split
    new: Split
    distinct: int

    @property
    def tokens(self) -> int:
        """Targets in the training rows."""
        return _targets(self.train)

    def corpus(self) -> Corpus:
        """The training rows as our training wants them. Held out are a few rows only, and there are no probes."""
        rows = [split.row(i).tolist() for split in (self.known, self.new) for i in range(len(split))][:OWN_ROWS]
        heldout = Split.from_rows(rows, ["chat"] * len(rows))
        return Corpus("yardstick", Tokenizer.load(self.tokenizer_path), self.train, heldout, [], {"kind": "yardstick"})

    @torch.inference_mode()
    def score(self, model: nn.Module, logits: Logits, device: torch.device) -> Score:
        """Score a model on all evaluation rows, in float32 and without dropout.

        Args:
            logits: asks the model, whatever else it returns.
        """
        pad_id = Tokenizer.load(self.tokenizer_path).pad_id
        training = model.training
        model.eval()
        known, new = (
            sum((_loss(logits, batch, device) for batch in _batches(split, pad_id)), 0.0)
            for split in (self.known, self.new)
        )
        model.train(training)
        n_known, n_new = _targets(self.known), _targets(self.new)
        return Score((known + new) / (n_known + n_new), new / n_new if n_new else None)


def _batches(split: Split, pad_id: int) -> list[Batch]:
    return heldout_batches(split, EVAL_BATCH, CONTEXT, pad_id) if len(split) else []


def _loss(logits: Logits, batch: Batch, device: torch.device) -> float:
    return token_loss(logits(batch.ids.to(device)), batch.targets.to(device)).item()


def _targets(split: Split) -> int:
    return int((split.lengths - 1).sum())


def read_yardstick(folder: Path, eval_rows: int, plain: Path) -> Yardstick:
    """Read a folder, and write its rows uncompressed into the folder `plain`, for programs that want them so.

    Args:
        eval_rows: score on the first so many evaluation rows.

    Raises:
        GuppyError: a file is missing, empty or broken (with its line), or the tokenizer reads rows in two ways.
    """
    if not folder.is_dir():
        raise GuppyError(f"there is no folder {folder}; give one with train.jsonl, eval.jsonl and tokenizer.json")
    tokenizer = Tokenizer.load(folder / "tokenizer.json")
    if tokenizer.vocab_size > 2**16:
        raise GuppyError(f"a tokenizer of {tokenizer.vocab_size:,} tokens is too large here; use one of up to 65,536")
    train, evaluation = (read_rows(_find(folder, name)) for name in ("train", "eval"))
    plain.mkdir()
    write_texts(plain, train, evaluation, tokenizer)
    replies = {pair_of(row)[1] for row in train}
    scored = evaluation[:eval_rows]
    known = [row for row in scored if pair_of(row)[1] in replies]
    new = [row for row in scored if pair_of(row)[1] not in replies]
    splits = [_split(tokenizer, plain / "tokenizer.json", rows) for rows in (train, known, new)]
    for split, what in ((splits[0], "train"), (splits[1] if known else splits[2], "eval")):
        if not len(split):
            raise GuppyError(f"{_find(folder, what)} has no row of two tokens or more; give more text")
    return Yardstick(plain / "tokenizer.json", *splits, distinct=len({row.text for row in train}))


def persona_folder(folder: Path) -> Path:
    """Write our own persona's corpus into a new folder, in the same form."""
    corpus = from_persona(PERSONA, PERSONA_ROWS, seed=0)
    folder.mkdir()
    write_texts(folder, corpus.rows(corpus.train), corpus.rows(corpus.heldout), corpus.tokenizer)
    return folder


def write_texts(folder: Path, train: Sequence[Row], evaluation: Sequence[Row], tokenizer: Tokenizer) -> None:
    """Write train.jsonl, eval.jsonl and tokenizer.json into a folder that exists."""
    write_rows(folder / "train.jsonl", train)
    write_rows(folder / "eval.jsonl", evaluation)
    tokenizer.save(folder / "tokenizer.json")


def _find(folder: Path, name: str) -> Path:
    found = [path for path in (folder / f"{name}.jsonl", folder / f"{name}.jsonl.gz") if path.exists()]
    if not found:
        raise GuppyError(f"{folder} has neither {name}.jsonl nor {name}.jsonl.gz; give a folder with both splits")
    return found[0]


def _split(tokenizer: Tokenizer, path: Path, rows: Sequence[Row]) -> Split:
    encoded = [tokenizer.encode(row.text, specials=True)[:CONTEXT] for row in rows]
    plain = PlainTokenizer.from_file(str(path))
    for row, ids in zip(rows[:CHECKED_ROWS], encoded, strict=False):
        if plain.encode(row.text).ids[:CONTEXT] != ids:
            text = json.dumps(row.text)[:80]
            raise GuppyError(f"the tokenizer reads {text} in two ways; use one that adds no tokens of its own")
    long_enough = [i for i, ids in enumerate(encoded) if len(ids) >= 2]
    return Split.from_rows([encoded[i] for i in long_enough], [rows[i].category for i in long_enough])
