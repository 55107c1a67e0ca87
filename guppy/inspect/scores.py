"""Attention before the softmax: every head's scores, and one number of the pattern followed from query to value."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from jaxtyping import Float, Float64, Int64
from torch import Tensor

from guppy.errors import GuppyError
from guppy.hooks import record
from guppy.inspect.asking import Option, Question, Subject
from guppy.model import Guppy

HOOK = "blocks.{layer}.attn.hook_attn_scores"


@dataclass(frozen=True)
class AttentionScores:
    """What every head's softmax is given, as recorded at `HOOK`."""

    scores: Float[Tensor, "layer head query key"]
    """q·k times the scale, in nats: a difference of log 2 makes one key twice as likely as another. -inf where the
    causal mask hides the key."""


@dataclass(frozen=True)
class AttentionCell:
    """How one probability of one head comes about, and what it carries: Vaswani et al. 2017, equation 1, cell by cell.

    Computed in float64 from the recorded `hook_q`, `hook_k` and `hook_v`, so that the parts add up to the last digit
    that is shown; the model's own float32 values at `hook_attn_scores`, `hook_pattern` and `hook_z` agree to rounding.
    """

    layer: int
    head: int
    query: int
    key: int
    """Positions, counted from 0."""
    q: Float64[Tensor, " d_head"]
    """The query vector of this head at position `query`, bias included (`hook_q`)."""
    k: Float64[Tensor, " d_head"]
    """The key vector of this head at position `key`, bias included (`hook_k`)."""
    products: Float64[Tensor, " d_head"]
    """q times k, term by term."""
    dot: float
    """Their sum: q·k."""
    scale: float
    """What it is multiplied by: 1/√d_head, or 1 when surgery took the scale away."""
    scaled: float
    """dot times scale."""
    visible: bool
    """Whether the mask lets the query see this key. If not, the score is -inf and the probability 0."""
    dots: Float64[Tensor, " key"]
    """q·k with the key of every position, those that the mask hides included."""
    scores: Float64[Tensor, " key"]
    """dots times the scale, -inf where the mask hides: what the softmax is given."""
    largest: float
    """The largest of the scores; softmax subtracts it first, which changes nothing but keeps exp() small."""
    exponentials: Float64[Tensor, " key"]
    """exp(score - largest) of every key; 0 where hidden."""
    numerator: float
    """The exponential of this key."""
    denominator: float
    """The sum of all exponentials."""
    probability: float
    """numerator / denominator: the number in the pattern."""
    row: Float64[Tensor, " key"]
    """The whole row of the pattern; its sum is 1."""
    v: Float64[Tensor, " d_head"]
    """The value vector of this head at position `key`, bias included (`hook_v`)."""
    weighted: Float64[Tensor, " d_head"]
    """probability times v: what this key adds to z."""
    z: Float64[Tensor, " d_head"]
    """The sum of all keys' weighted values: the head's output before its projection (`hook_z`, before surgery that
    switches the head off there)."""


@torch.no_grad()
def scores(model: Guppy, ids: Int64[Tensor, " pos"]) -> AttentionScores:
    """Every head's scores before the softmax. Raises GuppyError when the tokens do not fit the context."""
    with record(model, HOOK.format(layer="*")) as tape:
        model(ids[None])
    return AttentionScores(torch.stack([tape[HOOK.format(layer=i)][0] for i in range(model.config.n_layers)]))


@torch.no_grad()
def cell(model: Guppy, ids: Int64[Tensor, " pos"], layer: int, head: int, query: int, key: int) -> AttentionCell:
    """One number of one head's pattern, stage by stage; indices below 0 count from the end.

    Raises GuppyError when there is no such layer, head or position, or the tokens do not fit the context."""
    layer = _index("layer", layer, model.config.n_layers)
    head = _index("head", head, model.config.n_heads)
    query, key = _index("query", query, len(ids)), _index("key", key, len(ids))
    place = f"blocks.{layer}.attn."
    with record(model, [place + name for name in ("hook_q", "hook_k", "hook_v", "hook_attn_scores")]) as tape:
        model(ids[None])
    q, keys, values = (tape[place + name][0, :, head].double() for name in ("hook_q", "hook_k", "hook_v"))
    q = q[query]
    hidden = tape[place + "hook_attn_scores"][0, head, query].isneginf()
    scale = model.blocks[layer].attn.scale
    dots = keys @ q
    masked = (dots * scale).masked_fill(hidden, -math.inf)
    exponentials = (masked - masked.max()).exp()
    row = exponentials / exponentials.sum()
    products = q * keys[key]
    return AttentionCell(
        layer=layer,
        head=head,
        query=query,
        key=key,
        q=q,
        k=keys[key],
        products=products,
        dot=products.sum().item(),
        scale=scale,
        scaled=products.sum().item() * scale,
        visible=not hidden[key].item(),
        dots=dots,
        scores=masked,
        largest=masked.max().item(),
        exponentials=exponentials,
        numerator=exponentials[key].item(),
        denominator=exponentials.sum().item(),
        probability=row[key].item(),
        row=row,
        v=values[key],
        weighted=row[key] * values[key],
        z=row @ values,
    )


def _index(what: str, value: int, count: int) -> int:
    """A position in 0 … count-1, counted from the end below 0."""
    if not -count <= value < count:
        raise GuppyError(f"There is no {what} {value}; choose 0 to {count - 1}.")
    return value % count


def _ask_scores(subject: Subject) -> AttentionScores:
    return scores(subject.model, subject.ids)


def _ask_cell(subject: Subject, layer: int, head: int, query: int, key: int) -> AttentionCell:
    return cell(subject.model, subject.ids, layer, head, query, key)


QUESTIONS = (
    Question(
        "scores",
        "Every head's attention scores before the softmax.",
        _ask_scores,
        hooks="blocks.*.attn.hook_attn_scores",
    ),
    Question(
        "cell",
        "One attention probability, stage by stage: q·k, scale, mask, softmax, times the value.",
        _ask_cell,
        hooks="blocks.*.attn.hook_[qkv]",
        options=(
            Option("layer", int, 0, "the layer"),
            Option("head", int, 0, "the head in it"),
            Option("query", int, -1, "the position that asks; below 0 from the end"),
            Option("key", int, 0, "the position looked at; below 0 from the end"),
        ),
    ),
)
