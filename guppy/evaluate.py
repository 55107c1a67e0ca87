"""How well a model predicts text it was not trained on."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int64
from torch import Tensor

from guppy.batches import Batch, heldout_batches
from guppy.corpus import Corpus
from guppy.hooks import record
from guppy.model import Guppy

HELDOUT_BATCH = 64
FUTURE_MASS_ROWS = 16


def token_loss(logits: Float[Tensor, "batch pos vocab"], targets: Int64[Tensor, "batch pos"]) -> Float[Tensor, ""]:
    """Cross-entropy in nats, summed over the targets that count (-100: padding, no target). Computed in float32."""
    return F.cross_entropy(logits.float().flatten(0, 1), targets.flatten(), ignore_index=-100, reduction="sum")


@torch.inference_mode()
def heldout_loss(model: Guppy, batches: Sequence[Batch]) -> float:
    """Mean cross-entropy over all targets of the batches, in nats per token, computed in float32."""
    device = next(model.parameters()).device
    total = torch.zeros((), device=device)
    with evaluating(model):
        for batch in batches:
            total += token_loss(model(batch.ids.to(device)), batch.targets.to(device))
    return total.item() / sum(batch.n_tokens for batch in batches)


def evaluate(model: Guppy, corpus: Corpus, max_rows: int | None = None) -> dict[str, float]:
    """Score a model on a corpus's held-out rows.

    Returns: `heldout_loss` and `masked_loss` (with the causal mask put back, the same where it never was off) in nats
    per token, `perplexity`, `future_mass` over some of the rows, and how many `rows` and `tokens` were scored.
    """
    pad, n_ctx = corpus.tokenizer.pad_id, model.config.n_ctx
    batches = heldout_batches(corpus.heldout, HELDOUT_BATCH, n_ctx, pad, max_rows)
    (some_rows,) = heldout_batches(corpus.heldout, FUTURE_MASS_ROWS, n_ctx, pad, FUTURE_MASS_ROWS)
    loss, masked = heldout_losses(model, batches)
    return {
        "heldout_loss": loss,
        "masked_loss": masked,
        "perplexity": math.exp(loss),
        "future_mass": future_mass(model, some_rows),
        "rows": sum(len(batch.ids) for batch in batches),
        "tokens": sum(batch.n_tokens for batch in batches),
    }


def heldout_losses(model: Guppy, batches: Sequence[Batch]) -> tuple[float, float]:
    """`heldout_loss` as the model is, and with the causal mask put back; one computation where that is the same."""
    loss = heldout_loss(model, batches)
    if model.causal:
        return loss, loss
    with with_causal_mask(model):
        return loss, heldout_loss(model, batches)


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
