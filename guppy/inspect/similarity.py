"""How alike the checkpoints of a run think: similarity of what they compute on the same text."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from guppy.errors import GuppyError
from guppy.hooks import record
from guppy.inspect.asking import Question, Subject
from guppy.runs import Run

HOOK = "blocks.{layer}.hook_resid_post"


@dataclass(frozen=True)
class Similarity:
    """Linear CKA (Kornblith et al. 2019, equation 4) of the residual stream, between checkpoints, layer by layer."""

    steps: list[int]
    cka: Float[Tensor, "layer step step"]
    """0 to 1; 1: the same up to rotation and scale. The diagonal is 1."""
    positions: int
    """Positions that are compared."""


@torch.no_grad()
def similarity(run: Run, ids: Int64[Tensor, " pos"]) -> Similarity:
    """Compare all checkpoints after every layer, on one text.

    With few positions everything looks alike: CKA compares which positions are near which. Raises GuppyError with
    fewer than three of them."""
    if len(ids) < 3:
        raise GuppyError("Fewer than three tokens cannot be compared; give a longer prompt.")
    steps = list(run.steps)
    grams = torch.stack([_grams(run, step, ids) for step in steps])  # (step, layer, pos, pos)
    flat = grams.flatten(2).transpose(0, 1)  # (layer, step, pos * pos)
    norm = flat.norm(dim=-1, keepdim=True).clamp(min=1e-30)
    cka = (flat / norm) @ (flat / norm).transpose(1, 2)
    return Similarity(steps, cka.clamp(0, 1).float(), len(ids))


def _grams(run: Run, step: int, ids: Tensor) -> Float[Tensor, "layer pos pos"]:
    """Inner products between the centred streams of all positions."""
    model = run.model(step)
    with record(model, HOOK.format(layer="*")) as tape:
        model(ids[None])
    stream = torch.stack([tape[HOOK.format(layer=i)][0] for i in range(model.config.n_layers)]).double()
    stream = stream - stream.mean(1, keepdim=True)
    return stream @ stream.transpose(1, 2)


def _ask(subject: Subject) -> Similarity:
    return similarity(subject.run, subject.ids)


QUESTIONS = (
    Question(
        "similarity",
        "How alike the checkpoints are, layer by layer, on one text.",
        _ask,
        hooks="blocks.*.hook_resid_post",
        whole=True,
    ),
)
