"""What attention carries: each key's probability times the size of what it hands over."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from einops import einsum, rearrange
from jaxtyping import Float, Int64
from torch import Tensor

from guppy.hooks import record
from guppy.inspect.asking import Question, Subject
from guppy.inspect.attention import heads_on
from guppy.model import Guppy

HOOKS = ("blocks.*.attn.hook_pattern", "blocks.*.attn.hook_v", "blocks.*.attn.hook_z", "blocks.*.hook_attn_out")


@dataclass(frozen=True)
class ValueWeighted:
    """Kobayashi et al. 2020 ("Attention is not only a weight", equation 4): the norm of the vector that each key adds
    to each query's residual stream through a head, alpha · v · W_O, in the units of the residual stream.

    v is what passes `hook_v`, with the value bias in it, as in the paper; the output bias b_O comes from no key and is
    in none of the numbers. A head that surgery switched off adds nothing: its norms are 0.
    """

    norms: Float[Tensor, "layer head query key"]
    """||alpha v W_O|| of each head."""
    summed: Float[Tensor, "layer query key"]
    """The norm of the sum over the layer's heads: opposite contributions cancel, so it is at most the sum of norms."""
    value_norms: Float[Tensor, "layer head key"]
    """||v W_O||: what a key would add if a head looked at nothing else."""
    largest: float
    """The largest of `norms`: the end of their scale."""


@torch.no_grad()
def value_weighted(model: Guppy, ids: Int64[Tensor, " pos"]) -> ValueWeighted:
    """Attention weighted by the size of the values. Raises GuppyError when the tokens do not fit the context."""
    with record(model, HOOKS) as tape:
        model(ids[None])
    on = heads_on(tape, model.config.n_layers)
    norms, summed, value_norms = [], [], []
    for layer, block in enumerate(model.blocks):
        alpha = tape[f"blocks.{layer}.attn.hook_pattern"][0].double() * on[layer, :, None, None]
        v = tape[f"blocks.{layer}.attn.hook_v"][0]
        w_o = rearrange(block.attn.out.weight, "d_model (head d_head) -> head d_head d_model", head=v.shape[1])
        given = einsum(v, w_o, "key head d_head, head d_head d_model -> head key d_model").double()
        # ||Σ_h alpha_h f_h||² from the products of the f_h of one key: no (query, key, d_model) is ever held.
        gram = einsum(given, given, "a key d_model, b key d_model -> a b key")
        square = einsum(alpha, alpha, gram, "a query key, b query key, a b key -> query key")
        size = gram.diagonal(dim1=0, dim2=1).T.sqrt()  # (head, key)
        norms.append(alpha * size[:, None])
        summed.append(square.clamp(min=0).sqrt())
        value_norms.append(size)
    stacked = torch.stack(norms).float()
    return ValueWeighted(
        stacked, torch.stack(summed).float(), torch.stack(value_norms).float(), largest=stacked.max().item()
    )


def _ask(subject: Subject) -> ValueWeighted:
    return value_weighted(subject.model, subject.ids)


QUESTIONS = (
    Question(
        "value-weighted",
        "Attention times the size of what it carries: the norm of alpha · v · W_O, without the output bias.",
        _ask,
        hooks="blocks.*.attn.hook_[pv]*",
    ),
)
