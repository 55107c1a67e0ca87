"""What a head's weights alone say about tokens and positions: its QK and OV circuits (Elhage et al. 2021, "A
Mathematical Framework for Transformer Circuits", sections "Splitting attention head terms into circuits" and
"Summarizing OV/QK matrices").

A circuit is the direct path: the head reads the embedding itself, and what it writes goes straight to the logits. In
between stands LayerNorm, which is no linear map. Its centring, gain and bias are folded in here; its division is by one
number for all, the root mean square over tokens and positions of what the first layer divides by (`typical_scale`), and
the division before the logits is left out. So attention scores are right for a typical token at the first layer, and a
picture of the weights in deeper ones; the order of pairs and the copying score do not depend on that number.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TypeAlias

import torch
from einops import rearrange
from jaxtyping import Float, Int64
from torch import Tensor

from guppy.errors import GuppyError
from guppy.model import Block, Guppy, LayerNorm

Tokens: TypeAlias = "Int64[Tensor, ' token'] | None"
"""Ids of the tokens that are considered; None: every row of the embedding, padding included."""

BLOCK = 2**22
"""Entries of a circuit that exist at once: the whole of it is never in memory."""


@dataclass(frozen=True)
class Pairs:
    """Entries of a circuit, the most extreme first."""

    ids: Int64[Tensor, "pair 2"]
    """Row and column: query and key, or what is attended to and what is written."""
    value: Float[Tensor, " pair"]


@dataclass(frozen=True)
class Circuit:
    """A token × token matrix kept as two factors: the entry of tokens `ids[a]` and `ids[b]` is `left[a] · right[b]`."""

    ids: Int64[Tensor, " token"]
    left: Float[Tensor, "token d_head"]
    right: Float[Tensor, "token d_head"]

    def row(self, token: int) -> Float[Tensor, " token"]:
        """All entries of one query, or of one token attended to, in the order of `ids`."""
        return self.right @ self.left[self.place(token)]

    def column(self, token: int) -> Float[Tensor, " token"]:
        """All entries of one key, or of one token written, in the order of `ids`."""
        return self.left @ self.right[self.place(token)]

    def place(self, token: int) -> int:
        """Where a token stands in `ids`. Raises GuppyError when it is not among them."""
        found = (self.ids == token).nonzero()
        if not len(found):
            raise GuppyError(f"Token {token} is not among the {len(self.ids)} that this circuit is of.")
        return int(found[0])

    def extreme(self, k: int, *, largest: bool = True) -> Pairs:
        """The k largest (or smallest) entries, found block by block of rows."""
        size = len(self.right)
        rows = max(1, BLOCK // size)
        value, index = torch.empty(0), torch.empty(0, dtype=torch.int64)
        for start in range(0, len(self.left), rows):
            block = (self.left[start : start + rows] @ self.right.T).flatten()
            found = block.topk(min(k, len(block)), largest=largest)
            value, index = torch.cat([value, found.values]), torch.cat([index, found.indices + start * size])
            best = value.topk(min(k, len(value)), largest=largest)
            value, index = best.values, index[best.indices]
        return Pairs(self.ids[torch.stack([index // size, index % size], dim=1)], value)

    @property
    def spread(self) -> float:
        """The standard deviation over all entries."""
        left, right = self.left.double(), self.right.double()
        mean = (left.mean(0) @ right.mean(0)).item()
        square = ((left.T @ left) * (right.T @ right)).sum().item() / (len(left) * len(right))
        return math.sqrt(max(0.0, square - mean**2))


@dataclass(frozen=True)
class Copying:
    """Whether heads write the token that they attend to."""

    score: Float[Tensor, "layer head"]
    """Sum of the OV circuit's eigenvalues over the sum of their magnitudes: 1 when all are positive, so that every
    mix of tokens that it passes on whole comes out likelier, -1 when all are negative; 0 for a head of zeros."""
    eigenvalue_real: Float[Tensor, "layer head d_head"]
    eigenvalue_imaginary: Float[Tensor, "layer head d_head"]
    """The eigenvalues that are not zero by construction, largest magnitude first, in logits at `typical_scale`."""


@dataclass(frozen=True)
class PositionalQK:
    """Where a head looks by position alone: the part of its scores that no token changes."""

    score: Float[Tensor, "query key"]
    """In units of attention scores, less the mean over the keys that the query may see. It has the query's biases;
    what is the same for every key (the keys' biases) falls out of the softmax and is left out."""
    pattern: Float[Tensor, "query key"]
    """Its softmax under the model's mask: the attention if all tokens were alike."""
    causal: bool
    """Whether keys after the query are hidden; their scores are given all the same."""


@dataclass(frozen=True)
class PositionalReach:
    """How far back heads look by position alone."""

    share: Float[Tensor, "layer head offset"]
    """The probability in `PositionalQK.pattern` of the key `offset` positions before the query, a mean over the
    queries that have one."""


@torch.no_grad()
def typical_scale(model: Guppy, tokens: Tokens = None) -> float:
    """What the first layer's LayerNorm divides by, as a root mean square over tokens (each once) and positions.

    1 for a model without LayerNorm."""
    if not model.blocks[0].ln1.on:
        return 1.0
    token, position = (x - x.mean(-1, keepdim=True) for x in (_tokens(model, tokens), _positions(model)))
    cross = 2 * (token.mean(0) * position.mean(0)).mean()  # the mean over all pairs of their covariance
    return math.sqrt(token.pow(2).mean() + position.pow(2).mean() + cross + model.config.ln_eps)


@torch.no_grad()
def qk_circuit(model: Guppy, layer: int, head: int, tokens: Tokens = None) -> Circuit:
    """Which query token attends to which key token: entry (query, key) is the attention score, less its mean over all
    keys, so that e to the power of it says how many times as much attention this key gets as an average one.

    W_E W_Q^T W_K W_E^T with LayerNorm folded in (see above), the query's biases and the model's own 1/√d_head.
    Raises GuppyError when there is no such head, or when the residual stream, through which it reads, is off."""
    block = _block(model, layer, head)
    if layer and not model.blocks[0].residual:
        raise GuppyError("Without the residual stream only layer 0 reads the embedding; choose a head of layer 0.")
    x, constant = _read(block.ln1, _tokens(model, tokens), typical_scale(model, tokens))
    (w_q, w_k, _), (b_q, _, _) = _qkv(block, head)
    query, key = x @ w_q.T + (w_q @ constant + b_q), x @ w_k.T
    return Circuit(_ids(model, tokens), query * block.attn.scale, key - key.mean(0))


@torch.no_grad()
def ov_circuit(model: Guppy, layer: int, head: int, tokens: Tokens = None) -> Circuit:
    """What a head writes about each token it attends to: entry (attended, written) is what full attention on one adds
    to the logit of the other, less the mean over all logits, before the last LayerNorm's division.

    W_E W_V W_O W_U with both LayerNorms folded in (see above) and the values' biases; the output's bias belongs to no
    head. Raises GuppyError when there is no such head or when the residual stream, which carries it, is off."""
    block = _block(model, layer, head)
    _require_stream(model)
    x, constant = _read(block.ln1, _tokens(model, tokens), typical_scale(model, tokens))
    (_, _, w_v), (_, _, b_v) = _qkv(block, head)
    written = _unembedding(model, tokens) @ _output(block, head)
    return Circuit(_ids(model, tokens), x @ w_v.T + (w_v @ constant + b_v), written - written.mean(0))


@torch.no_grad()
def copying(model: Guppy, tokens: Tokens = None) -> Copying:
    """The copying score of every head, from the eigenvalues of W_E W_V W_O W_U ("Summarizing OV/QK matrices").

    A B^T (vocabulary × vocabulary) has the eigenvalues of B^T A (d_head × d_head) and zeros, so no large matrix is
    made. Without biases, which are no part of a linear map. Raises GuppyError when the residual stream is off."""
    _require_stream(model)
    scale, out = typical_scale(model, tokens), _unembedding(model, tokens)
    found = torch.empty(model.config.n_layers, model.config.n_heads, model.config.d_head, dtype=torch.complex128)
    for layer, block in enumerate(model.blocks):
        through = (out.T @ _read(block.ln1, _tokens(model, tokens), scale)[0]).double()  # (d_model, d_model)
        for head in range(model.config.n_heads):
            w_v = _qkv(block, head)[0][2].double()
            values = torch.linalg.eigvals(_output(block, head).double().T @ through @ w_v.T)
            found[layer, head] = values[values.abs().argsort(descending=True, stable=True)]
    total = found.abs().sum(-1)
    score = torch.where(total > 0, found.real.sum(-1) / total.clamp(min=torch.finfo(total.dtype).tiny), 0.0)
    return Copying(score.float(), found.real.float(), found.imag.float())


@torch.no_grad()
def positional_qk(model: Guppy, layer: int, head: int, tokens: Tokens = None) -> PositionalQK:
    """The scores that a head gives by position alone, at `typical_scale`.

    Of the score of a query and a key that are each token plus position, this is the product of the positions' parts
    and that of the query's biases with the key's position; tokens' parts are left out. Raises GuppyError when there is
    no such head, or none that reads positions: with positions off, or with the residual stream off beyond layer 0."""
    block = _block(model, layer, head)
    if layer and not model.blocks[0].residual:
        raise GuppyError("Without the residual stream only layer 0 reads positions; choose a head of layer 0.")
    position = _positions(model)
    if not position.any():
        raise GuppyError("This model has no positions: they were taken out. Choose a run that has them.")
    x, constant = _read(block.ln1, position, typical_scale(model, tokens))
    (w_q, w_k, _), (b_q, _, _) = _qkv(block, head)
    score = (x @ w_q.T + (w_q @ constant + b_q)) @ (x @ w_k.T).T * block.attn.scale
    visible = torch.ones_like(score, dtype=torch.bool)
    if block.attn.causal:
        visible = visible.tril()
    mean = (score * visible).sum(-1, keepdim=True) / visible.sum(-1, keepdim=True)
    pattern = score.masked_fill(~visible, -math.inf).softmax(-1)
    return PositionalQK(score - mean, pattern, block.attn.causal)


def positional_reach(model: Guppy, tokens: Tokens = None) -> PositionalReach:
    """For every head, how far back it looks by position alone. Raises GuppyError as `positional_qk` does."""
    config = model.config
    share = torch.empty(config.n_layers, config.n_heads, config.n_ctx)
    for layer in range(config.n_layers):
        for head in range(config.n_heads):
            pattern = positional_qk(model, layer, head, tokens).pattern
            share[layer, head] = torch.stack([pattern.diagonal(-offset).mean() for offset in range(config.n_ctx)])
    return PositionalReach(share)


def _block(model: Guppy, layer: int, head: int) -> Block:
    config = model.config
    if not (0 <= layer < config.n_layers and 0 <= head < config.n_heads):
        there = f"layers 0 to {config.n_layers - 1}, each with heads 0 to {config.n_heads - 1}"
        raise GuppyError(f"There is no head {layer}.{head}; the model has {there}.")
    return model.blocks[layer]


def _require_stream(model: Guppy) -> None:
    if not model.blocks[0].residual:
        raise GuppyError("Without the residual stream no head writes to the logits directly: it has no OV circuit.")


def _ids(model: Guppy, tokens: Tokens) -> Int64[Tensor, " token"]:
    return torch.arange(model.config.vocab_size) if tokens is None else tokens


# The hook points let surgery (no positions) act on the tables as it acts on what is looked up in them.
def _tokens(model: Guppy, tokens: Tokens) -> Float[Tensor, "token d_model"]:
    return model.hook_embed(model.embed.weight[None, _ids(model, tokens)])[0]


def _positions(model: Guppy) -> Float[Tensor, "pos d_model"]:
    return model.hook_pos_embed(model.pos_embed.weight[None])[0]


def _read(
    norm: LayerNorm, x: Float[Tensor, "row d_model"], scale: float
) -> tuple[Float[Tensor, "row d_model"], Float[Tensor, " d_model"]]:
    """What a LayerNorm that divides by `scale` makes of each row, and what it adds to all of them."""
    if not norm.on:
        return x, torch.zeros_like(norm.bias)
    return (x - x.mean(-1, keepdim=True)) / scale * norm.weight, norm.bias


def _unembedding(model: Guppy, tokens: Tokens) -> Float[Tensor, "token d_model"]:
    """Each token's logit as a direction of the residual stream, the last LayerNorm's centring and gain folded in."""
    rows = model.embed.weight[_ids(model, tokens)]
    if not model.ln_final.on:
        return rows
    rows = rows * model.ln_final.weight
    return rows - rows.mean(-1, keepdim=True)


def _qkv(block: Block, head: int) -> tuple[Float[Tensor, "3 d_head d_model"], Float[Tensor, "3 d_head"]]:
    n_heads = block.attn.n_heads
    weight = rearrange(block.attn.qkv.weight, "(n head d_head) d_model -> n head d_head d_model", n=3, head=n_heads)
    bias = rearrange(block.attn.qkv.bias, "(n head d_head) -> n head d_head", n=3, head=n_heads)
    return weight[:, head], bias[:, head]


def _output(block: Block, head: int) -> Float[Tensor, "d_model d_head"]:
    return rearrange(block.attn.out.weight, "d_model (head d_head) -> head d_model d_head", head=block.attn.n_heads)[
        head
    ]
