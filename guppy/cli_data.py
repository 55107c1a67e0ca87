"""The command that makes data: draws a persona's conversations or reads a file, splits, tokenizes and counts them."""

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
    persona: Annotated[
        str | None, typer.Option(help="A persona's name, or the path of a persona file or folder.  [default: guppy]")
    ] = None,
    source: Annotated[
        Path | None,
        typer.Option("--data", metavar="PATH", help="Read .jsonl, .csv, .parquet or a text instead of a persona."),
    ] = None,
    rows: Annotated[int, typer.Option(help="Conversations to draw, those of all splits together.", min=1)] = 60_000,
    seed: Annotated[int, typer.Option(help="The same seed gives the same conversations and the same split.")] = 0,
    tokenizer: Annotated[str, typer.Option(help="bpe or char.")] = "bpe",
    leaky: Annotated[
        bool, typer.Option("--leaky", help="Split at random, as guppylm does, to see what a leak hides.")
    ] = False,
    out: Annotated[Path | None, typer.Option(metavar="DIR", help="Write the corpus into this directory.")] = None,
    export: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Write a Hugging Face dataset (Parquet) into this directory.")
    ] = None,
    show_report: Annotated[bool, typer.Option("--report", help="Print sizes, repeats, overlap and tokens.")] = False,
    as_json: Json = False,
) -> None:
    """Draw a persona's conversations or read a file, split them without leaks, write them, and report what they are."""
    if out is None and export is None and not (show_report or as_json):
        raise GuppyError(
            "there is nothing to do; give --out or --export DIR to write the conversations, or --report to see counts"
        )
    if persona is not None and source is not None:
        raise GuppyError("give either --persona or --data, not both")
    from guppy.checks import check_file
    from guppy.corpus import Corpus
    from guppy.interop.dataset import export_dataset
    from guppy.report import format_report, report

    with _progress() as say:
        if source is None:
            say("drawing conversations")
            faults = []
            corpus = Corpus.from_persona(persona or "guppy", rows, seed, tokenizer, leaky=leaky)
        else:
            say(f"reading {source}")
            faults = check_file(source) if source.is_file() else []
            corpus = Corpus.from_path(source, None if source.is_dir() else tokenizer, leaky=leaky)
        if out is not None:
            say(f"writing {out}")
            corpus.save(out)
        say("counting")
        counts = report(corpus)
        if out is not None:
            _write_report(out / "report.json", counts)
        if export is not None:
            say(f"writing {export}")
            export_dataset(corpus, export, counts)

    for fault in faults:
        typer.echo(f"note: {fault}", err=True)
    if as_json:
        typer.echo(json.dumps(counts))
        return
    if show_report:
        typer.echo(format_report(counts))
    for written in filter(None, (out, export)):
        sizes = ", ".join(f"{len(split):,} {name}" for name, split in corpus.splits.items())
        typer.echo(f"{sizes} rows in {written}", err=True)


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
