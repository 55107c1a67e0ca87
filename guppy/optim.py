"""What turns gradients into steps: Muon for the blocks' matrices, AdamW for the rest, and the rate over the budget."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from guppy.config import TrainConfig
from guppy.errors import GuppyError
from guppy.precision import pick_precision

POLAR_EXPRESS = (
    (8.28721201814563, -23.595886519098837, 17.300387312530933),
    (4.107059111542203, -2.9478499167379106, 0.5448431082926601),
    (3.9486908534822946, -2.908902115962949, 0.5518191394370137),
)
"""Coefficients of a·x + b·x³ + c·x⁵ for each step: those that lift small singular values most (Amsel et al. 2025,
"The Polar Express"). The published ones go on; here no loss is gained after the third."""

BESIDE_MUON = 1.5
"""AdamW's rate where Muon has the matrices, as a multiple of Muon's: a step of what it drives is a little too short."""


def orthogonal(matrices: Float[Tensor, "n rows cols"]) -> Float[Tensor, "n rows cols"]:
    """Each matrix with its large and middling singular values moved to about 1 (0.1 to 2).

    Newton-Schulz iteration as Muon uses it (Jordan et al. 2024), begun from rows scaled by their overlap with all rows
    (Prach and Lampert 2022, theorem 1). That bounds every singular value by 1, as dividing by the norm does, and leaves
    less to do. The steps' factors are multiplied with each other before they meet the matrix, which takes a fifth less
    time. That bfloat16 then errs by a quarter, instead of by 4%, makes no difference to what is learned."""
    if matrices.shape[-2] > matrices.shape[-1]:
        return orthogonal(matrices.mT).mT
    gram = matrices @ matrices.mT  # (n, rows, rows)
    scale = gram.abs().sum(-1, keepdim=True).clamp(min=1e-30).rsqrt()
    gram = gram * scale * scale.mT
    # A step's factor is a + b·gram + c·gram².
    factor = None
    for a, b, c in POLAR_EXPRESS:
        if factor is not None:
            gram = change @ gram @ change
        change = torch.baddbmm(gram, gram, gram, beta=b, alpha=c)
        change.diagonal(dim1=-2, dim2=-1).add_(a)
        factor = change if factor is None else change @ factor
    return factor * scale.mT @ matrices


class Muon(torch.optim.Optimizer):
    """Momentum whose step is made orthogonal, for matrices (Jordan et al. 2024).

    A step has the root mean square that AdamW's usually has, 0.2 times the rate (Liu et al. 2025, "Muon is scalable for
    LLM training", section 2.2), so that one learning rate serves both. torch.optim.Muon does the same with five
    iterations and one matrix at a time; this one needs three and takes matrices of one shape together.
    """

    def __init__(
        self, params: Iterable[Any], lr: float, momentum: float, weight_decay: float, dtype: torch.dtype
    ) -> None:
        """`dtype` is that of the iterations: bfloat16 is enough, where the device multiplies it quickly."""
        super().__init__(params, {"lr": lr, "momentum": momentum, "weight_decay": weight_decay})
        self.dtype = dtype

    @torch.no_grad()
    def step(self, closure: None = None) -> None:
        for group in self.param_groups:
            alike: dict[torch.Size, list[nn.Parameter]] = defaultdict(list)
            for parameter in group["params"]:
                if parameter.grad is not None:
                    alike[parameter.shape].append(parameter)
            for shape, parameters in alike.items():
                directions = [self.direction(parameter, group["momentum"]).to(self.dtype) for parameter in parameters]
                steps = orthogonal(torch.stack(directions))
                rate = group["lr"] * 0.2 * math.sqrt(max(shape))
                for parameter, step in zip(parameters, steps, strict=True):
                    parameter.mul_(1 - group["lr"] * group["weight_decay"]).add_(step, alpha=-rate)

    def direction(self, parameter: nn.Parameter, momentum: float) -> Float[Tensor, "rows cols"]:
        """Nesterov's: the gradient mixed with the mean of the gradients that it has just joined."""
        state = self.state[parameter]
        if not state:
            state["momentum_buffer"] = torch.zeros_like(parameter)
        mean = state["momentum_buffer"].lerp_(parameter.grad, 1 - momentum)
        return parameter.grad.lerp(mean, momentum)


class Together:
    """Optimizers of different parameters, driven as one. A group's own rate is `scale` times the common one."""

    def __init__(self, *parts: torch.optim.Optimizer) -> None:
        self.parts = parts

    def set_rate(self, lr: float) -> None:
        for group in self.param_groups:
            group["lr"] = lr * group.get("scale", 1.0)

    @property
    def param_groups(self) -> list[dict[str, Any]]:
        return [group for part in self.parts for group in part.param_groups]

    def step(self) -> None:
        for part in self.parts:
            part.step()

    def zero_grad(self, set_to_none: bool = True) -> None:
        for part in self.parts:
            part.zero_grad(set_to_none)


