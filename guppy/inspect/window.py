"""The price of context: what each token of a text costs a model that sees only so many tokens before it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from guppy.batches import heldout_batches
from guppy.errors import GuppyError
from guppy.evaluate import HELDOUT_BATCH
from guppy.inspect.asking import Option, Question, Subject
from guppy.model import Guppy
from guppy.runs import Run, corpus_of

AT_ONCE = 64


@dataclass(frozen=True)
class ContextPrice:
    """Losses of one text under several windows."""

    windows: list[int]
    """Tokens that are seen before each token that is predicted."""
    nats: Float[Tensor, "window pos"]
    """What each token cost; NaN for the first, before which nothing is seen."""


@dataclass(frozen=True)
class PositionLoss:
    """Held-out loss by place in the context: what having read more is worth."""

    loss: Float[Tensor, " pos"]
    """Mean nats of the token after position 0, 1, 2, …; NaN where no row is as long."""
    tokens: Int64[Tensor, " pos"]
    """How many tokens each mean is of."""


@torch.no_grad()
def context_price(model: Guppy, ids: Int64[Tensor, " pos"], windows: Sequence[int]) -> ContextPrice:
    """Read the text anew for every token, with no more than a window of tokens before it, which then begin at
    position 0. A window as long as the text is the model as it is.

    Raises GuppyError on a text of fewer than two tokens, one beyond the context, or a window of none."""
    if not 2 <= len(ids) <= model.config.n_ctx + 1:
        raise GuppyError(f"A text of {len(ids)} tokens does not fit; give 2 to {model.config.n_ctx + 1}.")
    if not windows or min(windows) < 1:
        raise GuppyError("A window has at least 1 token.")
    nats = torch.full((len(windows), len(ids)), torch.nan)
    for row, window in enumerate(windows):
        # Up to the window's length all is seen, as in one reading; later tokens need a reading each.
        whole = ids[: window + 1]
        nats[row, 1 : len(whole)] = _nats(model, whole[None])[0]
        later = range(window + 1, len(ids))
        for start in range(0, len(later), AT_ONCE):
            some = list(later)[start : start + AT_ONCE]
            texts = torch.stack([ids[end - window : end + 1] for end in some])
            nats[row, some] = _nats(model, texts)[:, -1]
    return ContextPrice(list(windows), nats)


def _nats(model: Guppy, texts: Int64[Tensor, "text pos"]) -> Float[Tensor, "text pos-1"]:
    logp = model(texts[:, :-1]).log_softmax(-1)
    return -logp.gather(-1, texts[:, 1:, None])[..., 0]


@torch.no_grad()
def position_loss(model: Guppy, run: Run, rows: int = 500) -> PositionLoss:
    """The loss of held-out rows by position. Raises GuppyError when the corpus cannot be made again, or has changed."""
    corpus, n_ctx = corpus_of(run), model.config.n_ctx
    if corpus.sha256 != run.manifest["corpus"]["sha256"]:
        raise GuppyError(
            f"The data of run {run.id} have changed since, so which rows it never saw is not known any more."
        )
    total, count = torch.zeros(n_ctx, dtype=torch.float64), torch.zeros(n_ctx, dtype=torch.int64)
    for batch in heldout_batches(corpus.heldout, HELDOUT_BATCH, n_ctx, corpus.tokenizer.pad_id, rows):
        packing = batch.packing
        logp = model(batch.ids, packing=packing)[0].log_softmax(-1)
        targets = packing.pack(batch.targets)[0].clamp(min=0)
        nats = packing.unpack(-logp.gather(-1, targets[:, None])[None])[..., 0]
        inside, length = packing.inside, packing.inside.shape[1]
        total[:length] += (nats * inside).sum(0, dtype=torch.float64)
        count[:length] += inside.sum(0)
    mean = torch.where(count > 0, total / count, torch.nan)
    return PositionLoss(mean.float(), count)


def _ask_price(subject: Subject, windows: str) -> ContextPrice:
    try:
        sizes = [int(each) for each in windows.split(",")]
    except ValueError:
        raise GuppyError("Name windows by numbers, such as 1,4,16,64.") from None
    return context_price(subject.model, subject.ids, sizes)


def _ask_positions(subject: Subject, rows: int) -> PositionLoss:
    # A model of its own: the corpus may have to be made again first, which takes long.
    return position_loss(subject.run.model(subject.step), subject.run, rows)


QUESTIONS = (
    Question(
        "context-price",
        "What each token of a text costs a model that sees only so many tokens before it.",
        _ask_price,
        options=(Option("windows", str, "1,2,4,8,16,32,64,128", "Tokens seen, separated by commas."),),
    ),
    Question(
        "position-loss",
        "Held-out loss by position in the context.",
        _ask_positions,
        exactness="approximate: a sample of held-out rows",
        options=(Option("rows", int, 500, "Held-out rows."),),
        prompt=False,
        whole=True,
    ),
)
