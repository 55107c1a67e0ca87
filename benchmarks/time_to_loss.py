"""The arithmetic of "how long until it is this good": curves, targets, and the physical limit."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from torch import nn


@dataclass(frozen=True)
class Point:
    """What a model scored after `step` updates and `tokens` targets, `seconds` of wall time into its training."""

    step: int
    tokens: int
    seconds: float
    loss: float
    new_replies: float | None


@dataclass(frozen=True)
class Run:
    """One training, measured.

    Attributes:
        parameters: those that a token is multiplied with, see `multiplied_parameters`.
        steps, tokens, seconds: what it did in all; evaluation is not in the seconds.
        planned_steps: what its schedule was made for, if it counts steps.
        first_step_seconds: until its first step was done, what has to be built and warmed up included.
        status: "finished", "stopped" or "diverged".
    """

    name: str
    parameters: int
    points: list[Point]
    steps: int
    tokens: int
    seconds: float
    peak_memory_mib: float
    planned_steps: int | None = None
    first_step_seconds: float = 0.0
    status: str = "finished"

    @property
    def tokens_per_second(self) -> float:
        return self.tokens / self.seconds

    @property
    def flops(self) -> float:
        """Operations that its tokens need: two for each parameter forward and four backward (Kaplan et al. 2020)."""
        return 6.0 * self.parameters * self.tokens

    def seconds_to(self, target: float) -> float | None:
        """Seconds of the first point measured at or under the target. Nothing is interpolated."""
        return next((point.seconds for point in self.points if point.loss <= target), None)

    @property
    def stopped_early(self) -> bool:
        return self.planned_steps is not None and self.steps < self.planned_steps

    @property
    def step_seconds(self) -> float:
        """Mean of its steps without the first, which warms up."""
        return (self.seconds - self.first_step_seconds) / max(1, self.steps - 1)

    def whole_seconds(self) -> float | None:
        """What all planned steps would take at the pace of those it did, if it was stopped before."""
        if self.planned_steps is None or not self.stopped_early:
            return None
        return self.first_step_seconds + (self.planned_steps - 1) * self.step_seconds


@dataclass(frozen=True)
class Target:
    """How long it took to get to a loss.

    Attributes:
        ours_run: which of our runs was there first.
        extrapolated: the reference was stopped before; its seconds are those of all its planned steps at its pace.
        ratio: reference seconds over ours.
    """

    loss: float
    ours_seconds: float | None
    ours_run: str | None
    reference_seconds: float | None
    extrapolated: bool
    ratio: float | None


def compare(targets: Sequence[float], ours: Sequence[Run], reference: Run | None) -> list[Target]:
    """Times to each target. Only the last one, which all of the reference's steps end with, may be extrapolated."""
    compared = []
    for target in targets:
        reached = [(seconds, run.name) for run in ours if (seconds := run.seconds_to(target)) is not None]
        first, name = min(reached, default=(None, None))
        theirs = reference.seconds_to(target) if reference else None
        whole = reference.whole_seconds() if reference and theirs is None and target == targets[-1] else None
        seconds = theirs if theirs is not None else whole
        ratio = seconds / first if seconds is not None and first is not None else None
        compared.append(Target(target, first, name, seconds, whole is not None, ratio))
    return compared


def multiplied_parameters(model: nn.Module) -> int:
    """Parameters without the positions, which are only added; an embedding tied to the output counts once."""
    return sum(parameter.numel() for name, parameter in model.named_parameters() if not name.startswith("pos_emb"))


def thinned(points: Sequence[Point], most: int) -> Iterable[Point]:
    """At most so many points, evenly spread, the first and the last among them."""
    if len(points) <= most:
        return points
    return [points[round(i * (len(points) - 1) / (most - 1))] for i in range(most)]
