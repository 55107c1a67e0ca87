"""Our side of the comparison: a training as a person gets it, and where the time of its steps goes."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from typing import Any

import torch
from torch.profiler import ProfilerActivity, profile

from benchmarks.harness import Say
from benchmarks.machine import Stopwatch, describe, matmul_peak, peak_memory_mib, synchronize
from benchmarks.time_to_loss import Point, Run, multiplied_parameters
from benchmarks.yardstick import CONTEXT, Yardstick
from guppy.allocator import keep_freed_memory
from guppy.batches import BatchSampler
from guppy.config import ModelConfig, TrainConfig, preset
from guppy.errors import GuppyError
from guppy.evaluate import batch_loss
from guppy.events import Checkpoint, Done
from guppy.model import Guppy
from guppy.optim import build_optimizer
from guppy.precision import pick_precision
from guppy.tokenizer import Tokenizer
from guppy.train import train

CHECKPOINTS = 2
WARM_STEPS, TIMED_STEPS, TIMED_SECONDS, PROFILED_STEPS = 3, 30, 30.0, 5
PROFILED_OPERATIONS = 15


def model_config(size: str, yardstick: Yardstick) -> ModelConfig:
    """The model of a size for the yardstick's tokens. Raises GuppyError on an unknown size."""
    return preset(size, Tokenizer.load(yardstick.tokenizer_path).padded_vocab_size, n_ctx=CONTEXT)


@dataclass(frozen=True)
class Recipe:
    """A run of ours: a budget of tokens, and rows a step if they are not what a person gets who names none."""

    tokens: int
    batch: int | None = None

    def config(self, shape: ModelConfig) -> TrainConfig:
        batch = {"batch_size": self.batch} if self.batch else {}
        # The reference's own evaluation is beside the clock, so hardly any of ours is on it.
        looks = {"checkpoints": CHECKPOINTS, "heldout_rows": 1, "sample_tokens": 1}
        return TrainConfig(tokens=self.tokens, **looks, **batch).for_model(shape)


def check_budget(recipe: Recipe, size: str, yardstick: Yardstick) -> None:
    """Raises GuppyError when a budget of tokens is less than one step."""
    config = recipe.config(model_config(size, yardstick))
    rows = min(config.batch_size, len(yardstick.train))
    needed = round(rows * yardstick.tokens / len(yardstick.train))
    if recipe.tokens < needed:
        raise GuppyError(f"a budget of {recipe.tokens:,} tokens is less than one step, which takes about {needed:,}")


def train_ours(yardstick: Yardstick, size: str, recipe: Recipe, device: str, threads: int | None, say: Say) -> Run:
    """Train with the settings a person gets who names only a size, a budget of tokens and perhaps the rows a step.

    The clock starts before model and optimizer are built. It stands still while the yardstick is scored, not while our
    own checkpoints, first and last, are made.
    """
    set_threads(threads)
    shape, corpus = model_config(size, yardstick), yardstick.corpus()
    config = recipe.config(shape)
    name = f"guppy lab, {size}, {recipe.tokens:,} tokens, batch {config.batch_size}"
    points: list[Point] = []
    status = "finished"
    watch = Stopwatch()
    for event in train(shape, config, corpus, device=device):
        if isinstance(event, Checkpoint):
            with watch.paused():
                model = Guppy(shape)
                model.load_state_dict(event.weights)
                model.to(device)
                score = yardstick.score(model, model, torch.device(device))
                point = Point(event.step, event.trainer.progress.tokens, watch.seconds, **asdict(score))
                points.append(point)
                say(f"{name}: step {point.step:,}, {point.seconds:.1f} s, loss {point.loss:.4f}")
        elif isinstance(event, Done):
            status = event.status
    last = points[-1]
    return Run(
        name,
        multiplied_parameters(model),
        points,
        last.step,
        last.tokens,
        last.seconds,
        peak_memory_mib(),
        None,
        status,
    )


def set_threads(threads: int | None) -> None:
    if threads is not None:
        torch.set_num_threads(threads)


# -- where a step's time goes --------------------------------------------------------------------


