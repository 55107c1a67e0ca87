"""Seeing and changing what flows through a model, over PyTorch's own forward hooks.

A HookPoint is an identity module with a name. Names and shapes are TransformerLens's (HookedTransformer, 2.x).
Hooks run in the order they were opened: a recorder opened inside an intervention sees the changed value, one
opened outside it sees the value as it was before.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from difflib import get_close_matches
from fnmatch import fnmatchcase
from typing import TypeAlias

import torch
from torch import Tensor, nn

from guppy.errors import GuppyError

Names: TypeAlias = "str | Callable[[str], bool] | Sequence[str | Callable[[str], bool]]"
Hook: TypeAlias = "Callable[[Tensor, HookPoint], Tensor | None]"
Tape: TypeAlias = "dict[str, Tensor]"


class HookPoint(nn.Module):
    """The identity. What listens on it sees, and may replace, the tensor that passes."""

    name: str = ""

    @property
    def listened(self) -> bool:
        """Whether anything is set on this point: the model takes its observed path only then."""
        return bool(self._forward_hooks)

    def forward(self, x: Tensor) -> Tensor:
        return x


def hook_points(model: nn.Module) -> dict[str, HookPoint]:
    """Every hook point of a model by its full name, in the order of the code."""
    return {name: module for name, module in model.named_modules() if isinstance(module, HookPoint)}


def find(model: nn.Module, names: Names) -> dict[str, HookPoint]:
    """The hook points that `names` mean: exact names, globs such as `blocks.*.hook_resid_post`, predicates on the
    name, or a sequence of these. Raises GuppyError, with the nearest names, when one of them means nothing."""
    points = hook_points(model)
    wanted: set[str] = set()
    for pattern in [names] if isinstance(names, str) or callable(names) else names:
        matches = pattern if callable(pattern) else (lambda name, glob=pattern: fnmatchcase(name, glob))
        found = {name for name in points if matches(name)}
        if not found:
            near = get_close_matches(str(pattern), points, n=3, cutoff=0.5)
            hint = f"; did you mean {' or '.join(near)}?" if near else "; see guppy.hook_points(model) for all of them."
            raise GuppyError(f"No hook point matches {pattern!r}{hint}")
        wanted |= found
    return {name: point for name, point in points.items() if name in wanted}


@contextmanager
def record(
    model: nn.Module,
    names: Names = "*",
    *,
    detach: bool = True,
    device: str | torch.device | None = None,
    retain_grad: bool = False,
) -> Iterator[Tape]:
    """Record what passes the named hook points; the tape maps names to tensors and outlives the block.

    `detach=False` keeps the graph; `retain_grad=True` (implies it) also keeps `.grad` of each recorded tensor after
    a backward pass; `device` moves the recorded copies, for example to "cpu". A later forward pass overwrites.
    `hook_result` is computed only when it is named: "*" means everything else.
    """
    tape: Tape = {}
    points = find(model, names)
    if names == "*":
        points = {name: point for name, point in points.items() if not name.endswith("hook_result")}

    def keep(point: HookPoint, _args: tuple[Tensor, ...], value: Tensor) -> None:
        if retain_grad and value.requires_grad:
            value.retain_grad()
        kept = value.detach() if detach and not retain_grad else value
        tape[point.name] = kept.to(device) if device is not None else kept

    with ExitStack() as stack:
        for point in points.values():
            stack.callback(point.register_forward_hook(keep).remove)
        yield tape


def attach(model: nn.Module, changes: Mapping[str, Hook] | Sequence[tuple[Names, Hook]]) -> ExitStack:
    """Do what `intervene` does, until what is returned is closed; dropping it leaves the changes in place."""

    def forward_hook(change: Hook) -> Callable[[HookPoint, tuple[Tensor, ...], Tensor], Tensor | None]:
        def run(point: HookPoint, _args: tuple[Tensor, ...], value: Tensor) -> Tensor | None:
            changed = change(value, point)
            if changed is not None and changed.shape != value.shape:
                shapes = f"{tuple(changed.shape)} instead of {tuple(value.shape)}"
                raise GuppyError(f"The intervention at {point.name} returned the shape {shapes}.")
            return changed

        return run

    with ExitStack() as stack:
        for names, change in changes.items() if isinstance(changes, Mapping) else changes:
            for point in find(model, names).values():
                stack.callback(point.register_forward_hook(forward_hook(change)).remove)
        return stack.pop_all()


@contextmanager
def intervene(model: nn.Module, changes: Mapping[str, Hook] | Sequence[tuple[Names, Hook]]) -> Iterator[None]:
    """Run each function on what passes its hook points, and let what it returns (None: no change) pass instead.

    `changes` maps an exact name or a glob to `function(value, hook_point)`; a sequence of pairs also takes
    predicates. Raises GuppyError when a name means nothing or when a function changes the shape."""
    with attach(model, changes):
        yield


def zero(value: Tensor, _point: HookPoint) -> Tensor:
    """Replace a tensor by zeros: zero ablation."""
    return torch.zeros_like(value)


def ablate_head(*heads: int) -> Hook:
    """Zero the named heads at `hook_z` (batch pos head d_head), before the output projection."""

    def ablate(value: Tensor, _point: HookPoint) -> Tensor:
        kept = torch.ones(value.shape[-2], 1, dtype=value.dtype, device=value.device)
        kept[list(heads)] = 0
        return value * kept

    return ablate
