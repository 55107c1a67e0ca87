"""nanoGPT's own code, run as it is from a checkout that a person names, with a clock of ours beside it.

Nothing of it is copied into this project: the files that it needs are copied to a temporary folder for the length of
the run, because they write beside themselves, and there its prepare.py and train.py are run with `runpy`. Its code is
not changed. Watched from outside are three things: the `train` method of its model, which its `estimate_loss` calls
with False when it begins to evaluate and with True when it has done so (between the two our clock stands still, and
the same weights are scored by our evaluation as well); `torch.save`, which does nothing here, so that its checkpoints
cost it no time; and what it prints.
"""

from __future__ import annotations

import importlib
import io
import os
import re
import runpy
import shutil
import sys
import types
import warnings
from collections.abc import Callable
from contextlib import ExitStack, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from benchmarks.machine import Stopwatch, synchronize
from benchmarks.shakespeare_text import Logits
from guppy.errors import GuppyError

DATA = "data/shakespeare_char"
CONFIG = "config/train_shakespeare_char.py"
NEEDED = ("train.py", "model.py", "configurator.py", CONFIG, f"{DATA}/prepare.py")
PRINTED = re.compile(r"step (\d+): train loss [\d.]+, val loss ([\d.]+)")


@dataclass(frozen=True)
class Evaluation:
    """One of its evaluations.

    Attributes:
        step: updates done.
        seconds: of training until then.
        loss: by our evaluation of its weights; `printed` is its own, over some random batches.
    """

    step: int
    seconds: float
    loss: float
    printed: float


def check(checkout: Path) -> None:
    """Raises GuppyError when a folder is no checkout of nanoGPT."""
    for name in NEEDED:
        if not (checkout / name).is_file():
            raise GuppyError(f"{checkout} is no checkout of nanoGPT: it has no {name}; clone karpathy/nanoGPT")


def copy(checkout: Path, text: str, folder: Path) -> None:
    """Copy what the character recipe needs into an empty folder, with `text` where prepare.py looks for its input."""
    for name in NEEDED:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(checkout / name, folder / name)
    (folder / DATA / "input.txt").write_text(text, encoding="utf-8", newline="\n")


def prepare(folder: Path) -> np.ndarray:
    """Run its prepare.py in such a copy. Returns the validation characters as its token ids, int64 [characters].

    Raises:
        GuppyError: prepare.py failed or wrote no split.
    """
    # It imports `requests` for a download that is not needed; this one has nothing to download with.
    sys.modules["requests"] = types.ModuleType("requests")
    _run(folder, f"{DATA}/prepare.py", [], io.StringIO())
    try:
        return np.fromfile(folder / DATA / "val.bin", dtype=np.uint16).astype(np.int64)
    except OSError:
        raise GuppyError("nanoGPT's prepare.py wrote no val.bin; the checkout is no nanoGPT") from None


def train(
    folder: Path, options: list[str], score: Callable[[Logits], float], say: Callable[[Evaluation], None]
) -> tuple[list[Evaluation], float, int]:
    """Run its train.py in a prepared copy. Changes the working directory and sys.argv: for a process of its own.

    Args:
        options: its command line, after the configuration file.
        score: our evaluation of a model, from its logits for (ids, targets).
        say: is told each evaluation when it is known.

    Returns: its evaluations, the seconds in all, its parameters.

    Raises:
        GuppyError: train.py failed, or did not evaluate as nanoGPT does.
    """
    sys.path.insert(0, str(folder))
    network: Any = getattr(_imported("model"), "GPT", None)
    if network is None:
        raise GuppyError("this model.py has no GPT; clone karpathy/nanoGPT")
    watch, pause = Stopwatch(), ExitStack()
    scores: list[tuple[float, float]] = []
    parameters = 0

    def switch(model: nn.Module, mode: bool = True) -> nn.Module:
        nonlocal parameters
        if not mode:
            synchronize(next(model.parameters()).device)
            pause.enter_context(watch.paused())
            parameters = sum(parameter.numel() for parameter in model.parameters())
        else:
            scores.append((watch.seconds, score(lambda ids, targets: model(ids, targets)[0])))
            pause.close()
        return nn.Module.train(model, mode)

    network.train = switch
    torch.save = lambda *_, **__: None
    printed = _Printed(scores, say)
    watch = Stopwatch()
    _run(folder, "train.py", [CONFIG, *options], printed)
    seconds = watch.seconds
    if len(printed.evaluations) < 2 or len(printed.evaluations) != len(scores):
        raise GuppyError("this train.py does not evaluate as nanoGPT's does; clone karpathy/nanoGPT")
    return printed.evaluations, seconds, parameters


class _Printed(io.TextIOBase):
    """Reads along what train.py prints."""

    def __init__(self, scores: list[tuple[float, float]], say: Callable[[Evaluation], None]) -> None:
        self.evaluations: list[Evaluation] = []
        self._scores, self._say = scores, say

    def write(self, text: str) -> int:
        if (found := PRINTED.search(text)) and self._scores:
            evaluation = Evaluation(int(found[1]), *self._scores[-1], float(found[2]))
            self.evaluations.append(evaluation)
            self._say(evaluation)
        return len(text)


def _imported(name: str) -> types.ModuleType:
    try:
        return importlib.import_module(name)
    except Exception as error:
        raise GuppyError(f"nanoGPT's {name}.py cannot be imported ({_short(error)})") from None


def _run(folder: Path, script: str, options: list[str], output: Any) -> None:
    os.chdir(folder)
    sys.argv = [script, *options]
    with redirect_stdout(output), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            runpy.run_path(str(folder / script), run_name="__main__")
        except (Exception, SystemExit) as error:
            raise GuppyError(f"nanoGPT's {script} failed ({_short(error)})") from None


def _short(error: BaseException) -> str:
    """An error as one line."""
    return f"{type(error).__name__}: {str(error).strip().splitlines()[0]}" if str(error).strip() else str(type(error))