def build_optimizer(model: nn.Module, config: TrainConfig) -> Together:
    """Muon for the matrices inside the blocks and AdamW (Loshchilov and Hutter 2019) for all else; or AdamW alone.

    Args:
        config: with a learning rate, as `TrainConfig.for_model` gives it.
    """
    matrices, decaying, kept = split_parameters(model)
    muon = config.optimizer == "muon"
    groups = [
        {"params": decaying if muon else matrices + decaying, "weight_decay": config.weight_decay},
        {"params": kept, "weight_decay": 0.0},
    ]
    for group in groups:
        group["scale"] = BESIDE_MUON if muon else 1.0
    device = kept[0].device
    # One fused kernel for all parameters where the device has one.
    fused = device.type in ("cpu", "cuda")
    adamw = torch.optim.AdamW(groups, lr=config.lr, betas=(config.beta1, config.beta2), fused=fused)
    together = Together(adamw)
    if muon and matrices:
        dtype = torch.bfloat16 if pick_precision(device).dtype == torch.bfloat16 else torch.float32
        together = Together(Muon(matrices, config.lr, config.momentum, config.weight_decay, dtype), adamw)
    together.set_rate(config.lr)
    return together


def split_parameters(model: nn.Module) -> tuple[list[nn.Parameter], list[nn.Parameter], list[nn.Parameter]]:
    """Parameters by treatment: the blocks' matrices, other matrices that decay, and what does not decay.

    Biases, LayerNorm's gains and shifts, and the learned positions do not: a bias or gain has no scale that the next
    layer could undo, and a position that is rarely trained (late in the context) would only shrink. The embedding is no
    map between directions but a row for each token, so Muon's geometry is not for it."""
    matrices: list[nn.Parameter] = []
    decaying: list[nn.Parameter] = []
    kept: list[nn.Parameter] = []
    for name, parameter in model.named_parameters():
        if parameter.ndim < 2 or name.startswith("pos_embed"):
            kept.append(parameter)
        else:
            (matrices if name.startswith("blocks.") else decaying).append(parameter)
    return matrices, decaying, kept


def learning_rate(share: float, config: TrainConfig) -> float:
    """Warmup-stable-decay (Hu et al. 2024, section 4): up linearly, flat, down linearly to `min_lr`.

    Args:
        share: how much of the budget is over, 0 to 1; beyond it the rate stays at `min_lr`.
    """
    if share < config.warmup:
        return config.lr * share / config.warmup
    left = 1 - share
    if left >= config.decay:
        return config.lr
    return config.min_lr + (config.lr - config.min_lr) * max(left, 0.0) / config.decay


def optimizer_tensors(model: nn.Module, optimizer: Together) -> dict[str, Tensor]:
    """The optimizer's state as flat tensors named `exp_avg.<parameter>` and so on; empty before the first step."""
    names = {parameter: name for name, parameter in model.named_parameters()}
    return {
        f"{key}.{names[parameter]}": value.detach()
        for part in optimizer.parts
        for parameter, state in part.state.items()
        for key, value in state.items()
    }


def load_optimizer(model: nn.Module, optimizer: Together, tensors: dict[str, Tensor]) -> None:
    """Put back what `optimizer_tensors` gave; nothing means a fresh optimizer. Raises GuppyError on a misfit."""
    if not tensors:
        return
    names = {parameter: name for name, parameter in model.named_parameters()}
    for part in optimizer.parts:
        indexed = [parameter for group in part.param_groups for parameter in group["params"]]
        state = {i: _state_of(part, names[parameter], parameter, tensors) for i, parameter in enumerate(indexed)}
        # load_state_dict moves the moments to each parameter's device and leaves `step` where the kernel wants it.
        part.load_state_dict({"state": state, "param_groups": part.state_dict()["param_groups"]})


def _state_of(
    part: torch.optim.Optimizer, name: str, parameter: nn.Parameter, tensors: dict[str, Tensor]
) -> dict[str, Tensor]:
    keys = ("momentum_buffer",) if isinstance(part, Muon) else ("exp_avg", "exp_avg_sq", "step")
    try:
        state = {key: tensors[f"{key}.{name}"] for key in keys}
    except KeyError as error:
        raise GuppyError(f"The trainer state has no {error.args[0]}; fork from this step instead.") from None
    if state[keys[0]].shape != parameter.shape:
        raise GuppyError(f"The trainer state of {name} has another shape; fork from this step instead.")
    return state
