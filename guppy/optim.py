"""What turns gradients into steps: parameter groups, AdamW, and the learning rate over the budget."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from guppy.config import TrainConfig
from guppy.errors import GuppyError


def parameter_groups(model: nn.Module, weight_decay: float) -> list[dict[str, object]]:
    """Matrices decay; biases, LayerNorm's gains and shifts, and the learned positions do not.

    A bias or gain has no scale that the next layer could undo, and a position that is rarely trained (late in the
    context) would only shrink."""
    decay: list[nn.Parameter] = []
    keep: list[nn.Parameter] = []
    for name, parameter in model.named_parameters():
        (decay if parameter.ndim >= 2 and not name.startswith("pos_embed") else keep).append(parameter)
    return [{"params": decay, "weight_decay": weight_decay}, {"params": keep, "weight_decay": 0.0}]


def build_optimizer(model: nn.Module, config: TrainConfig) -> torch.optim.AdamW:
    """AdamW (Loshchilov and Hutter 2019), one fused kernel for all parameters where the device has one."""
    device = next(model.parameters()).device
    return torch.optim.AdamW(
        parameter_groups(model, config.weight_decay),
        lr=config.lr,
        betas=(config.beta1, config.beta2),
        fused=device.type in ("cpu", "cuda"),
    )


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


def optimizer_tensors(model: nn.Module, optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    """The optimizer's state as flat tensors named `exp_avg.<parameter>` and so on; empty before the first step."""
    names = {parameter: name for name, parameter in model.named_parameters()}
    return {
        f"{key}.{names[parameter]}": value.detach()
        for parameter, state in optimizer.state.items()
        for key, value in state.items()
    }


def load_optimizer(model: nn.Module, optimizer: torch.optim.Optimizer, tensors: dict[str, Tensor]) -> None:
    """Put back what `optimizer_tensors` gave; nothing means a fresh optimizer. Raises GuppyError on a misfit."""
    if not tensors:
        return
    state: dict[nn.Parameter, dict[str, Tensor]] = {}
    for name, parameter in model.named_parameters():
        try:
            state[parameter] = {key: tensors[f"{key}.{name}"] for key in ("step", "exp_avg", "exp_avg_sq")}
        except KeyError as error:
            raise GuppyError(f"The trainer state has no {error.args[0]}; fork from this step instead.") from None
        if state[parameter]["exp_avg"].shape != parameter.shape:
            raise GuppyError(f"The trainer state of {name} has another shape; fork from this step instead.")
    indexed = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    groups = optimizer.state_dict()["param_groups"]
    # load_state_dict moves the moments to each parameter's device and leaves `step` where the kernel wants it.
    optimizer.load_state_dict({"state": {i: state[p] for i, p in enumerate(indexed)}, "param_groups": groups})
