"""How much of a training run is over, and when its checkpoints are due."""

from __future__ import annotations

import math
from collections import deque
from dataclasses import asdict, dataclass, field
from statistics import median_low
from typing import Any

from guppy.config import TrainConfig

# What evaluation, samples and files may cost of a time budget: a tenth, but of a short one up to a quarter, as long as
# that is not over six seconds. Checkpoints that do not fit are left out.
OVERHEAD, SHORT_OVERHEAD, SHORT_SECONDS = 0.1, 0.25, 6.0
# A run that is stopped cools down over this share of the steps it has done.
COOLDOWN = 0.1
# Batches differ in length and a machine has other things to do: steps that take this many times as long say nothing.
NOISE = 1.4


@dataclass(frozen=True)
class Progress:
    """How far a run has come.

    Attributes:
        step: optimizer updates done.
        tokens: targets learned from (padding does not count).
        seconds: wall time, evaluation and checkpoints included, pauses not.
    """

    step: int = 0
    tokens: int = 0
    seconds: float = 0.0


@dataclass(frozen=True)
class Budget:
    """The steps, tokens or seconds of a TrainConfig, counted from `start`.

    Of a budget of seconds the first `lead` are over when the first step begins (the first evaluation warms everything
    up): they count, but the schedule begins after them, so that a slow beginning does not cost the warm-up.
    """

    config: TrainConfig
    start: Progress = Progress()
    lead: float = 0.0

    def share(self, step: float, tokens: float, seconds: float, reserve: float = 0.0) -> float:
        """How much of the budget is over at this point: 0 at the start, 1 at the end, more beyond.

        Args:
            reserve: seconds that the end of the run needs for itself; counts only for a budget of seconds.
        """
        config, start = self.config, self.start
        if config.steps is not None:
            return (step - start.step) / config.steps
        if config.tokens is not None:
            return (tokens - start.tokens) / config.tokens
        time = config.max_seconds - self.lead
        # An end that takes more than half of the time cannot be reserved for.
        return (seconds - start.seconds - self.lead) / (time - min(reserve, time / 2))

    def affordable(self, cost: float, spent: float, share: float) -> int | None:
        """How many more checkpoints of `cost` seconds fit after `spent` seconds on earlier ones; None: any number.

        A third may be spent at once, the rest as the budget's `share` grows: too early it is none, too."""
        seconds = self.config.max_seconds
        if seconds is None or cost <= 0:
            return None
        allowed = max(OVERHEAD * seconds, min(SHORT_OVERHEAD * seconds, SHORT_SECONDS))
        if spent + cost > allowed * (1 + 2 * share) / 3:
            return 0
        return int((allowed - spent) / cost)


@dataclass(frozen=True)
class Decline:
    """The rate's way down in a cool-down: a straight line from `lr` to `end` over `steps` steps after `step`, or over
    what was left of the budget then, if that is over sooner.

    A tenth of the steps at full rate is enough for it (Hu et al. 2024, section 4.2)."""

    step: int
    steps: int
    share: float
    """Of the budget, when it began."""
    lr: float
    end: float

    def rate(self, step: float, share: float) -> float:
        """The learning rate at a step, with this share of the budget over."""
        over = max((step - self.step) / self.steps, (share - self.share) / (1 - self.share))
        return self.lr + (self.end - self.lr) * min(over, 1.0)


@dataclass
class Pace:
    """How long a step takes now, and how much longer than when the last checkpoint was made."""

    windows: deque[float] = field(default_factory=lambda: deque(maxlen=5))
    since: int = 0
    """Windows since the last checkpoint."""
    at_checkpoint: float = 0.0
    """Seconds a step around it: of two windows before it and three after; 0 until these are known."""

    def add(self, seconds: float, steps: int) -> None:
        """Note that so many steps took so long."""
        self.windows.append(seconds / steps)
        self.since += 1
        if not self.at_checkpoint and self.since >= 3 and len(self.windows) == self.windows.maxlen:
            self.at_checkpoint = self.seconds

    def mark(self) -> None:
        """A checkpoint was made now."""
        self.since, self.at_checkpoint = 0, 0.0

    @property
    def seconds(self) -> float:
        """Seconds a step; of the latest windows the middle one, so that one hiccup or compilation is none of it."""
        return median_low(self.windows) if self.windows else 0.0

    @property
    def slowdown(self) -> float:
        """How many times slower than at the last checkpoint the machine is now, and so will the next one be; 1 where
        that is no more than steps differ anyway."""
        ratio = self.seconds / self.at_checkpoint if self.at_checkpoint else 1.0
        return ratio if ratio > NOISE else 1.0


def cooldown_steps(done: int, *limits: float) -> int:
    """Steps of a cool-down after `done` steps: at most each of the limits, at least 1."""
    # Limits are quotients: a whole number may be missed by one rounding.
    return max(1, int(min(math.ceil(COOLDOWN * done), *limits) + 1e-6))


@dataclass
class CheckpointPlan:
    """Log-then-linear checkpoints, as Pythia's (Biderman et al. 2023, section 2.1): steps 0, 1, 2, 4, 8 … for as
    long as doubling is finer than even shares of what is left (and for at most two thirds of the checkpoints), then
    even shares, then the end.

    It needs no total number of steps, so budgets of tokens and seconds are planned as well as those of steps.
    """

    wanted: int
    taken: int = 0
    last_step: int = 0
    """Steps since the start of the budget, at the latest planned checkpoint."""
    last_share: float = 0.0

    def due(self, step: int, share: float, affordable: int | None = None) -> bool:
        """Whether a checkpoint is due `step` steps after the start, with `share` of the budget over. Not the end's."""
        left = self.wanted - self.taken
        left = left if affordable is None else min(left, affordable)
        if left < 2:  # the last one is for the end
            return False
        doubled = step >= max(1, 2 * self.last_step) and step & (step - 1) == 0
        # Doubling all the way would leave nothing for the later part of a long run with few checkpoints.
        doubled = doubled and 3 * self.taken < 2 * (self.taken + left)
        # Shares are quotients of whole numbers: an even share may miss its step by one rounding.
        return doubled or share - self.last_share >= (1 - self.last_share) / left - 1e-9

    def take(self, step: int, share: float) -> None:
        """Note that the checkpoint that was due has been taken."""
        self.taken, self.last_step, self.last_share = self.taken + 1, step, share

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


def checkpoint_steps(steps: int, wanted: int) -> list[int]:
    """The steps at which a run of `steps` steps takes its checkpoints, the first and last included."""
    plan = CheckpointPlan(wanted)
    plan.take(0, 0.0)
    due = [0]
    for step in range(1, steps):
        if plan.due(step, step / steps):
            plan.take(step, step / steps)
            due.append(step)
    return [*due, steps]
