"""nanoGPT's yardstick: characters of Shakespeare, seconds of training to its loss, against nanoGPT's own code.

    python -m benchmarks.shakespeare --data FILE [--reference DIR] [--target 1.88] [--budget-tokens N] [--batch N]
                                     [--lr R] [--device auto|cpu|cuda] [--threads N] [--json FILE|-] [--plot FILE.html]

FILE is a Shakespeare text such as tinyshakespeare.txt, DIR a checkout of karpathy/nanoGPT (without it ours runs
alone). Both sides learn from the first 90% of the characters and are scored on the last 10%, have the same shape, and
run one after the other, each in a process of its own. The CPU row is the CPU recipe of nanoGPT's README; where there
is a CUDA GPU the GPU row follows, its config/train_shakespeare_char.py as it is.

The clock begins when a side's training code is called, with torch imported and the data prepared, so that building
the model, warm-up and compilation count. It stands still while a side is evaluated; nanoGPT's is stopped from outside,
see nanogpt_reference.py. What `guppy.train` does itself at a checkpoint (a look at a few rows, copies of the weights)
stays on ours. Both are scored alike: mean cross-entropy in nats over every character of the validation part, read in
consecutive windows of the context, in float32. nanoGPT prints the mean over some random windows instead; that number
stands beside it. A time to a loss is read off the straight line between the evaluations around it. Of nanoGPT the
lowest loss counts as the end, because it keeps that checkpoint.
"""

from __future__ import annotations

import argparse
import math
import os
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks import harness, machine, nanogpt_reference, plot
from benchmarks.harness import Say
from benchmarks.nanogpt_reference import Evaluation
from benchmarks.report import table
from benchmarks.results import check_outputs, give
from benchmarks.shakespeare_text import make_corpus, parts, read_text, validation_loss
from guppy.config import ModelConfig, TrainConfig
from guppy.errors import GuppyError
from guppy.events import Checkpoint, Done
from guppy.model import Guppy
from guppy.precision import pick_device
from guppy.train import train

# Of these, guppy.train spends about eight on the first hundred steps, which are not scored, and twelve evenly after it.
CHECKPOINTS = 20
FIRST_SCORED = 0.06  # share of the budget


@dataclass(frozen=True)
class Row:
    """One of nanoGPT's two recipes.

    Attributes:
        target: the validation loss that nanoGPT's README states for it.
        steps, rows: of the recipe: updates, and windows in a batch.
        flags: what its command line adds to the configuration file.
        budget, batch, lr: ours: tokens in all, windows in a batch, highest rate (None: guppy's own).
    """

    device: str
    layers: int
    heads: int
    width: int
    context: int
    dropout: float
    target: float
    steps: int
    rows: int
    flags: tuple[str, ...]
    budget: int
    batch: int
    lr: float | None = None

    @property
    def shape(self) -> str:
        return f"{self.layers} layers, {self.heads} heads, {self.width} wide, context {self.context}"


CPU = Row(
    device="cpu",
    layers=4,
    heads=4,
    width=128,
    context=64,
    dropout=0.0,
    target=1.88,
    steps=2000,
    rows=12,
    flags=(
        *("--device=cpu", "--compile=False", "--eval_iters=20", "--log_interval=1", "--block_size=64"),
        *("--batch_size=12", "--n_layer=4", "--n_head=4", "--n_embd=128", "--max_iters=2000"),
        *("--lr_decay_iters=2000", "--dropout=0.0"),
    ),
    budget=360_000,
    batch=8,
)
GPU = Row(
    device="cuda",
    layers=6,
    heads=6,
    width=384,
    context=256,
    dropout=0.2,
    target=1.4697,
    steps=5000,
    rows=64,
    flags=(),
    budget=40_000_000,
    batch=64,
)


def check(row: Row, text: str) -> None:
    """Raises GuppyError when a row's windows do not fit the text, its budget is no step, or its rate is none."""
    needed = 10 * (row.context + 2)
    if len(text) < needed:
        raise GuppyError(
            f"a text of {len(text):,} characters is too short; give at least {needed:,}, all of Shakespeare's"
        )
    if row.batch < 1:
        raise GuppyError(f"a batch of {row.batch} windows holds nothing; give at least 1")
    step = row.batch * row.context
    if row.budget < step:
        raise GuppyError(f"a budget of {row.budget:,} tokens is under one step of {step:,}; give more")
    settings_of(row)


