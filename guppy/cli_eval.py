"""The command that measures: eval."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer

from guppy.cli_models import Json, RunName, Seed, Temperature, steps_named, tracked
from guppy.cli_watch import print_json, saying
from guppy.errors import GuppyError
from guppy.tables import table

if TYPE_CHECKING:
    from guppy.eval_report import Sampling
    from guppy.runs import Run

_SCORES = ("lowercase", "vocabulary", "obsession", "in_topic", "repeated", "memorised", "exact", "near")
_SCORES += ("composed", "new", "strange", "reply_words", "sentence_words", "distinct_1", "distinct_2", "distinct_3")
_LENGTHS = ("reply_words", "sentence_words")
_COLUMNS = ("lowercase", "reply_words", "vocabulary", "obsession", "in_topic", "distinct_2", "repeated", "memorised")
_COLUMNS += ("composed", "new", "strange")


def evaluate(
    run: RunName,
    step: Annotated[int | None, typer.Option(help="The checkpoint; the last one if left out.")] = None,
    steps: Annotated[
        str | None, typer.Option(help="Instead: a table over checkpoints, all or numbers such as 0,64,512.")
    ] = None,
    rows: Annotated[
        int | None, typer.Option(help="Rows of each split, evenly spread; 1,000 if left out, 250 with --steps.", min=1)
    ] = None,
    temperature: Temperature = 0.7,
    seed: Seed = 0,
    as_json: Json = False,
) -> None:
    """Is it the fish? Losses, character, what is remembered, and surprise at prompts that no grammar made.

    A model has the character when its scores are those of its data: beside them stand the training replies, the
    held-out replies to the same prompts, and an untrained model. What --steps measures, with fewer rows of each
    split, is kept in the run's folder, so the next time only what is missing is measured; with --rows, --temperature
    or --seed of your own nothing is kept.
    """
    if step is not None and steps is not None:
        raise GuppyError("Give either --step or --steps, not both.")
    from guppy.eval_report import Sampling
    from guppy.runs import open_run

    opened, sampling = open_run(run), Sampling(temperature, seed)
    if steps is not None:
        told = _measured_over(opened, steps_named(opened, steps), rows, sampling)
    else:
        told = _measured(opened, opened.last_step if step is None else step, rows, sampling)
    if not told["same_data"]:
        print("The run's data have changed since it was trained; these are today's.", file=sys.stderr)
    if as_json:
        print_json(told)
    else:
        print((_report if steps is None else _over_steps)(told))


# Typer names a command after its function, and `eval` is Python's own.
evaluate.__name__ = "eval"


def _measured(run: Run, step: int, rows: int | None, sampling: Sampling) -> dict[str, Any]:
    """Everything about one checkpoint."""
    from guppy.eval_report import ROWS, Examiner
    from guppy.runs import corpus_of

    model = run.model(step)  # that it is missing is told before the data are read
    with saying("Reading the data"):
        corpus = corpus_of(run)
    examiner = Examiner(corpus, rows or ROWS, sampling)
    with saying("Scoring the data"):
        references = examiner.references(model.config, model.surgery)
    with saying("Scoring the model"):
        return _facts(run, corpus.sha256) | {"references": references, "step": step} | examiner.measure(model)


def _measured_over(run: Run, steps: list[int], rows: int | None, sampling: Sampling) -> dict[str, Any]:
    """A row for each of the checkpoints."""
    from guppy.scores import scores_over

    scores = scores_over(run, steps, rows, sampling, track=tracked, saying=saying)
    facts = _facts(run, scores.how["corpus"]) | {"how": scores.how, "theme": scores.theme}
    return facts | {"references": scores.references, "table": scores.table()}


def _facts(run: Run, corpus: str) -> dict[str, Any]:
    same = corpus == run.manifest["corpus"].get("sha256")
    return {"run": run.id, "surgery": run.surgery.names, "same_data": same}


def _report(measured: dict[str, Any]) -> str:
    """What was measured of one checkpoint, for a terminal."""
    rows, tokens = measured["rows"], measured["tokens"]
    lines = [
        f"{measured['run']} at step {measured['step']}, {rows:,} held-out rows, {tokens:,} tokens",
        f"  loss         {measured['heldout_loss']:.4f} nats a token (perplexity {measured['perplexity']:.3g})",
    ]
    if "no-causal-mask" in measured["surgery"]:
        lines += [
            f"  masked loss  {measured['masked_loss']:.4f} nats a token, with the causal mask put back",
            f"  future mass  {measured['future_mass']:.3f} of all attention is on later positions",
        ]
    splits = measured["splits"]
    sections = ["\n".join(lines), table(["loss in nats a token", *splits], _by_topic(measured["topics"], splits))]
    if "scores" in measured:
        sections += [*_character(measured), _surprise(measured["surprise"])]
    return "\n\n".join(sections)


def _by_topic(topics: Sequence[dict[str, Any]], splits: dict[str, Any]) -> list[list[str]]:
    whole = ["all", *(f"{split['loss']:.3f}" for split in splits.values())]
    return [whole] + [[row["topic"], *(_number(row[name]) for name in splits)] for row in topics]


def _character(measured: dict[str, Any]) -> list[str]:
    scores, how = [{"of": "model"} | measured["scores"], *measured["references"]], measured["sampling"]
    names = {"model": "model", "train": "training", "heldout": "held out", "untrained": "untrained"}
    asked = measured["surprise"][0]["prompts"]
    return [
        f"replies to {asked} held-out prompts at temperature {how['temperature']:g}, seed {how['seed']}; obsession: "
        + ", ".join(measured["theme"]),
        table(
            ["score", *(names[row["of"]] for row in scores)],
            [[name.replace("_", " "), *(_number(row[name], name) for row in scores)] for name in _SCORES],
        ),
    ]


def _surprise(groups: Sequence[dict[str, Any]]) -> str:
    shown = ("vocabulary", "obsession", "memorised", "composed", "new", "strange")
    return table(
        ["prompts", "bits a token", "a character", *shown],
        [
            [
                f"{row['group']} ({row['prompts']})",
                f"{row['bits_per_token']:.2f}",
                f"{row['bits_per_character']:.2f}",
                *(_number(row[name], name) for name in shown),
            ]
            for row in groups
        ],
    )


def _over_steps(measured: dict[str, Any]) -> str:
    """A row for each checkpoint, and below them what to hold the last ones against."""
    rows, references = measured["table"], measured["references"]
    losses = [name for name in rows[0] if name.startswith("loss_")]
    scores = [name for name in _COLUMNS if name in rows[0]]
    bits = [name for name in ("bits_heldout", "bits_inside", "bits_outside") if name in rows[0]]
    body = [[str(row["step"]), *(_number(row[name], name) for name in (*losses, *scores, *bits))] for row in rows]
    body += [
        [row["of"], *("" for _ in losses), *(_number(row[name], name) for name in scores), *("" for _ in bits)]
        for row in references
    ]
    heads = ["step", *(name.replace("_", " ") for name in (*losses, *scores, *bits))]
    return table(heads, body)


def _number(value: float | None, name: str = "loss") -> str:
    """A share in percent, a length with one digit, nats and bits with more."""
    if value is None:
        return "–"
    if name in _LENGTHS:
        return f"{value:.1f}"
    if name.startswith("bits"):
        return f"{value:.2f}"
    return f"{value:.3f}" if name.startswith("loss") else f"{value:.1%}"
