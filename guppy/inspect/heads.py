"""What kind of head each head is: scores of its attention on repeated random tokens and on short conversations."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from guppy.inspect.asking import Option, Question, Subject
from guppy.inspect.attention import patterns
from guppy.inspect.head_texts import CONVERSATIONS, Row, conversation, plain, repeated
from guppy.model import Guppy
from guppy.tokenizer import Tokenizer

RANDOM_ROWS = 8
RANDOM_TOKENS = 24
"""Random tokens in a row before they repeat; fewer where the context is short."""


@dataclass(frozen=True)
class Kind:
    """What a head of one kind looks at."""

    name: str
    about: str
    threshold: float
    """A head is called so from this score on."""
    on: str
    """"random": measured on repeated random tokens; "text": on conversations."""


KINDS = (
    Kind("previous token", "the token before", 0.4, "text"),
    Kind("duplicate token", "earlier copies of the same token", 0.3, "random"),
    Kind("induction", "the token after an earlier copy", 0.3, "random"),
    Kind("recent tokens", "the four tokens before", 0.5, "text"),
    Kind("first token", "the first token, where a head rests that has nothing to add", 0.5, "text"),
    Kind("current token", "the token itself", 0.4, "text"),
    Kind("next token", "the token after, which a causal mask would hide", 0.4, "text"),
    Kind("punctuation", "full stops, commas and question marks before", 0.4, "text"),
    Kind("even", "all that it can see, evenly: a mean of the past", 0.9, "text"),
    Kind("user's words", "from the reply, the words of the user's turn", 0.5, "text"),
    Kind("user's noun", "from the reply, the noun that the user's turn is about", 0.2, "text"),
)
CHAT_ONLY = ("user's words", "user's noun")
UNMASKED_ONLY = ("next token",)
BROAD = ("recent tokens", "even", "user's words")
"""Kinds that are also true of heads of a narrower kind, which is then the one that is named."""
RECENT = 4


@dataclass(frozen=True)
class HeadKinds:
    """How much every head is of every kind, on rows that are the same for every model of one tokenizer and seed.

    A score is the share of its attention that a head puts on what the kind looks at, averaged over the positions that
    have such a thing to look at and something else beside it. TransformerLens's `detect_head` ("mul") is the same sum
    over all positions, those with nothing to find included, so at most as large. For "even" it is the entropy of the
    look over that of an even one. What a head does with what it sees is not in it: a kind is a place to start from.
    """

    kinds: list[str]
    """Names. "next token" is there without a causal mask only, the user's turn in the chat format only."""
    about: list[str]
    """What each kind looks at, in words."""
    on: list[str]
    """What each is measured on: "random" or "text"."""
    thresholds: Float[Tensor, " kind"]
    score: Float[Tensor, "kind layer head"]
    """Mean over the rows, 0 to 1; nan where none of them has anything to look at."""
    spread: Float[Tensor, "kind layer head"]
    """Standard deviation over the rows."""
    confidence: Float[Tensor, "kind layer head"]
    """In which share of the rows, each taken by itself, the score reaches the threshold."""
    chance: Float[Tensor, " kind"]
    """What a head scores that looks evenly at all it can see."""
    labels: list[list[str]]
    """For each layer and head the kind that it is most of: the furthest from its threshold towards 1, a broad one
    (recent tokens, even, user's words) only where no other is reached; "" if none is."""
    rows: dict[str, int]
    """How many rows of each sort were read."""