def settings_of(row: Row) -> TrainConfig:
    """Our training's. One held-out row and one token: hardly anything is evaluated on the clock, the rest beside it."""
    return TrainConfig(
        tokens=row.budget, batch_size=row.batch, lr=row.lr, checkpoints=CHECKPOINTS, heldout_rows=1, sample_tokens=1
    )


# -- the measurement -----------------------------------------------------------------------------


def run_ours(row: Row, text: str, threads: int | None, say: Say) -> dict[str, Any]:
    """Train with `guppy.train` and score its checkpoints. For a process of its own."""
    corpus = make_corpus(text)
    shape = {"n_layers": row.layers, "n_heads": row.heads, "d_model": row.width, "d_mlp": 4 * row.width}
    model_config = ModelConfig(
        vocab_size=corpus.tokenizer.padded_vocab_size, n_ctx=row.context, act_fn="gelu", dropout=row.dropout, **shape
    )
    train_config = settings_of(row).for_model(model_config)
    if threads:
        torch.set_num_threads(threads)
    device = pick_device(row.device)
    judge = Guppy(model_config).to(device).eval()
    validation = torch.from_numpy(corpus.heldout.tokens.astype(np.int64)).to(device)
    curve: list[dict[str, Any]] = []
    tokens = 0
    watch = machine.Stopwatch()
    for event in train(model_config, train_config, corpus, device=row.device):
        if isinstance(event, Checkpoint):
            tokens = event.trainer.progress.tokens
            if event.step and tokens < FIRST_SCORED * row.budget:
                continue
            with watch.paused():
                judge.load_state_dict(event.weights)
                loss = validation_loss(lambda ids, _: judge(ids), validation, row.context)
                curve.append({"step": event.step, "tokens": tokens, "seconds": watch.seconds, "loss": loss})
                say(_line("guppy", curve[-1]))
        elif isinstance(event, Done) and event.status == "diverged":
            raise GuppyError(f"guppy's training: {event.message}")
    return _side(curve, watch.seconds, curve[-1]["step"], tokens, judge.n_params, train_config.to_dict())


def run_reference(row: Row, text: str, threads: int | None, checkout: Path, folder: Path, say: Say) -> dict[str, Any]:
    """Train with nanoGPT's own code. For a process of its own; `folder` is empty and may be filled."""
    if row.device == "cpu":
        os.environ["CUDA_VISIBLE_DEVICES"] = ""  # train.py asks any GPU for its dtypes, and would so begin to use it
    nanogpt_reference.copy(checkout, text, folder)
    ids = nanogpt_reference.prepare(folder)
    if len(ids) != len(parts(text)[1]):
        raise GuppyError(f"nanoGPT's prepare.py keeps {len(ids):,} characters for validation, not the last 10%")
    if threads:
        torch.set_num_threads(threads)
    validation = torch.from_numpy(ids).to(row.device)
    step_tokens = row.rows * row.context

    def point(evaluation: Evaluation) -> dict[str, Any]:
        return asdict(evaluation) | {"tokens": evaluation.step * step_tokens}

    evaluations, seconds, parameters = nanogpt_reference.train(
        folder,
        list(row.flags),
        lambda logits: validation_loss(logits, validation, row.context),
        lambda evaluation: say(_line("nanogpt", point(evaluation))),
    )
    steps = row.steps + 1  # its loop ends with the step that follows the last evaluation
    curve = [point(evaluation) for evaluation in evaluations]
    return _side(curve, seconds, steps, steps * step_tokens, parameters, {"flags": list(row.flags)})


def _side(
    curve: list[dict[str, Any]], seconds: float, steps: int, tokens: int, parameters: int, settings: dict[str, Any]
) -> dict[str, Any]:
    best = min(curve, key=lambda point: point["loss"])
    return {
        "parameters": parameters,
        "steps": steps,
        "tokens": tokens,
        "seconds": seconds,
        "tokens_per_second": tokens / seconds,
        "peak_memory_mib": machine.peak_memory_mib(),
        "best": best,
        "curve": curve,
        "settings": settings,
    }


