"""Rows of different lengths computed without their padding: all tokens in one row, and where each belongs.

Only attention needs to know which tokens stand in one row; every other part works on each position by itself.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Int64
from torch import Tensor

# Products of a size that was seen before are prepared already (on a CPU preparing takes as long as computing), so
# sizes are kept few.
EVEN = 64


@dataclass(frozen=True)
class Packing:
    """Which positions of a padded batch hold tokens."""

    inside: Bool[Tensor, "batch pos"]
    where: Int64[Tensor, " token"]
    """Their places in the batch laid out row by row, and some of padding, so that their number is even."""

    @classmethod
    def of(cls, inside: Bool[Tensor, "batch pos"]) -> Packing:
        """The packing that keeps these positions, and as many others as make them a multiple of `EVEN`."""
        kept = inside.flatten().clone()
        others = (~kept).nonzero().flatten()
        kept[others[: -int(kept.sum()) % EVEN]] = True
        return cls(inside, kept.nonzero().flatten())

    def to(self, device: torch.device) -> Packing:
        return Packing(self.inside.to(device, non_blocking=True), self.where.to(device, non_blocking=True))

    def pack(self, padded: Tensor) -> Tensor:
        """(batch, pos, …) to (1, token, …)."""
        return padded.flatten(0, 1).index_select(0, self.where)[None]

    def unpack(self, packed: Tensor) -> Tensor:
        """(1, token, …) to (batch, pos, …), zeros elsewhere."""
        room = packed.new_zeros(self.inside.numel(), *packed.shape[2:])
        return room.index_copy_(0, self.where, packed[0]).unflatten(0, self.inside.shape)
