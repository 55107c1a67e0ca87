"""A training run watched from a terminal: how it goes, and Ctrl-C."""

from __future__ import annotations

import json
import shlex
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from typing import TYPE_CHECKING, Any

import typer

if TYPE_CHECKING:
    from guppy.corpus import Corpus
    from guppy.events import Control, Cooldown, Event
    from guppy.runs import Run

INTERRUPTED = 130
"""Exit code of a run that was told to stop: what a shell gives a program that Ctrl-C ended."""


def finish(run: Run, as_json: bool, *, corpus: Corpus | None = None, threads: int | None = None) -> None:
    """Train a run to its end, showing how it goes; then say how it went, in the exit code too."""
    from guppy.events import Cooldown, Done, Eval, Step
    from guppy.runs import open_run, training

    last: dict[str, Any] = {"loss": None, "heldout_loss": None}
    done = None
    with _stoppable() as control, _progress(run) as show:
        for event in training(run, control, corpus=corpus, threads=threads):
            show(event)
            if isinstance(event, Step):
                last["loss"] = event.loss
            elif isinstance(event, Eval):
                last["heldout_loss"] = event.loss
            elif isinstance(event, Cooldown):
                _announce(event)
            elif isinstance(event, Done):
                done = event
    run = open_run(run.path)
    if as_json:
        facts = {"run": run.id, "path": str(run.path), "status": done.status, "message": done.message}
        facts |= {"step": done.step, "decayed": done.decayed, "seconds": run.manifest["seconds"]}
        print_json(facts | last | {"steps": run.steps})
    else:
        print(done.message, file=sys.stderr)
        print(run.path)
    if done.status == "stopped":
        stop = run.manifest.get("stop")
        where = f"step {stop['step']}, and drops the cool-down; `guppy fork` keeps it" if stop else "here"
        print(f"`python -m guppy resume {shlex.quote(str(run.path))}` goes on from {where}.", file=sys.stderr)
        raise typer.Exit(INTERRUPTED)
    if done.status == "diverged":
        raise typer.Exit(1)


@contextmanager
def _stoppable() -> Iterator[Control]:
    """A control that Ctrl-C tells to cool down, a second Ctrl-C or SIGTERM to stop at once, with a checkpoint; once
    more, and they end the program as usual."""
    from guppy.events import Control

    control, before = Control(), {}

    def stop(number: int, _frame: object) -> None:
        if number == signal.SIGINT and not control.cool:
            control.cool = True
            return
        control.stop = True
        signal.signal(number, before[number])
        print("Stopping at once, with a checkpoint.", file=sys.stderr)

    for number in (signal.SIGINT, signal.SIGTERM):
        before[number] = signal.signal(number, stop)
    try:
        yield control
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _announce(cooldown: Cooldown) -> None:
    steps = f"{cooldown.steps:,} step" + ("" if cooldown.steps == 1 else "s")
    told = f"Cooling down over {steps}, about {max(cooldown.seconds, 1):.0f} s; Ctrl-C again stops at once."
    print(told, file=sys.stderr, flush=True)


@contextmanager
def _progress(run: Run) -> Iterator[Any]:
    """A function to show events with: as a bar on a terminal, as a line for each checkpoint elsewhere."""
    from guppy.budget import Budget, Progress

    budget = Budget(run.train_config, Progress(**run.manifest.get("start", {})))
    if sys.stderr.isatty():
        with _bar(budget) as show:
            yield show
    else:
        yield _line


def _line(event: Event) -> None:
    from guppy.events import Eval

    if isinstance(event, Eval):
        print(f"step {event.step}, {event.seconds:.0f} s, held-out loss {event.loss:.3f}", file=sys.stderr, flush=True)


@contextmanager
def _bar(budget: Any) -> Iterator[Any]:
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

    from guppy.events import Eval, Step

    columns = (TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), TimeRemainingColumn())
    heldout = "–"
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task("reading the data", total=1.0)

        def show(event: Event) -> None:
            nonlocal heldout
            if isinstance(event, Eval):
                heldout = f"{event.loss:.3f}"
            elif isinstance(event, Step):
                speed = f"{event.tokens_per_second:,.0f} tokens/s"
                what = f"step {event.step} · loss {event.loss:.3f} · held-out {heldout} · {speed}"
                progress.update(task, description=what, completed=budget.share(event.step, event.tokens, event.seconds))

        yield show


def saying(what: str) -> Any:
    """Say what takes a while, on a terminal."""
    if not sys.stderr.isatty():
        return nullcontext()
    from rich.console import Console

    return Console(stderr=True).status(f"{what} …")


def print_json(value: dict[str, Any]) -> None:
    print(json.dumps(value))
