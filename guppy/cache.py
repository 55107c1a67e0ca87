"""The keys and values of what has been read, kept beside the model so that it need not read it again."""

from __future__ import annotations

import torch
from jaxtyping import Float, Int64
from torch import Tensor


class KVCache:
    """Room for `n_ctx` positions, allocated at the first use in the dtype and on the device of what arrives."""

    def __init__(self, n_layers: int, n_ctx: int) -> None:
        self.n_layers, self.n_ctx, self.length = n_layers, n_ctx, 0
        self._store: Float[Tensor, "2 layer batch n_ctx head d_head"] | None = None

    def append(
        self, layer: int, k: Float[Tensor, "batch pos head d_head"], v: Float[Tensor, "batch pos head d_head"]
    ) -> tuple[Float[Tensor, "batch key head d_head"], Float[Tensor, "batch key head d_head"]]:
        """Add a layer's new keys and values; returns all of that layer's so far. The last layer's moves `length` on."""
        batch, pos, *shape = k.shape
        if self._store is None:
            self._store = torch.empty(2, self.n_layers, batch, self.n_ctx, *shape, dtype=k.dtype, device=k.device)
        end = self.length + pos
        self._store[0, layer, :, self.length : end] = k
        self._store[1, layer, :, self.length : end] = v
        if layer == self.n_layers - 1:
            self.length = end
        return self._store[0, layer, :, :end], self._store[1, layer, :, :end]

    def select(self, rows: Int64[Tensor, " row"]) -> None:
        """Go on with these rows of the batch, some of them perhaps several times over, others not at all."""
        if self._store is not None:
            self._store = self._store[:, :, rows]
