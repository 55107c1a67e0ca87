"""What `bench train` measured, as text for a person."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from benchmarks.time_to_loss import Run, Target, thinned

POINTS_SHOWN = 15


def table(rows: Sequence[Sequence[str]]) -> Iterator[str]:
    """Columns as wide as they need, the first one to the left, the others to the right; first row: headings."""
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    for row in rows:
        first, *others = (
            cell.rjust(width) if i else cell.ljust(width)
            for i, (cell, width) in enumerate(zip(row, widths, strict=True))
        )
        yield "  " + "  ".join([first, *others]).rstrip()


def seconds(value: float | None, extrapolated: bool = False) -> str:
    """Seconds with about three digits; a mark on those that were not measured."""
    if value is None:
        return "not reached"
    text = f"{value:,.0f}" if value >= 100 else f"{value:.3g}"
    return f"~{text} (extrapolated)" if extrapolated else text


def machine_lines(facts: dict[str, Any], peak: float) -> Iterator[str]:
    where = facts["gpu"] or f"{facts['cpu']}, {facts['cores']} cores"
    threads = "1 thread" if facts["threads"] == 1 else f"{facts['threads']} threads"
    yield f"machine  {where}; {threads}; torch {facts['torch']}, Python {facts['python']}"
    yield f"peak     {giga(peak)} in a {facts['dtype']} matrix product, measured here"


def giga(flops: float) -> str:
    return f"{flops / 1e12:.4g} TFLOP/s" if flops >= 1e12 else f"{flops / 1e9:.4g} GFLOP/s"


def curve_lines(run: Run) -> Iterator[str]:
    yield f"{run.name}" + (f" ({run.status})" if run.status != "finished" else "")
    rows = [("step", "tokens", "seconds", "loss", "new replies")]
    for point in thinned(run.points, POINTS_SHOWN):
        new = "" if point.new_replies is None else f"{point.new_replies:.4f}"
        rows.append((f"{point.step:,}", f"{point.tokens:,}", f"{point.seconds:,.1f}", f"{point.loss:.4f}", new))
    yield from table(rows)


def run_lines(runs: Sequence[Run], peak: float, dtype: str) -> Iterator[str]:
    yield f"speed; share and limit are of the {dtype} peak, at 6 operations a parameter and token"
    rows = [("", "parameters", "seconds", "tokens/s", "share of peak", "limit, s", "times limit", "memory, MiB")]
    for run in runs:
        limit = run.flops / peak
        rows.append(
            (
                run.name,
                f"{run.parameters:,}",
                f"{run.seconds:,.1f}",
                f"{run.tokens_per_second:,.0f}",
                f"{limit / run.seconds:.1%}",
                seconds(limit),
                f"{run.seconds / limit:.1f}",
                f"{run.peak_memory_mib:,.0f}",
            )
        )
    yield from table(rows)


def target_lines(targets: Sequence[Target], reference: Run | None) -> Iterator[str]:
    yield "seconds to an evaluation loss: the first point measured at or under it"
    columns = 5 if reference else 3
    rows = [("loss", "ours, s", "by the run", "reference, s", "ratio")[:columns]]
    for target in targets:
        row = (
            f"{target.loss:g}",
            seconds(target.ours_seconds),
            target.ours_run or "",
            seconds(target.reference_seconds, target.extrapolated),
            "" if target.ratio is None else f"{target.ratio:.1f}",
        )
        rows.append(row[:columns])
    yield from table(rows)
    if reference and reference.stopped_early:
        yield (
            f"  The reference was stopped after {reference.steps:,} of its {reference.planned_steps:,} steps, on the "
            "schedule of all of them."
        )
    if any(target.extrapolated for target in targets):
        yield f"  Extrapolated: its {reference.planned_steps:,} steps at {reference.step_seconds:.3f} s."


def step_lines(measured: dict[str, Any]) -> Iterator[str]:
    steps, tokens, total = measured["steps"], measured["tokens"], measured["seconds"]
    yield (
        f"one of our steps of {measured['batch']} rows, {steps} timed: {1000 * total / steps:.1f} ms, "
        f"{tokens / steps:,.0f} tokens, {tokens / total:,.0f} tokens/s"
    )
    rows = [("", "ms", "share")]
    rows += [(part, f"{1000 * s / steps:.1f}", f"{s / total:.1%}") for part, s in measured["parts"].items()]
    yield from table(rows)
    flops = 6 * measured["parameters"] * tokens / measured["parts"]["forward and backward"]
    yield f"  Forward and backward run at {giga(flops)}, {flops / measured['peak_flops']:.1%} of the peak."


def profile_lines(rows: Sequence[dict[str, Any]]) -> Iterator[str]:
    yield "a step's operations by their own time, while a profiler looks on"
    cells = [("operation", "ms", "share", "calls")]
    for row in rows:
        cells.append(
            (row["operation"][:60], f"{row['milliseconds']:.2f}", f"{row['share']:.1%}", f"{row['calls']:.0f}")
        )
    yield from table(cells)
