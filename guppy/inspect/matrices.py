"""The matrices that one token's vectors pass through, small enough to be seen whole."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Float, Float16
from torch import Tensor

from guppy.errors import GuppyError
from guppy.inspect.anatomy import HEAD, LAYER, check_head
from guppy.inspect.asking import Question, Subject
from guppy.model import Guppy

SIDE = 48


@dataclass(frozen=True)
class Matrices:
    """One layer's weight matrices and one head's, as they are multiplied from the left: `x @ w`.

    Each has at most `SIDE` rows and columns: of a larger one, a cell is the weight farthest from 0 among those it
    stands for. Rounded to 16 bits."""

    layer: int
    head: int
    w_q: Float16[Tensor, "rows columns"]
    """d_model x d_head, as w_k and w_v."""
    w_k: Float16[Tensor, "rows columns"]
    w_v: Float16[Tensor, "rows columns"]
    w_o: Float16[Tensor, "rows columns"]
    """d_model x d_model, all heads."""
    w_up: Float16[Tensor, "rows columns"]
    """d_model x d_mlp."""
    w_down: Float16[Tensor, "rows columns"]
    """d_mlp x d_model."""
    w_e: Float16[Tensor, "rows columns"]
    """vocab x d_model."""


@torch.no_grad()
def matrices(model: Guppy, layer: int = 0, head: int = 0) -> Matrices:
    """Pictures of the weights of a layer and of a head in it. Raises GuppyError when they are not there."""
    config = model.config
    if not 0 <= layer < config.n_layers:
        raise GuppyError(f"There is no layer {layer}; the model has layers 0 to {config.n_layers - 1}.")
    check_head(model, head)
    block = model.blocks[layer]
    q, k, v = block.attn.qkv.weight.view(3, config.n_heads, config.d_head, config.d_model)[:, head]
    weights = {"w_q": q.T, "w_k": k.T, "w_v": v.T, "w_o": block.attn.out.weight.T}
    weights |= {"w_up": block.mlp.up.weight.T, "w_down": block.mlp.down.weight.T, "w_e": model.embed.weight}
    return Matrices(layer, head, **{name: farthest(weight).half() for name, weight in weights.items()})


def farthest(weight: Float[Tensor, "n m"], side: int = SIDE) -> Float[Tensor, "rows columns"]:
    """The matrix with at most `side` rows and columns: of each block of it the number farthest from 0."""
    size = [min(side, n) for n in weight.shape]
    where = F.adaptive_max_pool2d(weight.float().abs()[None], size, return_indices=True)[1][0]
    return weight.float().flatten()[where]


def _ask_matrices(subject: Subject, layer: int, head: int) -> Matrices:
    return matrices(subject.model, layer, head)


QUESTIONS = (
    Question(
        "matrices",
        "The weight matrices of a layer and a head as small pictures.",
        _ask_matrices,
        exactness="approximate: of a large matrix only the weights farthest from 0, rounded to 16 bits",
        options=(LAYER, HEAD),
        prompt=False,
    ),
)
