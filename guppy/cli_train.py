"""Commands about training: train, resume, fork, runs."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from guppy.cli_models import Json, RunName
from guppy.cli_watch import finish, print_json, saying
from guppy.errors import GuppyError

if TYPE_CHECKING:
    from guppy.corpus import Corpus

Persona = Annotated[str | None, typer.Option(help="A persona's name, or the path of a persona file.")]
Data = Annotated[Path | None, typer.Option(help="Instead: a folder made by `guppy data`, a .jsonl or a text file.")]
Rows = Annotated[int, typer.Option(help="Conversations to draw from the persona, held-out ones included.")]
Out = Annotated[str, typer.Option(help="A new directory, or a name for one under checkpoints/.", metavar="RUN")]
Steps = Annotated[int | None, typer.Option(help="Budget in optimizer steps.")]
Tokens = Annotated[int | None, typer.Option(help="Budget in tokens, padding not counted.")]
MaxSeconds = Annotated[float | None, typer.Option(help="Budget in seconds; evaluation and checkpoints are in it.")]
Operation = Annotated[str | None, typer.Option(help="Such as no-causal-mask,no-mlp:0,3,no-head:2.4", metavar="NAMES")]
Lr = Annotated[float | None, typer.Option(help="Highest learning rate; chosen by the model's width if left out.")]
Batch = Annotated[int | None, typer.Option(help="Rows in a step.")]
Checkpoints = Annotated[int | None, typer.Option(help="How many checkpoints to aim for.")]
Heldout = Annotated[int | None, typer.Option(help="Held-out rows scored at each checkpoint.")]
Threads = Annotated[int | None, typer.Option(help="CPU threads; as many as the run had before if left out.", min=1)]
KeepTrainer = Annotated[
    str,
    typer.Option(help="last: only the newest checkpoints can be forked exactly; all: each can, in 3 times the disk."),
]


def train(
    out: Out,
    size: Annotated[str, typer.Option(help="fry, guppy or pike.")] = "fry",
    persona: Persona = None,
    data: Data = None,
    rows: Rows = 60_000,
    tokenizer: Annotated[str, typer.Option(help="bpe or char.")] = "bpe",
    leaky: Annotated[
        bool, typer.Option("--leaky", help="Split at random: most held-out replies then stand in training, too.")
    ] = False,
    seed: Annotated[int, typer.Option(help="Of the weights and of the order of the data.")] = 0,
    steps: Steps = None,
    tokens: Tokens = None,
    max_seconds: MaxSeconds = None,
    surgery: Operation = None,
    context: Annotated[int | None, typer.Option(help="Context length in tokens.")] = None,
    optimizer: Annotated[str | None, typer.Option(help="muon (matrices; AdamW for the rest) or adamw.")] = None,
    lr: Lr = None,
    batch: Batch = None,
    dropout: Annotated[float | None, typer.Option(help="Share of activations to drop.")] = None,
    checkpoints: Checkpoints = None,
    heldout: Heldout = None,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or mps.")] = "auto",
    dtype: Annotated[str, typer.Option(help="auto, float32, bfloat16 or float16.")] = "auto",
    threads: Threads = None,
    keep_trainer: KeepTrainer = "last",
    name: Annotated[str, typer.Option(help="What people see; the directory's name if left out.")] = "",
    as_json: Json = False,
) -> None:
    """Train a model from scratch, for a number of steps, tokens or seconds.

    Ctrl-C stops it after a short cool-down, in which the learning rate falls to its end; Ctrl-C twice stops at once.
    Either way nothing is lost: `resume` goes on as if it had not been stopped.
    """
    _one_source(persona, data)
    from guppy.config import TrainConfig, preset
    from guppy.runs import create_run
    from guppy.surgery import Surgery

    given = {"batch_size": batch, "lr": lr, "checkpoints": checkpoints, "heldout_rows": heldout}
    given |= {"optimizer": optimizer, "steps": steps, "tokens": tokens, "max_seconds": max_seconds}
    config = TrainConfig(seed=seed, dtype=dtype, **_set(given))
    preset(size, vocab_size=64)  # an unknown size need not wait for the data
    path = _new_run(out)
    corpus = _corpus(persona or ("guppy" if data is None else None), data, rows, seed, tokenizer, leaky)
    model = preset(size, corpus.tokenizer.padded_vocab_size, **_set({"n_ctx": context, "dropout": dropout}))
    run = create_run(
        path,
        model=model,
        train=config,
        corpus=corpus,
        surgery=Surgery.parse(surgery or "", model.n_layers, model.n_heads),
        device=device,
        threads=threads,
        name=name,
        notes=_command("train"),
        keep_trainer=_kept(keep_trainer),
    )
    if data is not None and data.is_file():
        _warn(data, model.n_ctx)
    finish(run, as_json, corpus=corpus, threads=threads)


def resume(run: RunName, threads: Threads = None, as_json: Json = False) -> None:
    """Go on with a run from its last checkpoint, or begin one that is queued.

    A run that cooled down goes on from where it was told to stop, and the cool-down is dropped; `fork` keeps it.
    """
    from guppy.runs import clear_command, open_run

    opened = open_run(run)
    clear_command(opened.path)  # an order to an earlier worker
    finish(opened, as_json, threads=threads)


def fork(
    run: RunName,
    out: Out,
    step: Annotated[int | None, typer.Option(help="The checkpoint to start from; the last one if left out.")] = None,
    surgery: Annotated[
        str | None, typer.Option(help="Instead of the run's own, names as in train; '' for none.", metavar="NAMES")
    ] = None,
    persona: Persona = None,
    data: Data = None,
    rows: Rows = 60_000,
    seed: Annotated[int | None, typer.Option(help="Another order of the data.")] = None,
    steps: Annotated[int | None, typer.Option(help="Further steps.")] = None,
    tokens: Annotated[int | None, typer.Option(help="Further tokens.")] = None,
    max_seconds: Annotated[float | None, typer.Option(help="Further seconds.")] = None,
    lr: Lr = None,
    batch: Batch = None,
    checkpoints: Checkpoints = None,
    heldout: Heldout = None,
    threads: Threads = None,
    keep_trainer: KeepTrainer = "last",
    name: Annotated[str, typer.Option(help="What people see; the directory's name if left out.")] = "",
    as_json: Json = False,
) -> None:
    """Train on from any checkpoint of a run, with something changed, as a new run. The run itself stays as it is."""
    _one_source(persona, data)
    from guppy.runs import fork as fork_run
    from guppy.runs import open_run
    from guppy.surgery import Surgery

    parent, path = open_run(run), _new_run(out)
    step = parent.last_step if step is None else step
    parent.step_path(step)
    given = {"batch_size": batch, "lr": lr, "checkpoints": checkpoints, "heldout_rows": heldout, "seed": seed}
    given |= {"steps": steps, "tokens": tokens, "max_seconds": max_seconds}
    operation = None
    if surgery is not None:
        operation = Surgery.parse(surgery, parent.model_config.n_layers, parent.model_config.n_heads)
    corpus = None
    if persona or data:
        corpus = _corpus(persona, data, rows, parent.manifest["seed"] if seed is None else seed, parent.tokenizer)
    new = fork_run(
        parent,
        step,
        out=path,
        surgery=operation,
        corpus=corpus,
        name=name,
        notes=_command("fork"),
        threads=threads,
        keep_trainer=_kept(keep_trainer),
        **_set(given),
    )
    finish(new, as_json, corpus=corpus, threads=threads)


def runs(as_json: Json = False) -> None:
    """List the runs under checkpoints/ (and $GUPPY_CHECKPOINTS), newest first."""
    from guppy.runs import list_runs

    found = list_runs()
    if as_json:
        keys = ("id", "name", "status", "created", "steps", "surgery", "bundled", "error")
        more = [{"path": str(run.path), "stop": run.manifest.get("stop")} for run in found]
        rows = [{key: getattr(run, key) for key in keys} | each for run, each in zip(found, more, strict=True)]
        print_json({"runs": rows})
        return
    if not found:
        print("There are no runs yet; `python -m guppy train --max-seconds 60 --out first` makes one.")
    for run in found:
        steps = f"{len(run.steps)} checkpoints to step {run.steps[-1]}" if run.steps else "no checkpoint"
        stop = run.manifest.get("stop")
        cooled = f"cool-down from step {stop['step']}" if stop else None
        what = run.error or " · ".join(filter(None, (run.status, cooled, steps, run.surgery_text)))
        print(f"{run.id:<24} {what}")


# -- what the options mean -----------------------------------------------------------------------


def _one_source(persona: str | None, data: Path | None) -> None:
    if persona and data:
        raise GuppyError("Give either --persona or --data, not both.")


def _corpus(
    persona: str | None, data: Path | None, rows: int, seed: int, tokenizer: Any, leaky: bool = False
) -> Corpus:
    from guppy import corpora
    from guppy.corpus import Corpus

    with saying("Reading the data"):
        if data is not None:
            own = data.is_dir() and tokenizer == "bpe"
            return Corpus.from_path(data, None if own else tokenizer, leaky=leaky)
        if tokenizer == "bpe" and not leaky:
            return corpora.from_persona(persona, rows, seed)
        return Corpus.from_persona(persona, rows, seed, tokenizer, leaky=leaky)


def _warn(data: Path, context: int) -> None:
    """Say what is odd in a file of rows before anybody waits for what is learned from it."""
    from guppy.checks import check_file

    for fault in check_file(data, context):
        print(f"note: {fault}", file=sys.stderr)


def _new_run(out: str) -> Path:
    """Where --out points: a bare name is one under the runs' root. Raises GuppyError when something is there."""
    from guppy.runs import roots

    path = Path(out) if Path(out).name != out else roots()[0] / out
    if path.exists():
        raise GuppyError(f"{path} exists already; choose another --out, or `python -m guppy resume {out}`.")
    return path


def _kept(keep_trainer: str) -> Any:
    if keep_trainer not in ("last", "all"):
        raise GuppyError(f"--keep-trainer is last or all, not {keep_trainer!r}.")
    return keep_trainer


def _set(options: dict[str, Any]) -> dict[str, Any]:
    """Only the options that were given."""
    return {name: value for name, value in options.items() if value is not None}


def _command(name: str) -> str:
    """The command as it was typed, for the manifest's notes; where it wrote to says nothing to others."""
    typed = sys.argv[1:] if sys.argv[1:2] == [name] else [name]
    hidden = typed.index("--out") + 1 if "--out" in typed else None
    words = [Path(word).name if index == hidden else word for index, word in enumerate(typed)]
    return "python -m guppy " + shlex.join(words)
