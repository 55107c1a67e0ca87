"""Where each position looks: attention probabilities of every head."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor

from guppy.hooks import Tape, record
from guppy.inspect.asking import Question, Subject
from guppy.model import Guppy

HOOK = "blocks.{layer}.attn.hook_pattern"


@dataclass(frozen=True)
class AttentionPatterns:
    """What every head of every layer attends to, as recorded at `HOOK`."""

    pattern: Float[Tensor, "batch layer head query key"]
    """Probabilities: each query's row sums to 1 over the keys. Entries at and from padding are computed as well."""
    ids: Int64[Tensor, "batch pos"]
    """The tokens that were read."""


@torch.no_grad()
def patterns(model: Guppy, ids: Int64[Tensor, "batch pos"]) -> AttentionPatterns:
    """The attention probabilities (Vaswani et al. 2017, equation 1) of all heads on the same tokens.

    The model reads `ids` as it is: under its surgery, and with dropout if it is in training mode. Raises GuppyError
    when the tokens do not fit its context."""
    with record(model, HOOK.format(layer="*")) as tape:
        model(ids)
    layers = [tape[HOOK.format(layer=layer)] for layer in range(model.config.n_layers)]
    return AttentionPatterns(torch.stack(layers, dim=1), ids)


def future_mass(
    model: Guppy, ids: Int64[Tensor, "batch pos"], mask: Bool[Tensor, "batch pos"] | None = None
) -> Float[Tensor, "layer head"]:
    """The share of its attention that each head puts on positions after the one that asks, 0 under a causal mask.

    A mean over the queries where `mask` is true (None: all); every later key counts, padding in `ids` included,
    which a model that is given no packing reads. The last position of a row counts as a query, too."""
    later = patterns(model, ids).pattern.float().triu(diagonal=1).sum(-1)  # (batch, layer, head, query)
    if mask is None:
        return later.mean(dim=(0, 3))
    weight = mask[:, None, None, :].to(later.dtype)
    return (later * weight).sum(dim=(0, 3)) / weight.sum()


def heads_on(tape: Tape, n_layers: int) -> Bool[Tensor, "layer head"]:
    """Which heads have a say: not those whose output is zero throughout, at `hook_z` or as a layer at `hook_attn_out`,
    as surgery leaves it. Their patterns are computed as ever. `tape` has recorded both hooks in every layer."""
    heads = [tape[f"blocks.{layer}.attn.hook_z"].abs().amax((0, 1, 3)) > 0 for layer in range(n_layers)]
    layers = [tape[f"blocks.{layer}.hook_attn_out"].abs().max() > 0 for layer in range(n_layers)]
    return torch.stack(heads) & torch.stack(layers)[:, None]


@dataclass(frozen=True)
class TextPatterns:
    """`AttentionPatterns` of one text."""

    pattern: Float[Tensor, "layer head query key"]


def _ask_patterns(subject: Subject) -> TextPatterns:
    return TextPatterns(patterns(subject.model, subject.ids[None]).pattern[0])


QUESTIONS = (Question("attention", "Where each token looks: every head's probabilities.", _ask_patterns, hooks=HOOK),)