@dataclass
class Stepper:
    """Training steps as guppy.train takes them, cut into parts with a clock for each.

    A GPU is waited for after each part, which training itself does not do, so there the parts add up to more."""

    sampler: BatchSampler
    config: TrainConfig
    shape: ModelConfig
    device: str
    tokens: int = 0
    seconds: dict[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.precision = pick_precision(self.device, self.config.dtype)
        if self.precision.device.type == "cpu":
            keep_freed_memory()
        self.model = Guppy(self.shape, seed=self.config.seed).to(self.precision.device).train()
        self.optimizer = build_optimizer(self.model, self.config)
        self.scaler = self.precision.scaler()

    @contextmanager
    def timed(self, part: str) -> Iterator[None]:
        began = time.perf_counter()
        yield
        synchronize(self.precision.device)
        self.seconds[part] = self.seconds.get(part, 0.0) + time.perf_counter() - began

    def step(self) -> None:
        with self.timed("batch"):
            batch = self.sampler.next()
        with self.timed("forward and backward"):
            with self.precision.autocast():
                loss = batch_loss(self.model, batch) / batch.n_tokens
            self.scaler.scale(loss).backward()
        with self.timed("clipping"):
            self.scaler.unscale_(self.optimizer)
            torch.nn.utils.clip_grad_norm_(self.model.parameters(), self.config.grad_clip)
        with self.timed("optimizer"):
            self.scaler.step(self.optimizer)
            self.scaler.update()
            self.optimizer.zero_grad(set_to_none=True)
        self.tokens += batch.n_tokens


def throughput(
    yardstick: Yardstick, size: str, recipe: Recipe, device: str, threads: int | None, profiled: bool, say: Say
) -> dict[str, Any]:
    """The machine, its matrix product's peak, and how the seconds of our steps divide.

    Returns: `machine`, `peak_flops` (a second, in `machine`'s dtype), `batch` (rows a step), `steps`, `tokens` and
    `seconds` of them in all, `parts` (seconds of each), `parameters`, and `profile` (rows of operations, largest first)
    if asked for.
    """
    set_threads(threads)
    precision = pick_precision(device)
    say("measuring the matrix product")
    peak = matmul_peak(precision.device, precision.dtype)
    shape = model_config(size, yardstick)
    config = recipe.config(shape)
    pad_id = Tokenizer.load(yardstick.tokenizer_path).pad_id
    sampler = BatchSampler(yardstick.train, config.batch_size, CONTEXT, pad_id, config.seed)
    stepper = Stepper(sampler, config, shape, device)
    say("timing steps")
    with precision.deterministic():
        steps = _time(stepper)
        parts, tokens = dict(stepper.seconds), stepper.tokens
        table = _profile(stepper) if profiled else None
    return {
        "machine": describe(precision.device),
        "peak_flops": peak,
        "batch": config.batch_size,
        "steps": steps,
        "tokens": tokens,
        "seconds": sum(parts.values()),
        "parts": parts,
        "parameters": multiplied_parameters(stepper.model),
        "profile": table,
    }


def _time(stepper: Stepper) -> int:
    """Steps to warm up, then some that count: how many."""
    for _ in range(WARM_STEPS):
        stepper.step()
    stepper.seconds.clear()
    stepper.tokens = steps = 0
    while steps < TIMED_STEPS and sum(stepper.seconds.values()) < TIMED_SECONDS:
        stepper.step()
        steps += 1
    return steps


def _profile(stepper: Stepper) -> list[dict[str, Any]]:
    """Operations by their own time, a step: `operation`, `milliseconds`, `share` of all, `calls`."""
    on_gpu = stepper.precision.device.type == "cuda"
    activities = [ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if on_gpu else [])]
    with profile(activities=activities) as recorded:
        for _ in range(PROFILED_STEPS):
            stepper.step()
    own = "self_device_time_total" if on_gpu else "self_cpu_time_total"
    rows = sorted(recorded.key_averages(), key=lambda row: getattr(row, own), reverse=True)
    total = sum(getattr(row, own) for row in rows)
    return [
        {
            "operation": row.key,
            "milliseconds": getattr(row, own) / 1000 / PROFILED_STEPS,
            "share": getattr(row, own) / total,
            "calls": row.count / PROFILED_STEPS,
        }
        for row in rows[:PROFILED_OPERATIONS]
    ]
