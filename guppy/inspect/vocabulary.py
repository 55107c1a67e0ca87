"""Tokens by id and by text, and which of them the model has met, for questions about the vocabulary."""

from __future__ import annotations

import re
import threading
from collections.abc import Iterable
from typing import TYPE_CHECKING

import numpy as np
import torch
from jaxtyping import Int64
from torch import Tensor

from guppy import corpora
from guppy.corpus import Corpus
from guppy.errors import GuppyError
from guppy.inspect.asking import Option, Subject
from guppy.model import Guppy
from guppy.tokenizer import Tokenizer

if TYPE_CHECKING:
    from guppy.runs import Run

LEAST = 3
"""How often a token occurs in training text to count as met."""
SAMPLE = 3000
"""Conversations of a character that are drawn to find that out; other corpora are read whole."""
_BY_ID = re.compile(r"#(\d{1,9})")

TOKENS = Option("tokens", str, "met", "Those that occur in its training text, or all that exist.", ("met", "all"))


def asked_tokens(subject: Subject, which: str, *more: int) -> Int64[Tensor, " token"]:
    """The ids that a question is about: "met" in training, or "all" that exist; `more` of them in any case.

    All of them as well where the run or its training text is not at hand."""
    everything = torch.arange(known_tokens(subject.model, subject.tokenizer))
    found = met_tokens(subject.run) if which == "met" and subject.run is not None else None
    if found is None:
        return everything
    return torch.cat([found, torch.tensor(more, dtype=torch.int64)]).unique()


def known_tokens(model: Guppy, tokenizer: Tokenizer) -> int:
    """How many rows of the embedding, counted from its start, are tokens that exist; the others are padding."""
    return min(tokenizer.vocab_size, model.config.vocab_size)


_met: dict[str, Int64[Tensor, " token"] | None] = {}
_lock = threading.Lock()


def met_tokens(run: Run) -> Int64[Tensor, " token"] | None:
    """Ids of the tokens that occur at least `LEAST` times in what the run learns from; None where that is gone.

    Byte-level tokenizers have bytes and pieces of words that no training text has; what weights say about these is
    noise. Of a character's conversations a sample stands for all. Found once for each corpus and tokenizer."""
    described = run.manifest["corpus"]
    key = f"{described.get('sha256')} {run.tokenizer.sha256}"
    with _lock:
        if key not in _met:
            _met[key] = _find_met(run)
        return _met[key]


def _find_met(run: Run) -> Int64[Tensor, " token"] | None:
    described = run.manifest["corpus"]
    try:
        if described.get("kind") == "persona":
            described = described | {"rows": min(described["rows"], SAMPLE)}
            corpus = Corpus.from_description(described, run.tokenizer)
        else:
            corpus = corpora.find(described["sha256"]) or Corpus.from_description(described, run.tokenizer)
    except (GuppyError, KeyError):
        return None
    counts = np.bincount(corpus.train.tokens, minlength=run.tokenizer.vocab_size)
    # The marks around turns may be left to the tokenizer's templates; they are met in every conversation.
    special = [run.tokenizer.im_start_id, run.tokenizer.im_end_id] if run.is_chat else []
    counts[special] = LEAST
    return torch.from_numpy(np.flatnonzero(counts >= LEAST))


def token_id(tokenizer: Tokenizer, text: str) -> int:
    """The id of one token, given as its text or as `#` and its id; a word that exists only with a space before it
    means that. Raises GuppyError when there is no such token or when the text is several."""
    by_id = _BY_ID.fullmatch(text.strip())
    if by_id and int(by_id[1]) < tokenizer.vocab_size:
        return int(by_id[1])
    readings = [tokenizer.encode(each, specials=True) for each in (text, f" {text}") if text]
    for ids in readings:
        if len(ids) == 1:
            return ids[0]
    if not text or by_id:
        there = f"below {tokenizer.vocab_size}"
        raise GuppyError(f"There is no token {text!r}; give one token's text, or # and an id {there}.")
    pieces = " ".join(f"‘{piece}’" for piece in tokenizer.token_strings(readings[0]))
    raise GuppyError(f"‘{text}’ is {len(readings[0])} tokens, {pieces}; give one of them.")


def words(tokenizer: Tokenizer, *ids: Tensor | Iterable[int]) -> dict[str, str]:
    """The text of every id that occurs, by the id as a string (JSON's names are strings)."""
    found = sorted({int(i) for each in ids for i in (each.flatten().tolist() if isinstance(each, Tensor) else each)})
    return dict(zip(map(str, found), tokenizer.token_strings(found), strict=True))
