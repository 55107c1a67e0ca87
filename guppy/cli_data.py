"""The command that makes data: draws a persona's conversations, splits them, trains a tokenizer, and counts it all."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer

from guppy.cli_models import Json
from guppy.errors import GuppyError


def data(
    persona: Annotated[str, typer.Option(help="A persona's name, or the path of a persona file.")] = "guppy",
    rows: Annotated[int, typer.Option(help="Conversations to draw, held-out ones included.", min=1)] = 60_000,
    seed: Annotated[int, typer.Option(help="The same seed gives the same conversations and the same split.")] = 0,
    tokenizer: Annotated[str, typer.Option(help="bpe or char.")] = "bpe",
    out: Annotated[Path | None, typer.Option(metavar="DIR", help="Write the corpus into this directory.")] = None,
    show_report: Annotated[bool, typer.Option("--report", help="Print sizes, repeats, overlap and tokens.")] = False,
    as_json: Json = False,
) -> None:
    """Draw a persona's conversations into DIR, split without leaks, and report what they are."""
    if out is None and not (show_report or as_json):
        raise GuppyError("there is nothing to do; give --out DIR to write the conversations, or --report to see counts")
    from guppy.corpus import Corpus
    from guppy.report import format_report, report

    with _progress() as say:
        say("drawing conversations")
        corpus = Corpus.from_persona(persona, rows, seed, tokenizer)
        if out is not None:
            say(f"writing {out}")
            corpus.save(out)
        say("counting")
        counts = report(corpus)
        if out is not None:
            _write_report(out / "report.json", counts)

    if as_json:
        typer.echo(json.dumps(counts))
        return
    if show_report:
        typer.echo(format_report(counts))
    if out is not None:
        typer.echo(f"{len(corpus.train):,} training and {len(corpus.heldout):,} held-out rows in {out}", err=True)


def _write_report(path: Path, counts: dict[str, object]) -> None:
    beside = path.with_name(f"{path.name}.tmp")
    try:
        beside.write_text(json.dumps(counts, indent=2) + "\n", encoding="utf-8")
        beside.replace(path)
    except OSError as error:
        raise GuppyError(f"{path} cannot be written ({error.strerror}); choose another directory") from None


@contextmanager
def _progress() -> Iterator[Callable[[str], None]]:
    """A moving bar on stderr, gone at the end; where stderr is no terminal, nothing."""
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

    columns = (TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task("", total=None)
        yield lambda what: progress.update(task, description=what)
