"""The weight matrices by themselves: their sizes, their singular values, how their entries are spread."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from guppy.inspect.asking import Question, Subject
from guppy.model import Guppy

BINS = 81
"""Of a histogram; odd, so that the middle one has 0 in its middle."""


@dataclass(frozen=True)
class WeightMatrices:
    """Every weight matrix. Names are TransformerLens's, except that a layer's heads are together: the columns of
    `W_Q`, `W_K` and `W_V` and the rows of `W_O` are head after head. A row is what comes in, a column what goes out."""

    names: list[str]
    rows: list[int]
    columns: list[int]
    unused: list[bool]
    """Whether surgery keeps the matrix from having any effect."""
    norm: Float[Tensor, " matrix"]
    """Frobenius: the root of the sum of all squares."""
    mean: Float[Tensor, " matrix"]
    std: Float[Tensor, " matrix"]
    """Standard deviation over all entries."""
    singular: Float[Tensor, "matrix component"]
    """Singular values, largest first; NaN where a matrix has fewer."""
    effective_rank: Float[Tensor, " matrix"]
    """e to the entropy of the singular values divided by their sum (Roy & Vetterli 2007, section 2): between 1 and the
    number of singular values, which it reaches when all are equal; 0 for a matrix of zeros."""
    histogram: Int64[Tensor, "matrix bin"]
    """How many entries fall into each of `BINS` bins of equal width, from -edge to edge."""
    edge: Float[Tensor, " matrix"]
    """The largest magnitude of an entry."""


def matrices(model: Guppy) -> Iterator[tuple[str, Float[Tensor, "row column"]]]:
    """Every weight matrix by name in the order of the code, as views of the model's own weights."""
    yield "embed.W_E", model.embed.weight
    yield "pos_embed.W_pos", model.pos_embed.weight
    for layer, block in enumerate(model.blocks):
        for name, weight in zip("QKV", block.attn.qkv.weight.chunk(3), strict=True):
            yield f"blocks.{layer}.attn.W_{name}", weight.T
        yield f"blocks.{layer}.attn.W_O", block.attn.out.weight.T
        yield f"blocks.{layer}.mlp.W_in", block.mlp.up.weight.T
        yield f"blocks.{layer}.mlp.W_out", block.mlp.down.weight.T


@torch.no_grad()
def weight_matrices(model: Guppy) -> WeightMatrices:
    """Measure every weight matrix. The unembedding is `embed.W_E` again: the two are tied."""
    named = [(name, weight.float()) for name, weight in matrices(model)]
    weights = [weight for _, weight in named]
    spectra = [torch.linalg.svdvals(weight).cpu() for weight in weights]
    singular = torch.full((len(named), max(map(len, spectra))), torch.nan)
    for row, values in zip(singular, spectra, strict=True):
        row[: len(values)] = values
    edge = torch.stack([weight.abs().max() for weight in weights]).cpu()
    return WeightMatrices(
        names=[name for name, _ in named],
        rows=[weight.shape[0] for weight in weights],
        columns=[weight.shape[1] for weight in weights],
        unused=[_unused(model, name) for name, _ in named],
        norm=torch.stack([weight.norm() for weight in weights]).cpu(),
        mean=torch.stack([weight.mean() for weight in weights]).cpu(),
        std=torch.stack([weight.std(correction=0) for weight in weights]).cpu(),
        singular=singular,
        effective_rank=torch.stack([effective_rank(values) for values in spectra]),
        histogram=torch.stack([_histogram(weight, top) for weight, top in zip(weights, edge.tolist(), strict=True)]),
        edge=edge,
    )


def effective_rank(singular: Float[Tensor, " component"]) -> Float[Tensor, ""]:
    """Roy & Vetterli 2007, definition 1: e to the entropy (in nats) of the singular values taken as shares; 0 for
    zeros."""
    total = singular.sum()
    if total == 0:
        return torch.zeros(())
    share = singular.double() / total
    return torch.special.entr(share).sum().exp().float()


def _histogram(weight: Float[Tensor, "row column"], edge: float) -> Int64[Tensor, " bin"]:
    bins = ((weight.double() / (edge or 1.0) + 1) / 2 * BINS).floor().long().clamp(0, BINS - 1)
    return bins.flatten().bincount(minlength=BINS).cpu()


def _unused(model: Guppy, name: str) -> bool:
    if name == "pos_embed.W_pos":
        return not model.surgery.positions
    if name == "embed.W_E":
        return False
    _, layer, part, _ = name.split(".")
    return int(layer) in (model.surgery.attention_off if part == "attn" else model.surgery.mlp_off)


def _ask(subject: Subject) -> WeightMatrices:
    return weight_matrices(subject.model)


QUESTIONS = (
    Question(
        "weights",
        "Norm, singular values, effective rank and histogram of every weight matrix.",
        _ask,
        prompt=False,
    ),
)
