"""The commands that measure: each is a program of its own under benchmarks/, started beside this one."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import typer

from guppy.errors import GuppyError

ROOT = Path(__file__).resolve().parent.parent
BENCHMARKS = {
    "train": "Seconds to a loss: this project's recipe and, with --reference DIR, guppylm's own code.",
    "shakespeare": "The same against nanoGPT's own code, on the characters of Shakespeare.",
    "growth": "Seconds and memory of a step against depth, width, context and batch.",
    "hooks": "What hook points cost when nothing listens.",
    "inside": "Seconds of the questions that are asked of a model's inside.",
}

# `python -m`, but modules are looked for here first and not where the caller is, who may have some of these names.
LAUNCH = """
import runpy, sys
sys.path[0] = sys.argv.pop(1)
runpy.run_module(sys.argv.pop(1), run_name="__main__", alter_sys=True)
"""

bench = typer.Typer(
    help="Measure how fast this machine trains, and answers.", no_args_is_help=True, add_completion=False
)


def start(name: str, arguments: list[str]) -> int:
    """Run a benchmark where the caller is, so that its paths mean what they say. Returns its exit code.

    Raises:
        GuppyError: this is an installation without benchmarks/.
    """
    if not (ROOT / "benchmarks" / f"{name}.py").exists():
        raise GuppyError(f"there is no benchmarks/{name}.py beside guppy/; take both from one checkout")
    # Ctrl-C reaches both: the benchmark says what it has to say, and this process waits for that.
    handlers = {signal.SIGINT: signal.signal(signal.SIGINT, lambda *_: None)}
    try:
        process = subprocess.Popen([sys.executable, "-c", LAUNCH, str(ROOT), f"benchmarks.{name}", *arguments])
        handlers[signal.SIGTERM] = signal.signal(signal.SIGTERM, lambda *_: process.terminate())
        code = process.wait()
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)
    return code if code >= 0 else 128 - code


def _command(name: str, help: str) -> None:
    settings = {"allow_extra_args": True, "ignore_unknown_options": True, "help_option_names": []}

    @bench.command(name, help=f"{help} Options: python -m guppy bench {name} --help", context_settings=settings)
    def command(context: typer.Context) -> None:
        if code := start(name, context.args):
            raise typer.Exit(code)


for _name, _help in BENCHMARKS.items():
    _command(_name, _help)
