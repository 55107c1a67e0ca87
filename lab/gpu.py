"""Training on a GPU that a Space lends for seconds at a time (ZeroGPU).

There a function decorated with `spaces.GPU` runs in a forked process that has the GPU; what it yields is pickled, and
nothing else comes back. So it trains a run for a slice, writes its checkpoint to the disk as a worker would, and the
next slice resumes it. Everywhere else this module does nothing.
"""

from __future__ import annotations

import math
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from guppy.events import Control, Cooldown, Done, Step
from guppy.runs import clear_command, open_run, training

SLICE = 40.0
"""Seconds of training in one loan."""
LOAN = 60
"""Seconds asked for: the slice, its data, its last step and checkpoint, or a cool-down."""
COOLDOWN = 10.0
"""The longest cool-down, in seconds: the slice waits for it, so it must end in the loan in which it began."""
PERIOD = 0.3
"""Seconds between reports; a loan is only ended by its visitor's leaving after one."""


def available() -> bool:
    """Whether this is a Space with a GPU to lend."""
    return bool(os.environ.get("SPACES_ZERO_GPU"))


def drive(paths: list[Path]) -> Iterator[dict[str, Any]]:
    """Train runs in turns of one slice each, until each is done or was told to stop; yields what `train_slice` does."""
    for path in paths:
        clear_command(path)
    left = list(paths)
    while left:
        path = left.pop(0)
        ended = False
        for report in train_slice(str(path), SLICE):
            ended = report["ended"]
            yield report
        if not ended:
            left.append(path)


def train_slice(path: str, seconds: float) -> Iterator[dict[str, Any]]:
    """Train a run for about so many seconds. Yields {"run", "step", "loss", "ended"} a few times a second.

    `ended` in the last report tells whether the run is over (or was stopped by a person), so that no further slice is
    due. Raises GuppyError as `guppy.runs.training` does."""
    run, control = open_run(path), _Slice(seconds)
    report = {"run": run.id, "step": run.manifest["steps_done"], "loss": None, "ended": False}
    told = time.monotonic()
    for event in training(run, control):
        if isinstance(event, Step):
            report = report | {"step": event.step, "loss": event.loss}
        if isinstance(event, Cooldown):
            control.seconds = math.inf
        if isinstance(event, Done):
            report = report | {"step": event.step, "ended": event.status != "stopped" or not control.stop}
        if time.monotonic() - told >= PERIOD:
            told = time.monotonic()
            yield report
    yield report


class _Slice(Control):
    """Stops training so many seconds after its first step."""

    cooldown_seconds = COOLDOWN

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self.began: float | None = None

    def poll(self) -> None:
        self.began = self.began or time.monotonic()
        self.stop = time.monotonic() - self.began >= self.seconds


if available():
    import importlib

    import spaces

    # The first optimizer step imports it; after the fork every slice would do so anew, for two seconds.
    importlib.import_module("torch._dynamo")
    # Space's start-up looks for decorated functions, so this happens when the module is imported.
    train_slice = spaces.GPU(duration=LOAN)(train_slice)
