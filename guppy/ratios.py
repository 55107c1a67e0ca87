"""How far one step moves each weight matrix: the first numbers to look at when a learning rate is in doubt."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from guppy.events import Ratios


class Watch:
    """Looks at one training step: make it before the step, show it the gradients, and ask it after the update."""

    def __init__(self, model: nn.Module) -> None:
        self.matrices = {name: parameter for name, parameter in model.named_parameters() if parameter.ndim > 1}
        self.before = [parameter.detach().clone() for parameter in self.matrices.values()]
        self.gradients: list[Tensor] = []

    def see_gradients(self) -> None:
        """Note how large the gradients are; before they are clipped. One that is not there counts as zero."""
        none = self.before[0].new_zeros(())
        self.gradients = [none if p.grad is None else p.grad.norm() for p in self.matrices.values()]

    @torch.no_grad()
    def ratios(self, step: int) -> Ratios | None:
        """What the step, which made these weights those after `step` updates, did to each matrix; None when that is no
        number, because training diverges."""
        size = torch.stack([weights.norm() for weights in self.before])
        moved = torch.stack([p.sub(old).norm() for p, old in zip(self.matrices.values(), self.before, strict=True)])
        found = torch.stack([moved / size, torch.stack(self.gradients) / size])
        if not found.isfinite().all():
            return None
        update, gradient = (dict(zip(self.matrices, some, strict=True)) for some in found.tolist())
        return Ratios(step, update, gradient)
