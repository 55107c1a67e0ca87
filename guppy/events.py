"""What training says as it goes, and how it is told to wait or to stop."""

from __future__ import annotations

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
class Sample:
    """What the weights after `step` updates reply to a probe prompt, greedily."""

    step: int
    prompt: str
    text: str


@dataclass
class TrainerState:
    """All that training needs beside the weights to go on as if it had never stopped.

    Dropout needs nothing: what it drops is drawn from (seed, step).

    Attributes:
        start: where the budget began; a fork with a budget of its own begins where it was forked.
        checkpoint_seconds, overhead_seconds, cheapest_seconds: what the last checkpoint, all, and the cheapest cost.
        tensors: the optimizer's moments, named after the parameters; empty for a fresh optimizer.
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
    """The weights (float32, on the CPU, a copy) after `step` updates, and how to go on from them."""

    step: int
    weights: dict[str, Tensor] = field(repr=False)
    trainer: TrainerState = field(repr=False)


@dataclass(frozen=True)
class Done:
    """The last event. A diverged run has made no checkpoint since it lost its numbers."""

    step: int
    status: Literal["finished", "stopped", "diverged"]
    message: str


Event = Step | Eval | Sample | Checkpoint | Done


class Control:
    """How someone else tells training to wait or to stop. Read once a step."""

    stop = False
    paused = False

    def poll(self) -> None:
        """Called once a step and while waiting; a subclass looks for orders here."""

    def wait(self) -> float:
        """Return when training is to go on; the seconds that it waited."""
        began = time.perf_counter()
        while self.paused and not self.stop:
            time.sleep(0.05)
            self.poll()
        return time.perf_counter() - began
