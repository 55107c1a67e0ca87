"""The other side: guppylm's own training, run from a checkout that a person names.

Nothing of it is copied. Its module is imported and its `train()` called; only what it is told and what is measured
are put in from outside: where its data lie and how often it evaluates, a count of what its loader gives, and an
evaluation that is the same for both sides.
"""

from __future__ import annotations

import importlib
import math
import os
import sys
import warnings
from collections.abc import Iterator
from contextlib import redirect_stdout
from dataclasses import asdict
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from torch import nn

from benchmarks.guppy_recipe import set_threads
from benchmarks.harness import Say
from benchmarks.machine import Stopwatch, peak_memory_mib, synchronize
from benchmarks.time_to_loss import Point, Run, multiplied_parameters
from benchmarks.yardstick import Yardstick
from guppy.errors import GuppyError
from guppy.tokenizer import Tokenizer

NAMES = ("train", "evaluate", "get_dataloader", "TrainConfig", "GuppyConfig")
SOURCE = "github.com/arman-bd/guppylm"


def check_checkout(checkout: Path) -> None:
    """Raises GuppyError when the folder is missing or is no checkout of guppylm."""
    if not checkout.is_dir():
        raise GuppyError(f"there is no folder {checkout}; clone {SOURCE} and name its folder")
    if not (checkout / "guppylm" / "train.py").is_file():
        raise GuppyError(f"{checkout} has no guppylm/train.py; give the folder of a clone of {SOURCE}")


def train_reference(
    checkout: Path,
    yardstick: Yardstick,
    work: Path,
    steps: int | None,
    eval_every: int,
    device: str,
    threads: int | None,
    say: Say,
) -> Run:
    """Run its training in the empty folder `work`. The clock starts before it builds its model and stands still while
    it reads data and while the yardstick is scored.

    Args:
        steps: stop it after about so many of its steps (at its next evaluation); its schedule stays as it is.

    Raises:
        GuppyError: its code cannot be imported, lacks what is asked of it, or fails.
    """
    set_threads(threads)
    warnings.simplefilter("ignore")
    os.chdir(work)
    theirs = _import(checkout)
    _check_tokens(theirs, Tokenizer.load(yardstick.tokenizer_path))
    config = theirs.TrainConfig()
    every = max(1, min(eval_every, steps or config.max_steps, config.max_steps - 1))
    recorder = _Recorder(theirs, yardstick, steps, config.eval_interval, say)
    theirs.TrainConfig = partial(
        theirs.TrainConfig,
        data_dir=str(yardstick.tokenizer_path.parent),
        output_dir=str(work / "checkpoints"),
        eval_interval=every,
        device=device,
    )
    theirs.get_dataloader, theirs.evaluate = recorder.get_dataloader, recorder.evaluate
    recorder.watch = Stopwatch()
    try:
        with open(os.devnull, "w") as nowhere, redirect_stdout(nowhere):
            theirs.train()
        recorder.finish(config.max_steps)
    except _Enough:
        pass
    except GuppyError:
        raise
    except Exception as error:
        raise GuppyError(f"the reference's own code stopped: {type(error).__name__}: {error}") from error
    last = recorder.points[-1]
    return Run(
        name=recorder.name,
        parameters=multiplied_parameters(recorder.model),
        points=recorder.points,
        steps=last.step,
        tokens=last.tokens,
        seconds=last.seconds,
        peak_memory_mib=peak_memory_mib(),
        planned_steps=config.max_steps,
        first_step_seconds=recorder.first_step_seconds,
        status="finished" if last.step >= config.max_steps else "stopped",
    )


def _import(checkout: Path) -> ModuleType:
    sys.path.insert(0, str(checkout))
    sys.dont_write_bytecode = True  # the checkout stays as it is
    try:
        theirs = importlib.import_module("guppylm.train")
    except Exception as error:
        raise GuppyError(f"{checkout} cannot be imported ({type(error).__name__}: {error})") from None
    missing = [name for name in NAMES if not hasattr(theirs, name)]
    if missing:
        raise GuppyError(f"guppylm/train.py in {checkout} has no {', '.join(missing)}; give a clone of {SOURCE}")
    return theirs


def _check_tokens(theirs: ModuleType, tokenizer: Tokenizer) -> None:
    room = theirs.GuppyConfig().vocab_size
    if tokenizer.vocab_size > room:
        raise GuppyError(f"the reference has room for {room:,} tokens and the tokenizer has {tokenizer.vocab_size:,}")
    if tokenizer.pad_id != 0:
        raise GuppyError(f"the reference pads with token 0, and the tokenizer's padding is token {tokenizer.pad_id}")


class _Enough(Exception):
    """It did the steps that were asked for."""


class _Recorder:
    """What stands in for the reference's loader and evaluation, and writes down what passes."""

    name = "guppylm"

    def __init__(
        self, theirs: ModuleType, yardstick: Yardstick, most_steps: int | None, own_interval: int, say: Say
    ) -> None:
        self.load, self.yardstick, self.say = theirs.get_dataloader, yardstick, say
        self.most_steps, self.own_interval = most_steps, own_interval
        self.watch = Stopwatch()
        self.steps = self.tokens = self.latest = 0
        self.first_step_seconds = 0.0
        self.points: list[Point] = []
        self.model: nn.Module | None = None
        self.device = torch.device("cpu")

    def get_dataloader(self, *arguments: Any, **named: Any) -> _Counted:
        with self.watch.paused():
            return _Counted(self.load(*arguments, **named), self)

    def evaluate(self, model: nn.Module, loader: object, device: torch.device, max_batches: int = 0) -> float:
        """In place of the reference's: same arguments, a loss that decides whether it saves a best model."""
        self.model, self.device = model, device
        loss = self.score()
        if self.most_steps is not None and self.steps >= self.most_steps:
            raise _Enough
        # It shall not save more often than when it evaluates at its own pace. Its steps count from 0.
        return loss if (self.steps - 1) % self.own_interval == 0 else math.inf

    def score(self) -> float:
        synchronize(self.device)
        with self.watch.paused():
            score = self.yardstick.score(self.model, lambda ids: self.model(ids)[0], self.device)
            self.points.append(Point(self.steps, self.tokens, self.watch.seconds, **asdict(score)))
            self.say(f"{self.name}: step {self.steps:,}, {self.watch.seconds:.1f} s, loss {score.loss:.4f}")
        return score.loss

    def count(self, tokens: int) -> None:
        """A batch goes out, so the step before is done."""
        if self.steps == 1:
            self.first_step_seconds = self.watch.seconds
        self.steps, self.tokens, self.latest = self.steps + 1, self.tokens + tokens, tokens

    def finish(self, planned_steps: int) -> None:
        """Score what its last step left behind."""
        if self.model is None:
            raise GuppyError("the reference ended without an evaluation; give one that takes more steps")
        if self.steps > planned_steps:  # the batch that it fetched to find that it is done
            self.steps, self.tokens = self.steps - 1, self.tokens - self.latest
        if self.points[-1].step < self.steps:
            self.score()


class _Counted:
    """A loader that counts what it gives: steps, and targets that are not padding."""

    def __init__(self, loader: Any, recorder: _Recorder) -> None:
        self.loader, self.recorder, self.dataset = loader, recorder, loader.dataset

    def __iter__(self) -> Iterator[Any]:
        for ids, targets in self.loader:
            self.recorder.count(int((targets != 0).sum()))
            yield ids, targets

    def __len__(self) -> int:
        return len(self.loader)
