"""The command line: `python -m guppy …`.

Each command is a plain function in a cli_*.py file. These import what they need when they run, so that help and
mistyped options answer at once.
"""

from __future__ import annotations

import sys

import typer

from guppy.cli_bench import bench
from guppy.cli_data import data
from guppy.cli_eval import evaluate
from guppy.cli_inspect import inspect
from guppy.cli_models import export, sample, talk
from guppy.cli_train import fork, resume, runs, train
from guppy.errors import GuppyError

app = typer.Typer(
    name="guppy",
    help="A small language model that you can train in minutes, stop at any step, look into, and change.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
for command in (data, train, resume, fork, talk, sample, evaluate, inspect, runs, export):
    app.command()(command)
app.add_typer(bench, name="bench")


def main() -> None:
    """Run the command in sys.argv. What a person can mend is one line on stderr and exit code 1."""
    for stream in (sys.stdout, sys.stderr):
        stream.reconfigure(errors="replace")  # a console that cannot show a character shows another
    try:
        app(prog_name="python -m guppy")
    except GuppyError as error:
        print("error:", " ".join(str(error).split()), file=sys.stderr)
        sys.exit(1)
