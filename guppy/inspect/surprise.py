"""How surprising each token of a text is to a model that reads it."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from guppy.errors import GuppyError
from guppy.evaluate import evaluating
from guppy.inspect.asking import Option, Question, Subject
from guppy.inspect.sampling import THEN, continued, entropy_bits, readable
from guppy.inspect.vocabulary import words
from guppy.model import Guppy
from guppy.tokenizer import ROLES, Tokenizer

CHEATING = "approximate: without the causal mask the model has seen the token that it predicts"


@dataclass(frozen=True)
class Surprise:
    """What the model expected at each position of a text, from the tokens before it, and what came.

    Nothing comes before position 0, so nothing was expected there: NaN, and 0 for ranks and ids."""

    ids: Int64[Tensor, " pos"]
    bits: Float[Tensor, " pos"]
    """Surprise: -log2 of the probability that the token had."""
    probability: Float[Tensor, " pos"]
    entropy: Float[Tensor, " pos"]
    """Of what was expected, in bits: how surprised the model expected to be."""
    rank: Int64[Tensor, " pos"]
    """The token's place among all by probability; 1 is what greedy sampling would have said."""
    alternatives: Int64[Tensor, "pos k"]
    """The likeliest tokens, whatever came."""
    alternative_probability: Float[Tensor, "pos k"]


@dataclass(frozen=True)
class Turn:
    """A part of a conversation, or a whole text that is none."""

    role: str
    """"user", "assistant", or "text"."""
    start: int
    end: int
    """Positions [start, end): what was said, and the mark that ends it, without the turn's header."""


@torch.no_grad()
def surprise(model: Guppy, ids: Int64[Tensor, " pos"], k: int = 5) -> Surprise:
    """How surprising each token is, with the `k` likeliest tokens in its place.

    Of too long a text the end is read. A model without the causal mask has seen each token when it predicts it. Raises
    GuppyError without a text, on tokens that the model does not have, and on a `k` out of range."""
    if not 1 <= k <= model.config.vocab_size:
        raise GuppyError(f"k must be between 1 and the vocabulary's {model.config.vocab_size}, not {k}.")
    read = torch.tensor(readable(model, ids.tolist()))
    with evaluating(model):
        logits = model(read[None].to(model.embed.weight.device))[0, :-1].float().cpu()
    came = read[1:, None]
    logp = logits.log_softmax(-1)
    found = logp.gather(-1, came)
    # Equals go by id, as they do in sampling.
    ids_before = torch.arange(logits.shape[1]) < came
    rank = 1 + ((logp > found) | ((logp == found) & ids_before)).sum(-1)
    likeliest = logits.sort(dim=-1, descending=True, stable=True).indices[:, :k]
    return Surprise(
        ids=read,
        bits=_after_nothing(-found[:, 0] / math.log(2), torch.nan),
        probability=_after_nothing(found[:, 0].exp(), torch.nan),
        entropy=_after_nothing(entropy_bits(logp.exp()), torch.nan),
        rank=_after_nothing(rank, 0),
        alternatives=_after_nothing(likeliest, 0),
        alternative_probability=_after_nothing(logp.gather(-1, likeliest).exp(), torch.nan),
    )


def _after_nothing(values: Tensor, nothing: float) -> Tensor:
    return torch.cat([values.new_full((1, *values.shape[1:]), nothing), values])


def turns(tokenizer: Tokenizer, ids: Int64[Tensor, " pos"]) -> list[Turn]:
    """The turns of a conversation in ChatML, in order; what is no conversation is one turn, "text".

    A turn that has only its header yet, or whose header does not say who speaks, is left out."""
    tokens = ids.tolist()
    starts = [position for position, token in enumerate(tokens) if token == tokenizer.im_start_id]
    if not starts:
        return [Turn("text", 0, len(tokens))]
    headers = {role: tokenizer.encode(f"{role}\n") for role in ROLES}
    found = []
    for start, following in zip(starts, [*starts[1:], len(tokens)], strict=True):
        for role, header in headers.items():
            said = start + 1 + len(header)
            if tokens[start + 1 : said] != header:
                continue
            inside = tokens[said:following]
            end = said + (inside.index(tokenizer.im_end_id) + 1 if tokenizer.im_end_id in inside else len(inside))
            if end > said:
                found.append(Turn(role, said, end))
    return found


# -- as a question -----------------------------------------------------------------------------------


@dataclass(frozen=True)
class NamedSurprise:
    """`Surprise` with the text of each token, and totals."""

    ids: Int64[Tensor, " pos"]
    bits: Float[Tensor, " pos"]
    probability: Float[Tensor, " pos"]
    entropy: Float[Tensor, " pos"]
    rank: Int64[Tensor, " pos"]
    alternatives: Int64[Tensor, "pos k"]
    alternative_probability: Float[Tensor, "pos k"]
    text: list[str]
    """Each token read, the prompt's and those that followed."""
    turns: list[dict[str, Any]]
    """For each turn its `role`, `start`, `end`, the `tokens` counted, their `bits` together and `bits_per_token`."""
    exactness: str
    words: dict[str, str]


def _ask(subject: Subject, then: str, top: int) -> NamedSurprise:
    ids = continued(subject, then)
    found = surprise(subject.model, ids, top)
    totals = [total for turn in turns(subject.tokenizer, ids) if (total := _total(turn, found.bits))]
    return NamedSurprise(
        **vars(found),
        text=subject.tokenizer.token_strings(ids.tolist()),
        turns=totals,
        exactness="exact" if subject.model.causal else CHEATING,
        words=words(subject.tokenizer, found.alternatives),
    )


def _total(turn: Turn, bits: Float[Tensor, " pos"]) -> dict[str, Any] | None:
    said = bits[turn.start : turn.end]
    said = said[~said.isnan()]
    if not len(said):
        return None
    total = said.double().sum().item()
    return vars(turn) | {"tokens": len(said), "bits": total, "bits_per_token": total / len(said)}


QUESTIONS = (
    Question(
        "surprise",
        "How surprising each token of the text is, in bits, and what was expected instead.",
        _ask,
        options=(THEN, Option("top", int, 5, "How many alternatives at each position.")),
    ),
)
