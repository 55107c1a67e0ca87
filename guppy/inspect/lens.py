"""What the model would say if it stopped here: the residual stream of every layer read by the final unembedding."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int64
from torch import Tensor

from guppy.errors import GuppyError
from guppy.hooks import record
from guppy.inspect.asking import Option, Question, Subject
from guppy.inspect.residual import MID, POST, START
from guppy.model import Guppy
from guppy.tokenizer import Tokenizer

AT_ONCE = 2**23
"""Logits that are held at a time, 32 MB of them: a long text with a large vocabulary is read piece by piece."""


@dataclass(frozen=True)
class Lens:
    """Distributions over the next token, read off the stream at points between the embedding and the end."""

    points: list[str]
    """Hook names in the order of the code; the last one is what the model itself says."""
    top_ids: Int64[Tensor, "point pos k"]
    """The most probable tokens, first first."""
    top_probs: Float[Tensor, "point pos k"]
    entropy: Float[Tensor, "point pos"]
    """In nats."""
    kl: Float[Tensor, "point pos"]
    """KL(final || here) in nats: what is lost when this distribution stands for the final one."""
    final_ids: Int64[Tensor, " pos"]
    """The token that the model itself finds most probable."""
    final_rank: Int64[Tensor, "point pos"]
    """How many tokens have a larger logit than that one; 0: it comes first."""
    final_prob: Float[Tensor, "point pos"]
    next_rank: Int64[Tensor, "point pos"]
    """The same of the token that does come next in the text; -1 at the last position, which has none."""
    next_prob: Float[Tensor, "point pos"]
    """NaN at the last position."""
    settled: Int64[Tensor, " pos"]
    """Index of the first point from which on the final token comes first at every point."""
    vocab_size: int
    """Tokens that a distribution is over: the log of it is the entropy of knowing nothing."""
    words: dict[str, str] | None = None
    """The text of every token id that is named here, if a tokenizer was at hand."""


@torch.no_grad()
def logit_lens(model: Guppy, ids: Int64[Tensor, " pos"], k: int = 10) -> Lens:
    """The logit lens (nostalgebraist 2020, "interpreting GPT: the logit lens"): the final LayerNorm and the unembedding
    applied to the stream after the embeddings and after every attention and MLP.

    The model reads `ids` as it is, under its surgery; without a final LayerNorm there is none here either. `k` is how
    many top tokens are kept, at most the vocabulary. Raises GuppyError when the tokens do not fit the context."""
    points = [START]
    for layer in range(model.config.n_layers):
        points += [MID.format(layer), POST.format(layer)]
    with record(model, points) as tape:
        model(ids[None])
    return read(model, points, torch.stack([tape[name][0] for name in points]), ids, k)


def read(
    model: Guppy, points: list[str], streams: Float[Tensor, "point pos d_model"], ids: Int64[Tensor, " pos"], k: int
) -> Lens:
    """The distributions that the model's final LayerNorm and unembedding give for streams; the last is the final one.

    Raises GuppyError when `k` is not at least 1."""
    if k < 1:
        raise GuppyError(f"The lens tells at least 1 token, not {k}.")
    k = min(k, model.config.vocab_size)
    each = max(1, AT_ONCE // (len(points) * model.config.vocab_size))
    following = torch.cat([ids[1:], ids.new_full((1,), -1)])
    pieces = [
        _read_piece(model, some, nexts, k)
        for some, nexts in zip(streams.split(each, dim=1), following.split(each), strict=True)
    ]
    found = {
        name: torch.cat([piece[name] for piece in pieces], dim=-2 if name in ("top_ids", "top_probs") else -1)
        for name in pieces[0]
    }
    return Lens(points, **found, settled=_settled(found["final_rank"]), vocab_size=model.config.vocab_size)


def _read_piece(
    model: Guppy, streams: Float[Tensor, "point pos d_model"], following: Int64[Tensor, " pos"], k: int
) -> dict[str, Tensor]:
    logits = F.linear(model.ln_final(streams), model.embed.weight)  # (point, pos, vocab)
    log_probs = logits.log_softmax(-1)
    probs = log_probs.exp()
    top = probs.topk(k, dim=-1)
    final_ids = logits[-1].argmax(-1)
    final_rank, final_prob = _place(logits, probs, final_ids)
    next_rank, next_prob = _place(logits, probs, following.clamp(min=0))
    none = following < 0
    return {
        "top_ids": top.indices,
        "top_probs": top.values,
        "entropy": -(probs * log_probs).sum(-1),
        "kl": (probs[-1] * (log_probs[-1] - log_probs)).sum(-1),
        "final_ids": final_ids,
        "final_rank": final_rank,
        "final_prob": final_prob,
        "next_rank": next_rank.masked_fill(none, -1),
        "next_prob": next_prob.masked_fill(none, torch.nan),
    }


def _place(
    logits: Float[Tensor, "point pos vocab"], probs: Float[Tensor, "point pos vocab"], token: Int64[Tensor, " pos"]
) -> tuple[Int64[Tensor, "point pos"], Float[Tensor, "point pos"]]:
    """Rank and probability of one token for each position."""
    at = token.expand(len(logits), -1)[..., None]  # (point, pos, 1)
    return (logits > logits.gather(-1, at)).sum(-1), probs.gather(-1, at)[..., 0]


def _settled(final_rank: Int64[Tensor, "point pos"]) -> Int64[Tensor, " pos"]:
    """The first point after the last one at which the final token does not come first."""
    from_here_on = (final_rank.flip(0) == 0).long().cumprod(0)  # (point, pos), the last point first
    return len(final_rank) - from_here_on.sum(0)


def with_words(found: Lens, tokenizer: Tokenizer) -> Lens:
    """The same with the text of every token that it names."""
    named = sorted(set(found.top_ids.flatten().tolist()) | set(found.final_ids.tolist()))
    return replace(found, words=dict(zip(map(str, named), tokenizer.token_strings(named), strict=True)))


def _ask_lens(subject: Subject, k: int = 10) -> Lens:
    return with_words(logit_lens(subject.model, subject.ids, k), subject.tokenizer)


QUESTIONS = (
    Question(
        "lens",
        "The logit lens: what the model would say after each layer, at every position.",
        _ask_lens,
        hooks="blocks.*.hook_resid_*",
        options=(Option("k", int, 10, "How many of the most probable tokens to tell."),),
    ),
)
