"""What each MLP (or attention layer) is worth: the loss with every subset of them, and Shapley values from it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Float64, Int64
from torch import Tensor

from guppy.errors import GuppyError
from guppy.hooks import HookPoint, intervene, record
from guppy.inspect.ablation import text_loss
from guppy.inspect.asking import Option, Question, Subject
from guppy.inspect.fills import OPTIONS, at_positions, fills, reference_of
from guppy.inspect.swaps import ATTN_OUT, MLP_OUT, RESID_PRE, onward, rows_at_once
from guppy.model import Guppy

PARTS = {"mlp": MLP_OUT, "attention": ATTN_OUT}
MOST_LAYERS = 10
"""Of which all subsets are looked at: 1,024 losses."""


@dataclass(frozen=True)
class Subsets:
    """All subsets of the layers' MLPs (or attentions), the others taken out, and how the loss divides among them."""

    part: str
    """"mlp" or "attention"."""
    on: Bool[Tensor, "subset layer"]
    """Which layers keep theirs; none in the first row, all in the last."""
    loss: Float64[Tensor, " subset"]
    """On the text, in nats per token."""
    shapley: Float64[Tensor, " layer"]
    """Nats per token by which each lowers the loss, on average over all orders of putting them in (Shapley 1953). They
    sum to the loss without any less the loss with all."""
    alone: Float64[Tensor, " layer"]
    """How much each lowers the loss where no other is."""
    last: Float64[Tensor, " layer"]
    """How much each lowers the loss where all others are already: what taking it out costs."""
    interaction: Float64[Tensor, "layer layer"]
    """Shapley interaction index of each pair (Grabisch & Roubens 1999), in nats per token: above 0 they are
    worth more together than apart, below 0 they do the same work. 0 on the diagonal."""
    total: float
    """The loss without any less the loss with all."""
    hooks: str


@torch.no_grad()
def shapley(
    model: Guppy,
    ids: Int64[Tensor, " pos"],
    part: str = "mlp",
    how: str = "zero",
    reference: Sequence[Int64[Tensor, " pos"]] = (),
    seed: int = 0,
) -> Subsets:
    """The loss of all 2^layers subsets, exact Shapley values and pairwise interactions; `how` as in `fills.fills`.

    Subsets that agree on the first layers share what is computed there. On top of the model's own surgery: what that
    took away is worth 0. Raises GuppyError for more than `MOST_LAYERS` layers, fewer than two tokens, an unknown part,
    and as `fills` does."""
    layers = model.config.n_layers
    if part not in PARTS:
        raise GuppyError(f"There are no subsets of {part!r}; choose {' or '.join(PARTS)}.")
    if layers > MOST_LAYERS:
        raise GuppyError(f"All subsets of {layers} layers are too many; this goes up to {MOST_LAYERS} layers.")
    if len(ids) < 2:
        raise GuppyError("A loss needs at least two tokens; give a longer text.")
    hooks = [PARTS[part].format(layer) for layer in range(layers)]
    put = {name: at_positions(fill, 0, len(ids)) for name, fill in fills(model, hooks, how, reference, seed).items()}
    with record(model, RESID_PRE.format(0)) as tape:
        model(ids[None])
    loss = _losses(model, tape[RESID_PRE.format(0)], 0, hooks, put, ids).double()
    on = torch.cartesian_prod(*[torch.tensor([False, True])] * layers).view(-1, layers)
    value = -loss.view([2] * layers)  # one axis a layer: 0 without it, 1 with it
    gains = [(value.select(i, 1) - value.select(i, 0)).flatten() for i in range(layers)]
    return Subsets(
        part,
        on,
        loss,
        torch.stack([(gain * _weights(layers - 1, layers)).sum() for gain in gains]),
        torch.stack([gain[0] for gain in gains]),
        torch.stack([gain[-1] for gain in gains]),
        _interactions(value),
        float(loss[0] - loss[-1]),
        PARTS[part].format("*"),
    )


def _losses(
    model: Guppy,
    stream: Float[Tensor, "row pos d_model"],
    layer: int,
    hooks: list[str],
    put: dict[str, Tensor],
    ids: Int64[Tensor, " pos"],
) -> Float[Tensor, " row_and_subset"]:
    """The losses of every way to go on, for each row in turn: subsets without this layer first, then with it."""
    most = max(2, rows_at_once(model, len(ids)))
    if len(stream) > most // 2:
        return torch.cat([_losses(model, part, layer, hooks, put, ids) for part in stream.split(most // 2)])
    if layer == len(hooks):
        return text_loss(onward(model, stream, layer, {}), ids)
    both = stream.repeat_interleave(2, dim=0)
    off = (torch.arange(len(both), device=both.device) % 2 == 0)[:, None, None]

    def take_out(value: Tensor, _point: HookPoint) -> Tensor:
        return torch.where(off, put[hooks[layer]], value)

    with intervene(model, {hooks[layer]: take_out}):
        both = model.blocks[layer](both)
    return _losses(model, both, layer + 1, hooks, put, ids)


def _weights(others: int, orders: int) -> Float64[Tensor, " subset"]:
    """s! (orders - 1 - s)! / orders! for each subset of `others` players, s being its size: Shapley's weights."""
    sizes = [bin(subset).count("1") for subset in range(2**others)]
    return torch.tensor([1 / (orders * math.comb(orders - 1, s)) for s in sizes], dtype=torch.float64)


def _interactions(value: Float64[Tensor, "*two"]) -> Float64[Tensor, "layer layer"]:
    layers = value.ndim
    matrix = torch.zeros(layers, layers, dtype=torch.float64)
    for i in range(layers):
        for j in range(i + 1, layers):
            with_j, without_j = value.select(j, 1), value.select(j, 0)  # axes before j keep their place
            both = (with_j.select(i, 1) - with_j.select(i, 0)) - (without_j.select(i, 1) - without_j.select(i, 0))
            matrix[i, j] = matrix[j, i] = (both.flatten() * _weights(layers - 2, layers - 1)).sum()
    return matrix


def _ask(subject: Subject, part: str, how: str, seed: int) -> Subsets:
    return shapley(subject.model, subject.ids, part, how, reference_of(subject, how), seed)


QUESTIONS = (
    Question(
        "shapley",
        "The loss with every subset of the MLPs or attention layers, and what each is worth.",
        _ask,
        hooks="blocks.*.hook_mlp_out",
        options=(Option("part", str, "mlp", "of which parts the subsets are", tuple(PARTS)), *OPTIONS),
    ),
)