@torch.no_grad()
def head_kinds(model: Guppy, tokenizer: Tokenizer, *, chat: bool = True, seed: int = 0) -> HeadKinds:
    """Score every head of a model as every kind of head.

    `chat`: read the conversations in the tokenizer's chat format, or as plain text, where nobody has a turn. `seed` is
    that of the random tokens. Texts too long for the context are read from their end. Raises GuppyError when it is too
    short to repeat two tokens in."""
    n_ctx = model.config.n_ctx
    mark = conversation if chat else plain
    length = min(RANDOM_TOKENS, (n_ctx - chat) // 2)
    sorts = {
        "random": repeated(tokenizer, RANDOM_ROWS, length, chat=chat, seed=seed),
        "text": [mark(tokenizer, *each).last(n_ctx) for each in CONVERSATIONS],
    }
    left_out = (() if chat else CHAT_ONLY) + (UNMASKED_ONLY if model.causal else ())
    kinds = [kind for kind in KINDS if kind.name not in left_out]
    scored, evenly = defaultdict(list), defaultdict(list)
    for sort, rows in sorts.items():
        for row, pattern in _read(model, rows):
            even = _even(len(row.ids), model.causal)[None, None]
            for kind in (kind for kind in kinds if kind.on == sort):
                scored[kind.name].append(score(kind.name, pattern, row, causal=model.causal))
                evenly[kind.name].append(score(kind.name, even, row, causal=model.causal)[0, 0])
    return _summary(kinds, scored, evenly, {sort: len(rows) for sort, rows in sorts.items()})


def score(
    kind: str, pattern: Float[Tensor, "layer head query key"], row: Row, *, causal: bool = True
) -> Float[Tensor, "layer head"]:
    """How much each head is of a kind on one row; nan where the row has nothing for it to look at."""
    n = len(row.ids)
    visible = torch.ones(n, n, dtype=torch.bool)
    visible = visible.tril() if causal else visible
    if kind == "even":
        entropy = -torch.special.xlogy(pattern, pattern).sum(-1)
        most = visible.sum(-1).log()
        return (entropy[..., most > 0] / most[most > 0]).mean(-1)
    wanted = looked_at(kind, row) & visible
    # Where there is nothing else to see, looking there says nothing.
    asked = wanted.any(-1) & (wanted != visible).any(-1)
    return (pattern * wanted).sum(-1)[..., asked].mean(-1)


def looked_at(kind: str, row: Row) -> Bool[Tensor, "query key"]:
    """What a head of this kind looks at, visible or not."""
    n = len(row.ids)
    same = row.ids[:, None] == row.ids
    earlier = torch.ones(n, n, dtype=torch.bool).tril(-1)
    if kind in ("previous token", "current token", "next token"):
        away = ("previous token", "current token", "next token").index(kind) - 1
        return torch.diag(torch.ones(n - abs(away), dtype=torch.bool), away)
    if kind == "recent tokens":
        near = earlier & ~torch.ones(n, n, dtype=torch.bool).tril(-1 - RECENT)
        near[: 2 * RECENT] = False  # where there is little else before, it says little
        return near
    if kind == "duplicate token":
        return same & earlier
    if kind == "induction":
        after = torch.zeros(n, n, dtype=torch.bool)
        after[:, 1:] = (same & earlier)[:, :-1]
        return after
    if kind == "first token":
        return torch.arange(n).expand(n, n) == 0
    if kind == "punctuation":
        return row.punctuation & earlier
    return row.reply[:, None] & {"user's words": row.words, "user's noun": row.noun}[kind]


def _read(model: Guppy, rows: Sequence[Row]) -> list[tuple[Row, Float[Tensor, "layer head query key"]]]:
    """Each row with every head's pattern on it; rows of one length are read together."""
    by_length = defaultdict(list)
    for row in rows:
        by_length[len(row.ids)].append(row)
    device = next(model.parameters()).device
    found = []
    for alike in by_length.values():
        read = patterns(model, torch.stack([row.ids for row in alike]).to(device)).pattern.float().cpu()
        found += zip(alike, read, strict=True)
    return found


def _even(n: int, causal: bool) -> Float[Tensor, "query key"]:
    visible = torch.ones(n, n).tril() if causal else torch.ones(n, n)
    return visible / visible.sum(-1, keepdim=True)


def _summary(
    kinds: Sequence[Kind], scored: dict[str, list[Tensor]], evenly: dict[str, list[Tensor]], rows: dict[str, int]
) -> HeadKinds:
    thresholds = torch.tensor([kind.threshold for kind in kinds])
    mean, spread, confidence, chance = [], [], [], []
    for kind in kinds:
        each = torch.stack(scored[kind.name])  # (row, layer, head)
        each = each[~each[:, 0, 0].isnan()]
        mean.append(each.mean(0))
        spread.append((each - each.mean(0)).square().mean(0).sqrt())
        confidence.append((each >= kind.threshold).float().mean(0))
        chance.append(torch.stack(evenly[kind.name]).nanmean())
    table = torch.stack(mean)
    margin = ((table - thresholds[:, None, None]) / (1 - thresholds[:, None, None])).nan_to_num(nan=-1)
    names = [kind.name for kind in kinds]
    narrow = torch.tensor([name not in BROAD for name in names])[:, None, None]
    best, which = (margin + (narrow & (margin >= 0))).max(0)
    labels = [
        [names[k] if passed else "" for k, passed in zip(*layer, strict=True)]
        for layer in zip(which.tolist(), (best >= 0).tolist(), strict=True)
    ]
    return HeadKinds(
        kinds=names,
        about=[kind.about for kind in kinds],
        on=[kind.on for kind in kinds],
        thresholds=thresholds,
        score=table,
        spread=torch.stack(spread),
        confidence=torch.stack(confidence),
        chance=torch.stack(chance),
        labels=labels,
        rows=rows,
    )


def _ask(subject: Subject, seed: int) -> HeadKinds:
    chat = subject.run is None or subject.run.is_chat
    return head_kinds(subject.model, subject.tokenizer, chat=chat, seed=seed)


QUESTIONS = (
    Question(
        "heads",
        "What kind of head each head is: scores on repeated random tokens and short conversations.",
        _ask,
        hooks="blocks.*.attn.hook_pattern",
        exactness="exact, on texts of its own",
        options=(Option("seed", int, 0, "seed of the random tokens"),),
        prompt=False,
    ),
)
