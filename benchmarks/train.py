"""How long training takes to reach a loss: this project's recipe and, if it is there, guppylm's own code.

    python -m guppy bench train [--reference DIR] [--data DIR] [--json FILE|-] [--plot FILE.html] …

Both sides learn from the same rows on the same machine, one after the other, each in a process of its own, and are
scored on the same evaluation rows by the same function: the mean over targets that are not padding, in float32. Of
ours there is one run for each budget of tokens, fully decayed at its end. The clock starts before model and optimizer
are built; warm-up and compilation are counted; reading data and scoring are not, for neither side.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import benchmarks.report as text
from benchmarks.guppy_recipe import Recipe, check_budget, throughput, train_ours
from benchmarks.guppylm_reference import check_checkout, train_reference
from benchmarks.harness import Parser, measure, run_main
from benchmarks.results import check_outputs, give
from benchmarks.time_to_loss import Run, Target, compare
from benchmarks.yardstick import Yardstick, persona_folder, read_yardstick
from guppy.config import preset
from guppy.errors import GuppyError
from guppy.precision import pick_device


def parse(arguments: list[str] | None) -> argparse.Namespace:
    parser = Parser(
        prog="python -m guppy bench train",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    add = parser.add_argument
    add("--reference", type=_path, metavar="DIR", help="a clone of guppylm; without it ours runs alone")
    add("--data", type=_path, metavar="DIR", help="train.jsonl, eval.jsonl (or .gz) and tokenizer.json; else our guppy")
    add("--size", default="guppy", help="our model's size (guppy has the reference's shape)")
    add("--budgets", type=_list_of(_positive), default=[400_000, 2_600_000], metavar="N,…", help="tokens of our runs")
    add(
        "--batches", type=_list_of(_positive), metavar="N,…", help="rows a step of our runs, one number or one for each"
    )
    add("--reference-steps", type=_positive, metavar="N", help="stop the reference there; its schedule stays")
    add("--targets", type=_list_of(_loss), default=[0.50, 0.387], metavar="LOSS,…", help="the last: where it ends")
    add("--threads", type=_positive, metavar="N")
    add("--device", default="auto")
    add("--eval-rows", type=_positive, default=1600, metavar="N", help="score on the first so many evaluation rows")
    add("--eval-every", type=_positive, default=100, metavar="N", help="the reference's steps between scores")
    add("--json", metavar="FILE", help="all that was measured; - for stdout")
    add("--plot", type=_path, metavar="FILE.html", help="loss against seconds")
    add("--profile", action="store_true", help="our step's time by operation")
    return parser.parse_args(arguments)


def _path(value: str) -> Path:
    return Path(value).resolve()


def _positive(value: str) -> int:
    if not value.isdecimal() or int(value) < 1:
        raise argparse.ArgumentTypeError(f"{value!r} is no whole number of at least 1")
    return int(value)


def _loss(value: str) -> float:
    try:
        number = float(value)
    except ValueError:
        number = 0.0
    if not 0 < number < 100:
        raise argparse.ArgumentTypeError(f"{value!r} is no loss above 0")
    return number


def _list_of(item: Callable[[str], Any]) -> Callable[[str], list[Any]]:
    return lambda value: [item(part.strip()) for part in value.split(",")]


def check(options: argparse.Namespace) -> None:
    """Raises GuppyError for what need not wait for the data to be found wrong."""
    preset(options.size, vocab_size=64)
    options.device = str(pick_device(options.device))
    if options.batches and len(options.batches) not in (1, len(options.budgets)):
        raise GuppyError(f"{len(options.batches)} --batches for {len(options.budgets)} --budgets; give one, or as many")
    if options.reference is not None:
        check_checkout(options.reference)
    check_outputs(options.json, options.plot)


def bench(options: argparse.Namespace, work: Path) -> dict[str, Any]:
    """Measure everything, one part after the other."""
    say("reading the data")
    data = options.data or persona_folder(work / "persona")
    yardstick = read_yardstick(data, options.eval_rows, work / "plain")
    recipes = our_recipes(options)
    for recipe in recipes:
        check_budget(recipe, options.size, yardstick)
    common = (options.device, options.threads)
    # Where a step's time goes is shown for the longest run.
    steps = measure(throughput, yardstick, options.size, recipes[-1], *common, options.profile, say=say)
    ours = [measure(train_ours, yardstick, options.size, recipe, *common, say=say) for recipe in recipes]
    reference = None
    if options.reference is not None:
        (work / "reference").mkdir()
        arguments = (options.reference, yardstick, work / "reference", options.reference_steps, options.eval_every)
        reference = measure(train_reference, *arguments, *common, say=say)
    return {
        "data": _data_facts(yardstick, options),
        "throughput": steps,
        "ours": ours,
        "reference": reference,
        "targets": compare(options.targets, ours, reference),
    }


def our_recipes(options: argparse.Namespace) -> list[Recipe]:
    """A run for each budget, shortest first."""
    batches = options.batches or [None]
    batches = batches * len(options.budgets) if len(batches) == 1 else batches
    recipes = [Recipe(tokens, batch) for tokens, batch in zip(options.budgets, batches, strict=True)]
    return sorted(recipes, key=lambda recipe: recipe.tokens)


def _data_facts(yardstick: Yardstick, options: argparse.Namespace) -> dict[str, Any]:
    return {
        "path": str(options.data) if options.data else "persona guppy",
        "train_rows": len(yardstick.train),
        "distinct_train_rows": yardstick.distinct,
        "train_tokens": yardstick.tokens,
        "eval_rows": len(yardstick.known) + len(yardstick.new),
        "new_reply_rows": len(yardstick.new),
    }


def lines(measured: dict[str, Any]) -> list[str]:
    """The report for a person."""
    data, steps, ours, reference = (measured[key] for key in ("data", "throughput", "ours", "reference"))
    machine, peak = steps["machine"], steps["peak_flops"]
    runs: list[Run] = [*ours, *([reference] if reference else [])]
    targets: list[Target] = measured["targets"]
    distinct = f"{data['train_rows']:,} training rows ({data['distinct_train_rows']:,} distinct)"
    blocks = [
        [
            *text.machine_lines(machine, peak),
            f"data     {data['path']}: {distinct}, "
            f"{data['eval_rows']:,} evaluation rows ({data['new_reply_rows']:,} with a new reply)",
            "clock    begins before model and optimizer are built; warm-up and compilation counted, reading data and "
            "scoring not",
        ],
        *([*text.curve_lines(run)] for run in runs),
        [*text.target_lines(targets, reference)],
        [*text.run_lines(runs, peak, machine["dtype"])],
        [*text.step_lines(steps)],
        *([[*text.profile_lines(steps["profile"])]] if steps["profile"] else []),
    ]
    return "\n\n".join("\n".join(block) for block in blocks).splitlines()


def document(measured: dict[str, Any]) -> dict[str, Any]:
    """The same for a program."""
    peak = measured["throughput"]["peak_flops"]

    def facts(run: Run) -> dict[str, Any]:
        derived = {"tokens_per_second": run.tokens_per_second, "limit_seconds": run.flops / peak}
        return asdict(run) | derived | {"share_of_peak": run.flops / peak / run.seconds}

    reference = measured["reference"]
    return {
        **measured,
        "ours": [facts(run) for run in measured["ours"]],
        "reference": facts(reference) if reference else None,
        "targets": [asdict(target) for target in measured["targets"]],
    }


def plot(measured: dict[str, Any], targets: list[float], path: Path) -> None:
    from benchmarks.plot import loss_against_seconds, save  # plotly takes long to import, and only this needs it

    runs = [*measured["ours"], *([measured["reference"]] if measured["reference"] else [])]
    curves = {run.name: [(point.seconds, point.loss) for point in run.points] for run in runs}
    machine = measured["throughput"]["machine"]
    save(loss_against_seconds(curves, targets, f"Time to loss on {machine['gpu'] or machine['cpu']}"), path)


def say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def main(arguments: list[str] | None = None) -> None:
    options = parse(arguments)
    check(options)
    with tempfile.TemporaryDirectory(prefix="guppy-bench-") as work:
        measured = bench(options, Path(work))
    give(document(measured), "\n".join(["", *lines(measured)]), options.json)
    if options.plot is not None:
        plot(measured, options.targets, options.plot)


if __name__ == "__main__":
    run_main(main)