def _line(name: str, point: dict[str, Any]) -> str:
    return f"{name}: step {point['step']:,}, {point['seconds']:.1f} s, validation loss {point['loss']:.4f}"


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def seconds_to(curve: Sequence[dict[str, Any]], target: float) -> float | None:
    """Seconds at which the straight lines between the evaluations first reach a loss; None when they do not."""
    if curve[0]["loss"] <= target:
        return curve[0]["seconds"]
    for before, after in pairwise(curve):
        if after["loss"] <= target:
            share = (before["loss"] - target) / (before["loss"] - after["loss"])
            return before["seconds"] + share * (after["seconds"] - before["seconds"])
    return None


def compare(row: Row, ours: dict[str, Any], reference: dict[str, Any] | None) -> list[dict[str, Any]]:
    """For the row's target and for what the reference ends with: seconds of both, and how many times fewer ours are."""
    targets = {"target": row.target} | ({"end of nanoGPT": reference["best"]["loss"]} if reference else {})
    compared = []
    for name, target in targets.items():
        mine = seconds_to(ours["curve"], target)
        theirs = seconds_to(reference["curve"], target) if reference else None
        ratio = theirs / mine if mine and theirs else None
        compared.append({"name": name, "loss": target, "guppy": mine, "nanogpt": theirs, "ratio": ratio})
    return compared


def measure(row: Row, text: str, threads: int | None, checkout: Path | None) -> dict[str, Any]:
    """Both sides of a row, one after the other."""
    reference = None
    if checkout is not None:
        os.environ.setdefault("PYTHONUTF8", "1")  # nanoGPT opens its text in the system's encoding
        with tempfile.TemporaryDirectory(prefix="nanogpt-") as folder:
            arguments = (row, text, threads, checkout.resolve(), Path(folder).resolve())
            reference = harness.measure(run_reference, *arguments, say=_say)
    ours = harness.measure(run_ours, row, text, threads, say=_say)
    compared = compare(row, ours, reference)
    return {"row": asdict(row), "guppy": ours, "nanogpt": reference, "compared": compared}


# -- the report ----------------------------------------------------------------------------------


def report(document: dict[str, Any]) -> str:
    """The document as text for a person."""
    about, data = document["machine"], document["data"]
    gpu = f", {about['gpu']}" if about["gpu"] else ""
    lines = [
        f"{about['cpu']}, {about['cores']} cores, {about['threads']} threads{gpu}; torch {about['torch']}",
        f"{data['train']:,} training and {data['validation']:,} validation characters, {data['different']} different",
    ]
    for result in document["rows"]:
        lines += ["", *_row_lines(result)]
    return "\n".join([*lines, "", *document["unmeasured"]]).rstrip()


def _row_lines(result: dict[str, Any]) -> list[str]:
    row, settings = Row(**result["row"]), result["guppy"]["settings"]
    sides = [("", "parameters", "steps", "tokens", "seconds", "tokens/s", "MiB", "lowest loss")]
    for name in ("nanogpt", "guppy"):
        if side := result[name]:
            counts = (f"{side[key]:,}" for key in ("parameters", "steps", "tokens"))
            speed = (f"{side['seconds']:.1f}", f"{side['tokens_per_second']:,.0f}", f"{side['peak_memory_mib']:,.0f}")
            sides.append((name, *counts, *speed, f"{side['best']['loss']:.4f}"))
    times = [("seconds to loss", "", "nanogpt", "guppy", "ratio")]
    for entry in result["compared"]:
        numbers = (_number(entry[key], "{:.1f}") for key in ("nanogpt", "guppy", "ratio"))
        times.append((f"{entry['loss']:.4f}", entry["name"], *numbers))
    ours = f"batch {settings['batch_size']}, lr {_number(settings['lr'], '{:g}')}, budget {settings['tokens']:,} tokens"
    lines = [f"{row.device}: {row.shape}, dropout {row.dropout:g}", *table(sides), *table(times), f"  guppy: {ours}"]
    if result["nanogpt"]:
        best = result["nanogpt"]["best"]
        lines.append(f"  nanogpt prints {best['printed']:.4f} at its lowest, step {best['step']:,}")
    return lines


