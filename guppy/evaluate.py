"""How well a model predicts text it was not trained on."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float, Int64
from torch import Tensor

from guppy.batches import Batch, Split, heldout_batches
from guppy.corpus import Corpus
from guppy.hooks import record
from guppy.model import Guppy
from guppy.tokenizer import Tokenizer

HELDOUT_BATCH = 64
FUTURE_MASS_ROWS = 16
SPLITS = ("train", "heldout", "composed")
"""What a corpus may be divided into: learned from; other words; other combinations of rules."""


def token_loss(logits: Float[Tensor, "batch pos vocab"], targets: Int64[Tensor, "batch pos"]) -> Float[Tensor, ""]:
    """Cross-entropy in nats, summed over the targets that count (-100: padding, no target). Computed in float32."""
    return F.cross_entropy(logits.float().flatten(0, 1), targets.flatten(), ignore_index=-100, reduction="sum")


def batch_loss(model: Guppy, batch: Batch) -> Float[Tensor, ""]:
    """`token_loss` of a model on a batch, wherever the model is. Padding is neither computed nor seen."""
    device = next(model.parameters()).device
    ids, targets = (x.to(device, non_blocking=True) for x in (batch.ids, batch.targets))
    packing = batch.packing.to(device)
    return token_loss(model(ids, packing=packing), packing.pack(targets))


@torch.inference_mode()
def heldout_loss(model: Guppy, batches: Sequence[Batch]) -> float:
    """Mean cross-entropy over all targets of the batches, in nats per token, computed in float32."""
    total = torch.zeros((), device=next(model.parameters()).device)
    with evaluating(model):
        for batch in batches:
            total += batch_loss(model, batch)
    return total.item() / sum(batch.n_tokens for batch in batches)


def evaluate(model: Guppy, corpus: Corpus, max_rows: int | None = None) -> dict[str, Any]:
    """Score a model on a corpus, split by split and topic by topic.

    Args:
        max_rows: of each split, evenly spread; None takes the whole held-out split, and as many of each other.

    Returns: of the held-out split `heldout_loss` and `masked_loss` (with the causal mask put back, the same where it
    never was off) in nats per token, `perplexity`, `future_mass` over some of the rows, and how many `rows` and
    `tokens` were scored; `splits`, the `loss`, `rows` and `tokens` of each; and `topics`, for each one its held-out
    `rows` and its loss in each split (None where it has no row).
    """
    pad, n_ctx = corpus.tokenizer.pad_id, model.config.n_ctx
    splits, topics = {}, {}
    for name, split in splits_of(corpus).items():
        most = max_rows if name == "heldout" else max_rows or len(corpus.heldout)
        batches = heldout_batches(split, HELDOUT_BATCH, n_ctx, pad, most)
        nats, tokens = row_losses(model, batches, len(split))
        rows = sum(len(batch.ids) for batch in batches)
        splits[name] = {"loss": float(nats.sum() / tokens.sum()), "rows": rows, "tokens": int(tokens.sum())}
        topics[name] = _by_topic(split.categories, nats, tokens)
    (some_rows,) = heldout_batches(corpus.heldout, FUTURE_MASS_ROWS, n_ctx, pad, FUTURE_MASS_ROWS)
    scored = splits["heldout"]
    masked = scored["loss"]
    if not model.causal:
        with with_causal_mask(model):
            masked = heldout_loss(model, heldout_batches(corpus.heldout, HELDOUT_BATCH, n_ctx, pad, max_rows))
    return {
        "heldout_loss": scored["loss"],
        "masked_loss": masked,
        "perplexity": math.exp(scored["loss"]),
        "future_mass": future_mass(model, some_rows),
        "rows": scored["rows"],
        "tokens": scored["tokens"],
        "splits": splits,
        "topics": [
            {"topic": topic, "rows": topics["heldout"].get(topic, (None, 0))[1]}
            | {name: topics[name].get(topic, (None, 0))[0] for name in splits}
            for topic in sorted(set().union(*topics.values()))
        ],
    }


def splits_of(corpus: Corpus) -> dict[str, Split]:
    """A corpus's splits that have rows, by name."""
    found = {name: getattr(corpus, name, None) for name in SPLITS}
    return {name: split for name, split in found.items() if split is not None and len(split)}


@torch.inference_mode()
def row_losses(model: Guppy, batches: Sequence[Batch], rows: int) -> tuple[np.ndarray, np.ndarray]:
    """Cross-entropy of held-out batches row by row of their split: nats, float64 [rows], and targets, int64 [rows].

    Both are 0 for rows that are in no batch."""
    device = next(model.parameters()).device
    nats, tokens = np.zeros(rows), np.zeros(rows, dtype=np.int64)
    with evaluating(model):
        for batch in batches:
            packing = batch.packing.to(device)
            logits = model(batch.ids.to(device), packing=packing)[0].float()
            targets = packing.pack(batch.targets.to(device))[0]
            losses = F.cross_entropy(logits, targets, ignore_index=-100, reduction="none")
            # A long row is in several pieces.
            by_row = packing.unpack(losses[None]).sum(1, dtype=torch.float64)
            np.add.at(nats, batch.rows, by_row.cpu().numpy())
            np.add.at(tokens, batch.rows, (batch.targets != -100).sum(1).numpy())
    return nats, tokens


def prompt_losses(model: Guppy, tokenizer: Tokenizer, prompts: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
    """How surprised a chat model is by what a user says: nats of each prompt, float64 [prompts], and its tokens.

    Counted are the prompt's own tokens and the mark that ends it, given the header of the turn. A prompt too long for
    the context is cut."""
    header = len(tokenizer.encode("user\n"))
    rows = [[tokenizer.im_start_id, *tokenizer.encode(f"user\n{prompt}"), tokenizer.im_end_id] for prompt in prompts]
    rows = [row[: model.config.n_ctx + 1] for row in rows]
    split = Split.from_rows(rows, [""] * len(rows))
    batches = heldout_batches(split, HELDOUT_BATCH, model.config.n_ctx, tokenizer.pad_id)
    for batch in batches:
        batch.targets[:, :header] = -100
    return row_losses(model, batches, len(rows))


def _by_topic(categories: Sequence[str], nats: np.ndarray, tokens: np.ndarray) -> dict[str, tuple[float, int]]:
    """The loss of each topic, in nats per token, and how many of its rows were scored."""
    names, of = np.unique(categories, return_inverse=True)
    sums, counts = (np.bincount(of, weights, len(names)) for weights in (nats, tokens))
    rows = np.bincount(of, tokens > 0, len(names))
    return {str(names[i]): (sums[i] / counts[i], int(rows[i])) for i in np.flatnonzero(counts)}


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

    Exactly 0 with the causal mask. A row's last query has no later position and counts, too."""
    device = next(model.parameters()).device
    with evaluating(model), record(model, "blocks.*.attn.hook_pattern") as tape:
        model(batch.ids.to(device), packing=batch.packing.to(device))
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
