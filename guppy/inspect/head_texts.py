"""What heads are scored on: short conversations with their noun marked, and random tokens that repeat."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields

import torch
from jaxtyping import Bool, Int64
from torch import Tensor

from guppy.errors import GuppyError
from guppy.tokenizer import SPECIALS, Tokenizer

PUNCTUATION = frozenset(".,;:!?")

CONVERSATIONS = (
    ("do you like the water?", "water", "yes. the water is warm today and i like it."),
    ("are you hungry for food?", "food", "i am always hungry, food is the best thing."),
    ("can you see the light?", "light", "i see the light, it is bright."),
    ("what do you think of music?", "music", "i do not know music. is it wet?"),
    ("tell me about the cat.", "cat", "the cat looks at me, i do not like the cat."),
    ("did you sleep last night?", "night", "the night was dark and i slept well."),
    ("is the glass clean?", "glass", "the glass is clean, i can see you."),
    ("where is your friend?", "friend", "my friend is behind the rock."),
    ("i had a dream about rain!", "rain", "rain is water, so rain is good."),
    ("how is the weather up there?", "weather", "i have no weather, only water."),
    ("why do people need money?", "money", "money is not food, so i do not need money."),
    ("have you ever been to the sea?", "sea", "no, the sea is too big for me."),
)
"""A user's turn, its noun, a reply. Plain English of no persona in particular; replies are read, not generated."""


@dataclass(frozen=True)
class Row:
    """One text to look at, and which of its positions are what."""

    ids: Int64[Tensor, " pos"]
    punctuation: Bool[Tensor, " pos"]
    """Tokens of nothing but . , ; : ! ? and spaces."""
    words: Bool[Tensor, " pos"]
    """The user's words, without the header and the end of the turn."""
    noun: Bool[Tensor, " pos"]
    """The noun of the user's turn."""
    reply: Bool[Tensor, " pos"]
    """Positions from which the reply is predicted: the last of its header to its last."""

    def last(self, count: int) -> Row:
        """Its last `count` positions."""
        return Row(*(getattr(self, field.name)[-count:] for field in fields(self)))


def conversation(tokenizer: Tokenizer, user: str, noun: str, reply: str) -> Row:
    """A turn and its reply in the tokenizer's chat format."""
    header = "assistant\n"
    ids = tokenizer.encode_chat([("user", user), ("assistant", reply)], reply=False)
    texts = tokenizer.token_strings(ids)
    whole = "".join(texts)
    asked = whole.index(user)
    answered = whole.index(header, asked) + len(header)
    row = _row(ids, texts)
    return Row(
        row.ids,
        row.punctuation,
        words=_within(texts, asked, asked + len(user)),
        noun=_within(texts, asked + user.index(noun), asked + user.index(noun) + len(noun)),
        reply=_within(texts, answered - 1, answered + len(reply)),
    )


def plain(tokenizer: Tokenizer, user: str, _noun: str, reply: str) -> Row:
    """The same as plain text, in which nobody has a turn."""
    ids = tokenizer.encode(f"{user}\n{reply}")
    return _row(ids, tokenizer.token_strings(ids))


def repeated(tokenizer: Tokenizer, rows: int, length: int, *, chat: bool, seed: int) -> list[Row]:
    """Random ordinary tokens, up to `length` different ones, twice in a row (Olsson et al. 2022, "In-context learning
    and induction heads", section "Definitions"); in the chat format after the token that starts every conversation.

    Fewer where `length` and the start do not fit. Raises GuppyError when not even two tokens would repeat."""
    start = [tokenizer.im_start_id] if chat else []
    ordinary = [i for i in range(tokenizer.vocab_size) if tokenizer.token_strings([i])[0] not in SPECIALS]
    if length < 2:
        raise GuppyError("The context is too short to repeat two tokens in; heads cannot be told apart in it.")
    generator = torch.Generator().manual_seed(seed)
    found = []
    for _ in range(rows):
        drawn = torch.tensor(ordinary)[torch.randperm(len(ordinary), generator=generator)[:length]].tolist()
        ids = [*start, *drawn, *drawn]
        found.append(_row(ids, tokenizer.token_strings(ids)))
    return found


def _row(ids: Sequence[int], texts: Sequence[str]) -> Row:
    nothing = torch.zeros(len(ids), dtype=torch.bool)
    stops = torch.tensor([bool(text.strip()) and set(text.strip()) <= PUNCTUATION for text in texts])
    return Row(torch.tensor(ids, dtype=torch.int64), stops, nothing, nothing, nothing)


def _within(texts: Sequence[str], start: int, end: int) -> Bool[Tensor, " pos"]:
    """The tokens that have at least one character in start … end of the text that they are together."""
    ends = torch.tensor([len(text) for text in texts]).cumsum(0)
    starts = torch.cat([torch.zeros(1, dtype=ends.dtype), ends[:-1]])
    return (starts < end) & (ends > start)
