"""How long the questions take that are asked of a model's inside.

    python -m benchmarks.inside [--run guppy] [--tokens 64] [--repeats 5] [--threads N] [--long] [--index RUN]
                                [--json FILE|-]

Each is asked of a run's last checkpoint about a text of so many tokens, drawn at random: first once to warm up, then
`--repeats` times, of which the median counts. Those that have a limit are compared with it. `--long` also asks every
question that reads a text about 128 tokens, and about 1,024 on an untrained model of the run's shape with that context,
each length in a process of its own, and says how much memory that took. `--index` builds the neuron index of a run's
whole corpus in a copy of the run, which takes minutes.
"""

from __future__ import annotations

import argparse
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from benchmarks.harness import Parser, Say, measure, run_main
from benchmarks.machine import describe, peak_memory_mib
from benchmarks.report import seconds, table
from benchmarks.results import check_outputs, give
from guppy.errors import GuppyError
from guppy.hooks import record
from guppy.inspect import questions
from guppy.inspect.asking import Subject
from guppy.model import Guppy
from guppy.runs import open_run

LIMITS = {
    "record everything": 0.120,
    "lens + attribution": 0.150,
    "ablate every component": 2.0,
    "kinds of all heads": 1.0,
}
"""Seconds, for `guppy`, 64 tokens, two cores."""
INDEX_LIMIT = 180.0
"""Seconds for the neuron index of `fry`."""
LENGTHS = (128, 1024)
SLOW = 20.0
"""A question that took longer to warm up is not asked again."""


def subject_of(name: str, tokens: int) -> Subject:
    """A run's last checkpoint and random tokens; where they do not fit its context, an untrained model that they do."""
    run = open_run(name)
    config = run.model_config
    fits = tokens <= config.n_ctx
    model = run.model() if fits else Guppy(replace(config, n_ctx=tokens), run.surgery).eval()
    known = run.tokenizer.vocab_size
    ids = torch.randint(0, known, (tokens,), generator=torch.Generator().manual_seed(0))
    return Subject(
        model, run.tokenizer, ids, run.tokenizer.token_strings(ids.tolist()), run, run.last_step if fits else None
    )


def tasks(subject: Subject) -> dict[str, Callable[[], Any]]:
    """What has a limit."""

    @torch.no_grad()
    def everything() -> None:
        with record(subject.model):
            subject.model(subject.ids[None])

    def ask(*names: str) -> Callable[[], None]:
        return lambda: [questions.answer(subject, name, {}) for name in names]

    return {
        "record everything": everything,
        "lens + attribution": ask("lens", "attribution"),
        "ablate every component": ask("ablation"),
        "kinds of all heads": ask("heads"),
    }


def timed(task: Callable[[], Any], repeats: int) -> float:
    """Median seconds after a warm-up."""
    began = time.perf_counter()
    task()
    first = time.perf_counter() - began
    if first > SLOW:
        return first
    taken = []
    for _ in range(repeats):
        began = time.perf_counter()
        task()
        taken.append(time.perf_counter() - began)
    return statistics.median(taken)


def measure_limits(run: str, tokens: int, repeats: int, threads: int | None, say: Say) -> dict[str, Any]:
    set_threads(threads)
    found = []
    for name, task in tasks(subject_of(run, tokens)).items():
        found.append({"question": name, "seconds": timed(task, repeats), "limit": LIMITS[name]})
        say(f"{name}: {found[-1]['seconds']:.3f} s")
    return {"machine": describe(torch.device("cpu")), "limits": found, "peak_memory_mib": peak_memory_mib()}


