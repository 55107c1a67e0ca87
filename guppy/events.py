"""What training says as it goes, and how it is told to wait or to stop."""

from __future__ import annotations

import math
import time
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Literal

from torch import Tensor

from guppy.budget import Progress
from guppy.errors import GuppyError


@dataclass(frozen=True)
class Step:
    """The training loss up to a step.

    Attributes:
        loss: nats per token, mean over the steps since the last such event; each before its update.
        lr, grad_norm: of this step; the norm before clipping.
    """

    step: int
    tokens: int
    seconds: float
    loss: float
    lr: float
    grad_norm: float
    tokens_per_second: float


@dataclass(frozen=True)
class Eval:
    """What the weights after `step` updates score on held-out rows, nats per token.

    Attributes:
        loss: under the run's own surgery.
        masked_loss: with the causal mask put back; the same number where it never was off.
        future_mass: mean attention on later positions, 0 to 1; 0 with the mask on.
    """

    step: int
    loss: float
    masked_loss: float
    future_mass: float
    seconds: float


@dataclass(frozen=True)
class Ratios:
    """What one step did to each weight matrix, by its name; told of the step after each checkpoint.

    Attributes:
        update: norm of the change, over the norm of the matrix before it. About 0.001 is a healthy Adam's.
        gradient: norm of the gradient before clipping, over the same.
    """

    step: int
    update: dict[str, float]
    gradient: dict[str, float]


@dataclass(frozen=True)
class Sample:
    """What the weights after `step` updates reply to a probe prompt, greedily."""

    step: int
    prompt: str
    text: str


@dataclass(frozen=True)
class Cooldown:
    """Training was told to stop with a cool-down: from `step` on the rate falls to its end, over `steps` at most.

    Attributes:
        seconds: until it has ended, its checkpoints included; an estimate.
    """

    step: int
    steps: int
    seconds: float


@dataclass
class TrainerState:
    """All that training needs beside the weights to go on as if it had never stopped.

    Dropout needs nothing: what it drops is drawn from (seed, step).

    Attributes:
        start: where the budget began; a fork with a budget of its own begins where it was forked.
        checkpoint_seconds, overhead_seconds, cheapest_seconds: what the last checkpoint, all, and the cheapest cost.
        tensors: the optimizer's moments, named after the parameters; empty for a fresh optimizer.
        lead_seconds: of a budget of seconds, what was over before its first step.
        measured: whether these weights were evaluated already; a fork begins with that.
    """

    progress: Progress = field(default_factory=Progress)
    start: Progress = field(default_factory=Progress)
    sampler: dict[str, Any] = field(default_factory=dict)
    plan: dict[str, Any] = field(default_factory=dict)
    scaler: dict[str, Any] = field(default_factory=dict)
    checkpoint_seconds: float = 0.0
    overhead_seconds: float = 0.0
    cheapest_seconds: float = 0.0
    lead_seconds: float = 0.0
    measured: bool = True
    tensors: dict[str, Tensor] = field(default_factory=dict, repr=False)

    def to_dict(self) -> dict[str, Any]:
        """Everything but the tensors, for JSON."""
        return {key: value for key, value in asdict(replace(self, tensors={})).items() if key != "tensors"}

    @classmethod
    def from_dict(cls, values: dict[str, Any], tensors: dict[str, Tensor]) -> TrainerState:
        """Read what `to_dict` wrote. Raises GuppyError when it is something else."""
        try:
            progress, start = Progress(**values["progress"]), Progress(**values["start"])
            return cls(**{**values, "progress": progress, "start": start, "tensors": tensors})
        except (TypeError, KeyError) as error:
            raise GuppyError(f"The trainer state cannot be read ({error}); fork from this step instead.") from None


@dataclass(frozen=True)
class Checkpoint:
    """The weights (float32, on the CPU, a copy) after `step` updates, and how to go on from them.

    Attributes:
        cooled: made in a cool-down, so that a run does not go on from here, but from where the cool-down began.
    """

    step: int
    weights: dict[str, Tensor] = field(repr=False)
    trainer: TrainerState = field(repr=False)
    cooled: bool = False


@dataclass(frozen=True)
class Done:
    """The last event. A diverged run has made no checkpoint since it lost its numbers.

    Attributes:
        decayed: whether the rate has fallen to its end: by the schedule, or in a cool-down that was not cut short.
    """

    step: int
    status: Literal["finished", "stopped", "diverged"]
    message: str
    decayed: bool = False


Event = Step | Eval | Ratios | Sample | Cooldown | Checkpoint | Done


class Control:
    """How someone else tells training to wait or to stop. Read once a step.

    Attributes:
        stop: end at once, with the weights as they are.
        cool: let the rate fall to its end first, in a tenth of the steps so far or what is left of the budget.
        cooldown_seconds: the longest that this may take.
        paused: wait; the clock stands still.
    """

    stop = False
    cool = False
    cooldown_seconds = math.inf
    paused = False

    def poll(self) -> None:
        """Called once a step and while waiting; a subclass looks for orders here."""

    def wait(self) -> float:
        """Return when training is to go on, or to stop in whatever way; the seconds that it waited."""
        began, cooling = time.perf_counter(), self.cool
        while self.paused and not self.stop and self.cool == cooling:
            time.sleep(0.05)
            self.poll()
        return time.perf_counter() - began
