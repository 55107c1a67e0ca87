"""Which heads read which: how much of what a head writes lies where a later head looks for it."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import torch
from einops import einsum, rearrange
from jaxtyping import Float
from torch import Tensor

from guppy.errors import GuppyError
from guppy.inspect.asking import Question, Subject
from guppy.model import Block, Guppy

KINDS = ("Q", "K", "V")
DRAWS = 24
_SEED = 0


@dataclass(frozen=True)
class Composition:
    """Composition scores of every pair of heads (Elhage et al. 2021, "Two-layer attention-only transformers").

    With W_OV = W_V W_O of the writer and W_QK = W_Q W_Kᵀ of the reader, as they multiply row vectors:
    Q: ‖W_OV W_QK‖ / (‖W_OV‖ ‖W_QK‖), K: the same with W_QKᵀ, V: the same with the reader's W_OV; Frobenius norms. Gain
    and centring of the reader's LayerNorm are part of its weights; what lies between the two layers is not looked at.
    """

    kinds: list[str]
    """"Q", "K", "V": what of the reader is made of what the writer wrote."""
    score: Float[Tensor, "kind layer head reader_layer reader_head"]
    """0 to 1; 0 where the reader is not in a later layer, and for heads that surgery switched off."""
    baseline: float
    """The score of matrices of these shapes with independent normal entries, a mean over `DRAWS` writers and as many
    readers: about 1/√d_model."""
    above: Float[Tensor, "kind layer head reader_layer reader_head"]
    """score - baseline where there is a score, else 0."""


@torch.no_grad()
def composition(model: Guppy) -> Composition:
    """Q-, K- and V-composition of every head with every head of a later layer, from the weights alone.

    Only matrices of d_head x d_head are ever multiplied. Raises GuppyError when surgery has cut the residual stream, or
    there is one layer only: then no head reads what another one wrote."""
    config, surgery = model.config, model.surgery
    if config.n_layers == 1:
        raise GuppyError("In a model of one layer no head comes after another; look at a deeper run.")
    if not surgery.residual:
        raise GuppyError("Without the residual stream no head reads what an earlier one wrote; look at another run.")
    on = torch.ones(config.n_layers, config.n_heads, dtype=torch.bool)
    for layer in surgery.attention_off:
        on[layer] = False
    for layer, head in surgery.heads_off:
        on[layer, head] = False
    parts = [_weights(block) for block in model.blocks]
    q, k, v, o = (torch.stack(each) for each in zip(*parts, strict=True))  # q, k, v: (layer, head, d_model, d_head)
    score = torch.zeros(len(KINDS), config.n_layers, config.n_heads, config.n_layers, config.n_heads)
    readers = {"Q": (q, k), "K": (k, q), "V": (v, o.transpose(-1, -2))}
    for writer in range(config.n_layers - 1):
        for kind, (left, right) in enumerate(readers.values()):
            later = _scores(v[writer], o[writer], left[writer + 1 :].flatten(0, 1), right[writer + 1 :].flatten(0, 1))
            score[kind, writer, :, writer + 1 :] = later.unflatten(1, (-1, config.n_heads))
    layer = torch.arange(config.n_layers)
    there = (layer[:, None] < layer)[:, None, :, None] & on[:, :, None, None] & on
    score = torch.where(there, score, 0.0)
    baseline = _baseline(config.d_model, config.d_head)
    return Composition(list(KINDS), score, baseline, torch.where(there, score - baseline, 0.0))


def _weights(block: Block) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """What a layer's heads read and write with: W_Q, W_K, W_V (head, d_model, d_head), with what LayerNorm does
    before them, and W_O (head, d_head, d_model), without what the next LayerNorm takes away of it."""
    attn = block.attn
    w = rearrange(attn.qkv.weight, "(n head d_head) d_model -> n head d_model d_head", n=3, head=attn.n_heads)
    o = rearrange(attn.out.weight, "d_model (head d_head) -> head d_head d_model", head=attn.n_heads)
    if block.ln1.on:
        w = w * block.ln1.weight[:, None]
        w, o = w - w.mean(-2, keepdim=True), o - o.mean(-1, keepdim=True)
    return w[0], w[1], w[2], o


def _scores(v: Tensor, o: Tensor, left: Tensor, right: Tensor) -> Float[Tensor, "writer reader"]:
    """‖V O L Rᵀ‖ / (‖V O‖ ‖L Rᵀ‖) for every writer's V O and reader's L Rᵀ, by ‖A B‖ = ‖triangle(A) B‖ (QR)."""
    read = _triangle(right).transpose(-1, -2)  # (reader, d_head, d_head)
    write = _triangle(v)
    inner = einsum(o, left, "writer a d_model, reader d_model b -> writer reader a b")
    product = (write[:, None] @ inner @ read[None]).flatten(-2).norm(dim=-1)
    size = (write @ o).flatten(-2).norm(dim=-1)[:, None] * (left @ read).flatten(-2).norm(dim=-1)
    return torch.where(size > 0, product / size, 0.0)


def _triangle(matrix: Tensor) -> Tensor:
    return torch.linalg.qr(matrix, mode="r").R


@cache
def _baseline(d_model: int, d_head: int) -> float:
    generator = torch.Generator().manual_seed(_SEED)
    v, o, left, right = torch.randn(4, DRAWS, d_model, d_head, generator=generator)
    return _scores(v, o.transpose(-1, -2), left, right).mean().item()


def _ask(subject: Subject) -> Composition:
    return composition(subject.model)


QUESTIONS = (
    Question(
        "composition",
        "Which heads read which: Q-, K- and V-composition scores of every pair of heads.",
        _ask,
        hooks="weights W_Q, W_K, W_V, W_O",
        prompt=False,
    ),
)