def measure_length(run: str, tokens: int, threads: int | None, say: Say) -> list[dict[str, Any]]:
    """Every question that reads a text, once each after the model was run once; memory is the process's most so far."""
    set_threads(threads)
    subject = subject_of(run, tokens)
    with torch.no_grad():
        subject.model(subject.ids[None])
    found = []
    for name in questions.names():
        if not questions.question(name).prompt:
            continue
        before, began = peak_memory_mib(), time.perf_counter()
        row: dict[str, Any] = {"question": name, "tokens": tokens}
        try:
            answer = questions.answer(subject, name, {})
            row["mebibytes"] = sum(array.nbytes for array in answer.arrays.values()) / 2**20
        except GuppyError as error:
            row["refused"] = str(error)
        row |= {"seconds": time.perf_counter() - began, "more_memory_mib": peak_memory_mib() - before}
        found.append(row)
        say(f"{tokens} tokens, {name}: {row.get('refused') or '{:.3f} s'.format(row['seconds'])}")
    return found


def measure_index(name: str, threads: int | None, say: Say) -> dict[str, Any]:
    from guppy.inspect.neuron_index import make

    set_threads(threads)
    with tempfile.TemporaryDirectory() as folder:
        run = open_run(name)
        copy = Path(folder) / run.id
        shutil.copytree(run.path, copy, ignore=shutil.ignore_patterns("derived"))
        began = time.perf_counter()
        make(open_run(copy), run.last_step)
        return {"question": f"neuron index of {name}", "seconds": time.perf_counter() - began, "limit": INDEX_LIMIT}


def set_threads(threads: int | None) -> None:
    if threads is not None:
        torch.set_num_threads(threads)


# -- the command ---------------------------------------------------------------------------------


def report(document: dict[str, Any]) -> str:
    facts = document["machine"]
    threads = "1 thread" if facts["threads"] == 1 else f"{facts['threads']} threads"
    lines = [f"machine  {facts['cpu']}, {facts['cores']} cores; {threads}; torch {facts['torch']}", ""]
    rows: list[Sequence[str]] = [("", "seconds", "limit", "")]
    for row in document["limits"]:
        kept = "kept" if row["seconds"] <= row["limit"] else "over"
        rows.append((row["question"], seconds(row["seconds"]), f"{row['limit']:g}", kept))
    lines += [f"{document['run']}, {document['tokens']} tokens", *table(rows)]
    if document["long"]:
        rows = [("", "tokens", "seconds", "answer, MiB", "more memory, MiB")]
        for row in document["long"]:
            answer = "refused" if "refused" in row else f"{row['mebibytes']:.3g}"
            more = f"{row['more_memory_mib']:,.0f}"
            rows.append((row["question"], f"{row['tokens']:,}", seconds(row["seconds"]), answer, more))
        lines += ["", "long texts", *table(rows)]
    return "\n".join(lines)


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = Parser(
        prog="python -m guppy bench inside",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("--run", default="guppy", help="whom to ask")
    parser.add_argument("--tokens", type=int, default=64)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--threads", type=int, metavar="N")
    parser.add_argument("--long", action="store_true", help="128 and 1,024 tokens too")
    parser.add_argument("--index", metavar="RUN", help="build this run's neuron index too")
    parser.add_argument("--json", metavar="FILE", help="all that was measured; - for stdout")
    return parser.parse_args(arguments)


def main(arguments: Sequence[str] | None = None) -> None:
    options = parse(arguments)
    for name in ("tokens", "repeats", "threads"):
        value = getattr(options, name)
        if value is not None and value < 1:
            raise GuppyError(f"--{name} must be at least 1, not {value}")
    check_outputs(options.json, None)
    open_run(options.run)
    document = measure(measure_limits, options.run, options.tokens, options.repeats, options.threads, say=_say)
    if options.index:
        open_run(options.index)
        document["limits"].append(measure(measure_index, options.index, options.threads, say=_say))
    lengths = LENGTHS if options.long else ()
    found = [measure(measure_length, options.run, tokens, options.threads, say=_say) for tokens in lengths]
    document |= {"run": options.run, "tokens": options.tokens, "long": [row for rows in found for row in rows]}
    give(document, report(document), options.json)


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


if __name__ == "__main__":
    run_main(main)
