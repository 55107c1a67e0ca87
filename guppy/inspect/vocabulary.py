"""Tokens by id and by text, for questions about the vocabulary."""

from __future__ import annotations

import re
from collections.abc import Iterable

from torch import Tensor

from guppy.errors import GuppyError
from guppy.model import Guppy
from guppy.tokenizer import Tokenizer

_BY_ID = re.compile(r"#(\d{1,9})")


def known_tokens(model: Guppy, tokenizer: Tokenizer) -> int:
    """How many rows of the embedding, counted from its start, are tokens that exist; the others are padding."""
    return min(tokenizer.vocab_size, model.config.vocab_size)


def token_id(tokenizer: Tokenizer, text: str) -> int:
    """The id of one token, given as its text or as `#` and its id; a word that exists only with a space before it
    means that. Raises GuppyError when there is no such token or when the text is several."""
    by_id = _BY_ID.fullmatch(text.strip())
    if by_id and int(by_id[1]) < tokenizer.vocab_size:
        return int(by_id[1])
    readings = [tokenizer.encode(each, specials=True) for each in (text, f" {text}")]
    for ids in readings:
        if len(ids) == 1:
            return ids[0]
    if not text or by_id:
        raise GuppyError(
            f"There is no token {text!r}; give one token's text, or # and an id below {tokenizer.vocab_size}."
        )
    pieces = " ".join(f"‘{piece}’" for piece in tokenizer.token_strings(readings[0]))
    raise GuppyError(f"‘{text}’ is {len(readings[0])} tokens, {pieces}; give one of them.")


def words(tokenizer: Tokenizer, *ids: Tensor | Iterable[int]) -> dict[str, str]:
    """The text of every id that occurs, by the id as a string (JSON's names are strings)."""
    found = sorted({int(i) for each in ids for i in (each.flatten().tolist() if isinstance(each, Tensor) else each)})
    return dict(zip(map(str, found), tokenizer.token_strings(found), strict=True))