def _number(value: float | None, form: str) -> str:
    return "–" if value is None else form.format(value)


def curves(document: dict[str, Any]) -> dict[str, list[tuple[float, float]]]:
    """name -> (seconds, loss) of every side of every row."""
    return {
        f"{name} on {result['row']['device']}": [(point["seconds"], point["loss"]) for point in result[name]["curve"]]
        for result in document["rows"]
        for name in ("nanogpt", "guppy")
        if result[name]
    }


# -- the command ---------------------------------------------------------------------------------


def parser() -> harness.Parser:
    options = harness.Parser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--data", type=Path, help="a Shakespeare text")
    options.add_argument("--reference", type=Path, help="a checkout of karpathy/nanoGPT, whose code is run")
    options.add_argument("--target", type=float, help="validation loss to reach (1.88; on a GPU 1.4697)")
    options.add_argument("--budget-tokens", type=int, help="tokens that ours learns from")
    options.add_argument("--batch", type=int, help="windows in a batch of ours")
    options.add_argument("--lr", type=float, help="highest learning rate of ours")
    options.add_argument("--reference-steps", type=int, help="fewer steps of nanoGPT: to see that it works")
    options.add_argument(
        "--device", default="auto", choices=("auto", "cpu", "cuda"), help="auto: every row that can run"
    )
    options.add_argument("--threads", type=int, help="CPU threads of both sides")
    options.add_argument("--json", help="a file for the results, - for stdout")
    options.add_argument("--plot", type=Path, help="an .html file for the curves")
    return options


def pick_rows(device: str) -> list[Row]:
    """The rows that a device choice asks for. Raises GuppyError for a CUDA device that is not there."""
    if device == "cuda":
        pick_device("cuda")
        return [GPU]
    return [CPU, GPU] if device == "auto" and torch.cuda.is_available() else [CPU]


def adjusted(row: Row, options: argparse.Namespace) -> Row:
    """A row with what the options set. Raises GuppyError when that is impossible."""
    given = {"target": options.target, "budget": options.budget_tokens, "batch": options.batch, "lr": options.lr}
    row = replace(row, **{name: value for name, value in given.items() if value is not None})
    if not (math.isfinite(row.target) and row.target > 0):
        raise GuppyError(f"a target loss must be above 0, not {row.target:g}; nanoGPT's own is {CPU.target}")
    steps = options.reference_steps
    if steps is None:
        return row
    if steps < 1:
        raise GuppyError(f"--reference-steps must be at least 1, not {steps}")
    eighth = max(1, steps // 8)
    settings = {"max_iters": steps, "lr_decay_iters": steps, "eval_interval": eighth, "warmup_iters": eighth}
    return replace(row, steps=steps, flags=(*row.flags, *(f"--{name}={value}" for name, value in settings.items())))


def main(arguments: Sequence[str] | None = None) -> None:
    options = parser().parse_args(arguments)
    if options.data is None:
        raise GuppyError("give a Shakespeare text with --data; nanoGPT's is 1,115,394 characters of it")
    if options.threads is not None:
        if options.threads < 1:
            raise GuppyError(f"--threads must be at least 1, not {options.threads}")
        torch.set_num_threads(options.threads)
    check_outputs(options.json, options.plot)
    if options.reference is not None:
        nanogpt_reference.check(options.reference)
    text = read_text(options.data)
    rows = [adjusted(row, options) for row in pick_rows(options.device)]
    for row in rows:
        check(row, text)
    train_part, validation = parts(text)
    document = {
        "machine": machine.describe(pick_device(rows[-1].device)),
        "data": {"train": len(train_part), "validation": len(validation), "different": len(set(text))},
        "rows": [measure(row, text, options.threads, options.reference) for row in rows],
        "unmeasured": [] if GPU.device in {row.device for row in rows} else ["GPU row: unmeasured, no CUDA GPU here"],
    }
    give(document, report(document), options.json)
    if options.plot is not None:
        targets = [row.target for row in rows]
        plot.save(plot.loss_against_seconds(curves(document), targets, "Characters of Shakespeare"), options.plot)


if __name__ == "__main__":
    harness.run_main(main)
