"""Putting something else in the place of what passes hook points: in each row of a batch somewhere else.

Nothing in the network mixes the rows of a batch, so each row comes out as if it had been changed by itself; and all
rows of one layer's changes share what was computed before that layer.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int64
from torch import Tensor

from guppy.hooks import Hook, HookPoint, intervene
from guppy.model import Guppy

RESID_PRE = "blocks.{}.hook_resid_pre"
Z, ATTN_OUT, MLP_OUT = "blocks.{}.attn.hook_z", "blocks.{}.hook_attn_out", "blocks.{}.hook_mlp_out"
MOST_NUMBERS = 2**25
"""Numbers of the widest activation that are held at once: 128 MB in float32."""


class Swap(NamedTuple):
    """What is put in at one hook point."""

    hook: str
    where: Bool[Tensor, "row ..."]
    """In which rows, and where in them; broadcasts against what passes the hook point."""
    by: Tensor
    """What is put there; broadcasts against what passes the hook point."""


@torch.no_grad()
def swapped(
    model: Guppy,
    stream: Float[Tensor, "1 pos d_model"],
    layer: int,
    swaps: Iterable[Swap],
    measure: Callable[[Float[Tensor, "row pos vocab"]], Tensor],
    *,
    last: bool = False,
) -> Tensor:
    """What `measure` makes of the logits of every row, each changed as the swaps say for it.

    All swaps have as many rows; `stream` is what passes `RESID_PRE` of `layer`, and no swap is in an earlier one.
    `last`: only the logits after the last position. Bounded in memory: `measure` sees some rows at a time."""
    swaps = list(swaps)
    rows = len(swaps[0].where)
    return torch.cat(
        [
            measure(onward(model, stream.expand(len(part), -1, -1), layer, _changes(swaps, part), last=last))
            for part in torch.arange(rows).split(rows_at_once(model, stream.shape[1]))
        ]
    )


def onward(
    model: Guppy,
    stream: Float[Tensor, "row pos d_model"],
    layer: int,
    changes: Mapping[str, Hook],
    *,
    last: bool = False,
) -> Float[Tensor, "row pos vocab"]:
    """Logits from the stream as it enters a layer: what `model` does from there on, under the changes."""
    with intervene(model, changes):
        for block in model.blocks[layer:]:
            stream = block(stream)
        if last:
            stream = stream[:, -1:]
        return F.linear(model.ln_final(stream), model.embed.weight)


def rows_at_once(model: Guppy, pos: int) -> int:
    """How many rows of that length stay within `MOST_NUMBERS`."""
    config = model.config
    widest = max(config.vocab_size, config.d_mlp, 3 * config.d_model, config.n_heads * pos)
    return max(1, MOST_NUMBERS // (pos * widest))


def each_part(model: Guppy, layer: int, by: Mapping[str, Tensor]) -> list[Swap]:
    """One row for each head of a layer (at `Z`), one for its attention (`ATTN_OUT`), one for its MLP (`MLP_OUT`).

    `by` holds what is put in the place of each, by hook name."""
    heads = model.config.n_heads
    row = torch.arange(heads + 2)
    return [
        Swap(Z.format(layer), (row[:, None] == torch.arange(heads))[:, None, :, None], by[Z.format(layer)]),
        Swap(ATTN_OUT.format(layer), (row == heads)[:, None, None], by[ATTN_OUT.format(layer)]),
        Swap(MLP_OUT.format(layer), (row == heads + 1)[:, None, None], by[MLP_OUT.format(layer)]),
    ]


def part_names(model: Guppy) -> list[str]:
    """What the rows of `each_part` are called."""
    return [*(f"H{head}" for head in range(model.config.n_heads)), "attention", "MLP"]


def _changes(swaps: Iterable[Swap], rows: Int64[Tensor, " row"]) -> dict[str, Hook]:
    def change(swap: Swap) -> Hook:
        where = swap.where[rows]

        def put(value: Tensor, _point: HookPoint) -> Tensor:
            return torch.where(where.to(value.device), swap.by, value)

        return put

    return {swap.hook: change(swap) for swap in swaps}
