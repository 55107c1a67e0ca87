"""Attention through the layers: what each position has in it of each token that was read."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float64, Int64
from torch import Tensor

from guppy.errors import GuppyError
from guppy.hooks import record
from guppy.inspect.asking import Option, Question, Subject
from guppy.inspect.attention import heads_on
from guppy.model import Guppy

HOOKS = ("blocks.*.attn.hook_pattern", "blocks.*.attn.hook_z", "blocks.*.hook_attn_out")
SHARE = 0.5


@dataclass(frozen=True)
class Rollout:
    """Abnar & Zuidema 2020, section 3: attention of the layers multiplied together, the residual stream counted as
    attention of each position to itself. Values, MLPs and LayerNorm play no part in it: a picture of routes, not of
    effects. Every row of both sums to 1."""

    layers: Float64[Tensor, "layer query key"]
    """One layer at a time: (1 - share) times the mean pattern of the heads, plus `share` on the diagonal."""
    rollout: Float64[Tensor, "layer query key"]
    """Cumulative: the share of input token `key` in position `query` after the layer; the last layer is the result."""
    share: float
    """How much of each layer's output is counted as what was there before."""


@torch.no_grad()
def rollout(model: Guppy, ids: Int64[Tensor, " pos"], share: float = SHARE) -> Rollout:
    """Attention rollout with an identity share of `share` in every layer.

    Heads that surgery switched off have no part in the mean, and a layer without any passes everything on; without the
    residual stream nothing passes beside the heads, so the share is 0. Raises GuppyError when the share is not in
    0 … 1, the tokens do not fit the context, or a layer has neither heads nor a residual stream."""
    layers, share = routes(model, ids, share)
    return Rollout(layers, cumulative(layers), share)


@torch.no_grad()
def routes(
    model: Guppy, ids: Int64[Tensor, " pos"], share: float = SHARE
) -> tuple[Float64[Tensor, "layer query key"], float]:
    """Each layer's row-stochastic matrix of `Rollout.layers`, and the share that was used. Raises as `rollout`."""
    if not 0 <= share <= 1:
        raise GuppyError(f"The identity share must be between 0 and 1, not {share}.")
    with record(model, HOOKS) as tape:
        model(ids[None])
    on = heads_on(tape, model.config.n_layers)
    identity = torch.eye(len(ids), dtype=torch.float64)
    if not all(block.residual for block in model.blocks):
        share = 0.0
    layers = []
    for layer, block in enumerate(model.blocks):
        if on[layer].any():
            mean = tape[f"blocks.{layer}.attn.hook_pattern"][0][on[layer]].double().mean(0).cpu()
            mean = mean / mean.sum(-1, keepdim=True)  # float32 rows sum to 1 only to 1e-7
            layers.append(share * identity + (1 - share) * mean)
        elif block.residual:
            layers.append(identity)
        else:
            raise GuppyError(
                f"Layer {layer} has neither attention nor a residual stream, so nothing passes; choose other surgery."
            )
    return torch.stack(layers), share


def cumulative(layers: Float64[Tensor, "layer query key"]) -> Float64[Tensor, "layer query key"]:
    """The product of each layer with all before it."""
    products = [layers[0]]
    for layer in layers[1:]:
        products.append(layer @ products[-1])
    return torch.stack(products)


def _ask(subject: Subject, share: float) -> Rollout:
    return rollout(subject.model, subject.ids, share)


QUESTIONS = (
    Question(
        "rollout",
        "Attention rollout: the share of each input token in each position after each layer.",
        _ask,
        hooks="blocks.*.attn.hook_pattern",
        options=(Option("share", float, SHARE, "how much of each layer is counted as passed on unchanged, 0 to 1"),),
    ),
)
