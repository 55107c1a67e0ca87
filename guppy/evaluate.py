"""How well a model predicts text it was not trained on."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int64
from torch import Tensor

from guppy.batches import Batch
from guppy.hooks import record
from guppy.model import Guppy
from guppy.precision import Precision


def token_loss(logits: Float[Tensor, "batch pos vocab"], targets: Int64[Tensor, "batch pos"]) -> Float[Tensor, ""]:
    """Cross-entropy in nats, summed over the targets that count (-100: padding, no target). Computed in float32."""
    return F.cross_entropy(logits.float().flatten(0, 1), targets.flatten(), ignore_index=-100, reduction="sum")


@torch.inference_mode()
def heldout_loss(model: Guppy, batches: Sequence[Batch], precision: Precision | None = None) -> float:
    """Mean cross-entropy over all targets of the batches, in nats per token. The model is put back in its mode."""
    device = next(model.parameters()).device
    precision = precision or Precision(device, torch.float32, "exact")
    total = torch.zeros((), device=device)
    with evaluating(model), precision.autocast():
        for batch in batches:
            total += token_loss(model(batch.ids.to(device)), batch.targets.to(device))
    return total.item() / sum(batch.n_tokens for batch in batches)


@torch.inference_mode()
def future_mass(model: Guppy, batch: Batch) -> float:
    """Mean share of attention that falls on later positions, over layers, heads and the queries that have a target.

    Exactly 0 with the causal mask. Padding counts as future: it lies after the row."""
    device = next(model.parameters()).device
    with evaluating(model), record(model, "blocks.*.attn.hook_pattern") as tape:
        model(batch.ids.to(device))
    asked = batch.targets.to(device) != -100  # (batch, query)
    mass = sum(pattern.triu(1).sum(-1).mean(1)[asked].mean() for pattern in tape.values())
    return float(mass) / len(tape)


@contextmanager
def with_causal_mask(model: Guppy) -> Iterator[Guppy]:
    """The model with its causal mask put back for the length of the block, whatever its surgery."""
    before = [block.attn.causal for block in model.blocks]
    for block in model.blocks:
        block.attn.causal = True
    try:
        yield model
    finally:
        for block, causal in zip(model.blocks, before, strict=True):
            block.attn.causal = causal


@contextmanager
def evaluating(model: Guppy) -> Iterator[Guppy]:
    """Evaluation mode (no dropout) for the length of the block."""
    training = model.training
    model.eval()
    try:
        yield model
    finally:
        model.train(training)
