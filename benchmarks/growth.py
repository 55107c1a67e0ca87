"""How cost grows: seconds and memory of a training step against depth, width, context and batch.

    python -m benchmarks.growth [--axes depth,width,context,batch] [--quick] [--values N,…] [--device auto]
                                [--threads N] [--json FILE|-] [--plot FILE.html]

From `guppy`'s shape (6 layers, 6 heads, 384 wide, 16 rows of 128 tokens) one size at a time is varied: layers; width,
in heads of 64; context, once with 4 rows and once with as many rows as make 2,048 tokens a step; rows in a batch. Rows
are full, of random tokens. `--values` puts other sizes in the place of an axis's own.

Each point is measured in a process of its own: a step is a batch, forward, backward, clipping and the optimizer, in
the arithmetic that training would choose here; after a warm-up the median of several. Memory is the most that the
process held (on a GPU: that it allocated there). The exponent of an axis is the slope of log cost over log size,
least squares over the upper half of its sizes; that of memory is of what a step adds to an empty process. Operations
are counted as in PaLM (Chowdhery et al. 2022, appendix B), attention included, and compared with the machine's own
matrix product. On a CPU a point may have what memory is free when it begins; one that needs more is left out.
"""

from __future__ import annotations

import argparse
import math
import statistics
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.guppy_recipe import Stepper
from benchmarks.harness import Parser, Say, measure, run_main
from benchmarks.machine import describe, matmul_peak, peak_memory_mib
from benchmarks.report import machine_lines, table
from benchmarks.results import check_outputs, give
from benchmarks.time_to_loss import multiplied_parameters
from guppy.batches import BatchSampler, Split
from guppy.config import PRESETS, TrainConfig, preset
from guppy.errors import GuppyError
from guppy.precision import pick_device, pick_precision

SHAPE = PRESETS["guppy"]
VOCAB_SIZE = 1536  # of a persona's tokenizer
HEAD = 64
TOKENS = 2048  # a step, where rows and context vary together
CONTEXT_ROWS = 4
LARGEST = 1_000_000
WARM_STEPS, FEWEST_STEPS, MOST_STEPS = 2, 3, 15
SECONDS_A_POINT = 4.0
QUICK_SECONDS_A_POINT = 1.0
COLOURS = ("#1f6fb2", "#c8641b")


@dataclass(frozen=True)
class Axis:
    """A size that varies.

    Attributes:
        values, quick: the sizes measured, and those of a quick look.
        curves: names of what is measured at each size; two for the context.
    """

    values: tuple[int, ...]
    quick: tuple[int, ...]
    curves: tuple[str, ...]
    unit: str


AXES = {
    "depth": Axis((1, 2, 3, 4, 6, 8, 10, 12), (1, 3, 6), ("depth",), "layers"),
    "width": Axis((64, 128, 192, 256, 384, 512, 640, 768), (64, 192, 384), ("width",), "d_model"),
    "context": Axis(
        (64, 128, 256, 512, 1024, 2048), (64, 256, 512), ("context, 4 rows", "context, 2,048 tokens"), "tokens in a row"
    ),
    "batch": Axis((8, 16, 32, 64, 128, 256), (8, 16, 32), ("batch",), "rows"),
}


@dataclass(frozen=True)
class Point:
    """One size of one curve, and the step it stands for."""

    curve: str
    value: int
    layers: int = SHAPE["n_layers"]
    width: int = SHAPE["d_model"]
    context: int = 128
    rows: int = 16


def points(axis: str, values: Sequence[int]) -> list[Point]:
    """The points of an axis, curve by curve. Raises GuppyError for a size that no model can have."""
    made = []
    for curve in AXES[axis].curves:
        for value in values:
            if not 1 <= value <= LARGEST:
                raise GuppyError(f"a {axis} of {value} is no size to measure; give 1 to {LARGEST:,}")
            if axis == "width" and value % HEAD:
                raise GuppyError(f"a width of {value} is no multiple of {HEAD}, the width of a head; give one that is")
            if curve == "context, 2,048 tokens" and value > TOKENS:
                raise GuppyError(f"a context of {value} does not fit into {TOKENS:,} tokens a step; give at most that")
            made.append(_point(axis, curve, value))
    return made


def _point(axis: str, curve: str, value: int) -> Point:
    if axis == "context":
        rows = CONTEXT_ROWS if curve == "context, 4 rows" else TOKENS // value
        return Point(curve, value, context=value, rows=rows)
    setting = {"depth": "layers", "width": "width", "batch": "rows"}[axis]
    return replace(Point(curve, value), **{setting: value})


# -- one point -----------------------------------------------------------------------------------


def measure_point(point: Point, device: str, threads: int | None, seconds: float, say: Say) -> dict[str, Any]:
    """What a step of this point takes. For a process of its own.

    Args:
        seconds: about so long steps are timed.

    Returns: the point's own settings with `parameters`, `operations`, `tokens` (of a step), `seconds` (median of
    `steps`), `peak_memory_mib` and `step_memory_mib` (without what the process held before); or `failed`, a reason.
    """
    if threads is not None:
        torch.set_num_threads(threads)
    limit_memory(device)
    try:
        return asdict(point) | _measure(point, device, seconds)
    except (MemoryError, RuntimeError) as error:
        if not isinstance(error, MemoryError) and "memory" not in str(error).lower():
            raise
        return asdict(point) | {"failed": "does not fit into this machine's memory"}


def _measure(point: Point, device: str, seconds: float) -> dict[str, Any]:
    torch.ones(1, device=device)  # on a GPU, what the first tensor brings with it is no part of a step
    empty = peak_memory_mib()
    shape = preset(
        "guppy",
        VOCAB_SIZE,
        n_layers=point.layers,
        n_heads=point.width // HEAD,
        d_model=point.width,
        d_mlp=point.width * SHAPE["d_mlp"] // SHAPE["d_model"],
        n_ctx=point.context,
    )
    config = TrainConfig(steps=MOST_STEPS, batch_size=point.rows).for_model(shape)
    ids = np.random.default_rng(0).integers(0, VOCAB_SIZE, (2 * point.rows, point.context + 1))
    sampler = BatchSampler(Split.from_rows(ids.tolist(), ["random"] * len(ids)), point.rows, point.context, 0, 0)
    stepper = Stepper(sampler, config, shape, device)
    with stepper.precision.deterministic():
        times = _time(stepper, seconds)
    parameters = multiplied_parameters(stepper.model)
    tokens = point.rows * point.context
    peak = peak_memory_mib()
    return {
        "parameters": parameters,
        "operations": (6.0 * parameters + 12.0 * point.layers * point.width * point.context) * tokens,
        "tokens": tokens,
        "seconds": statistics.median(times),
        "steps": len(times),
        "peak_memory_mib": peak,
        "step_memory_mib": peak - empty,
    }


def _time(stepper: Stepper, seconds: float) -> list[float]:
    times: list[float] = []
    while len(times) < WARM_STEPS + FEWEST_STEPS or (sum(times) < seconds and len(times) < WARM_STEPS + MOST_STEPS):
        began = time.perf_counter()
        stepper.step()
        times.append(time.perf_counter() - began)
    return times[WARM_STEPS:]


def limit_memory(device: str) -> None:
    """On a CPU under Linux, let an allocation fail that the free memory cannot hold: better than being killed."""
    meminfo = Path("/proc/meminfo")
    if device != "cpu" or not meminfo.exists():
        return
    import resource  # not on every system

    available = next(int(line.split()[1]) for line in meminfo.read_text().splitlines() if "MemAvailable" in line)
    _, hardest = resource.getrlimit(resource.RLIMIT_DATA)
    resource.setrlimit(resource.RLIMIT_DATA, (available * 1024, hardest))


def measure_machine(device: str, threads: int | None, say: Say) -> dict[str, Any]:
    """The machine, and the peak of its matrix product in our arithmetic. For a process of its own."""
    if threads is not None:
        torch.set_num_threads(threads)
    precision = pick_precision(device)
    return {"machine": describe(precision.device), "peak_flops": matmul_peak(precision.device, precision.dtype)}


# -- growth --------------------------------------------------------------------------------------


def exponent(sizes: Sequence[float], costs: Sequence[float]) -> float | None:
    """Slope of log cost over log size, least squares over the upper half of the sizes; None for fewer than two."""
    half = max(2, math.ceil(len(sizes) / 2))
    if len(sizes) < 2 or min(costs[-half:]) <= 0:
        return None
    return float(np.polyfit(np.log(sizes[-half:]), np.log(costs[-half:]), 1)[0])


def summarize(curve: str, measured: list[dict[str, Any]]) -> dict[str, Any]:
    """A curve's points with how its seconds and its memory grow."""
    fits = sorted((point for point in measured if "failed" not in point), key=lambda point: point["value"])
    sizes = [point["value"] for point in fits]
    grows = {name: exponent(sizes, [point[name] for point in fits]) for name in ("seconds", "step_memory_mib")}
    return {"curve": curve, "exponents": grows, "points": measured}


def report(document: dict[str, Any]) -> str:
    """The document as text for a person."""
    lines = list(machine_lines(document["machine"], document["peak_flops"]))
    for curve in document["curves"]:
        rows = [(curve["curve"], "parameters", "s a step", "MiB", "MiB of a step", "tokens/s", "share of peak")]
        rows += [_cells(point, document["peak_flops"]) for point in curve["points"]]
        lines += ["", *table(rows)]
        lines += [f"  {point['value']:,} {point['failed']}" for point in curve["points"] if "failed" in point]
        seconds, memory = (curve["exponents"][name] for name in ("seconds", "step_memory_mib"))
        if seconds is not None:
            grown = "" if memory is None else f", memory of a step as size^{memory:.2f}"
            lines.append(f"  upper half: seconds grow as size^{seconds:.2f}{grown}")
    return "\n".join(lines)


def _cells(point: dict[str, Any], peak: float) -> tuple[str, ...]:
    if "failed" in point:
        return (f"{point['value']:,}", *["–"] * 6)
    return (
        f"{point['value']:,}",
        f"{point['parameters']:,}",
        f"{point['seconds']:.4f}",
        f"{point['peak_memory_mib']:,.0f}",
        f"{point['step_memory_mib']:,.0f}",
        f"{point['tokens'] / point['seconds']:,.0f}",
        f"{point['operations'] / point['seconds'] / peak:.1%}",
    )


def draw(document: dict[str, Any]) -> Any:
    """A small panel for each axis: seconds (left, solid) and MiB (right, dotted) of a step over its size."""
    from plotly.subplots import make_subplots  # plotly takes long to import, and only this needs it

    curves = {curve["curve"]: curve for curve in document["curves"]}
    axes = [name for name, axis in AXES.items() if axis.curves[0] in curves]
    figure = make_subplots(2, 2, subplot_titles=axes, specs=[[{"secondary_y": True}] * 2] * 2, horizontal_spacing=0.18)
    for place, name in enumerate(axes):
        where = {"row": place // 2 + 1, "col": place % 2 + 1}
        alone = len(AXES[name].curves) == 1
        for curve, colour in zip(AXES[name].curves, COLOURS, strict=False):
            fits = [point for point in curves[curve]["points"] if "failed" not in point]
            for cost, label, dash in (("seconds", "seconds", "solid"), ("step_memory_mib", "MiB", "dot")):
                figure.add_scatter(
                    x=[point["value"] for point in fits],
                    y=[point[cost] for point in fits],
                    name=label if alone else f"{label}; {curve}",
                    legendgroup=label if alone else None,
                    showlegend=not alone or place == 0,
                    line={"color": colour, "dash": dash},
                    secondary_y=label == "MiB",
                    **where,
                )
        sizes = [point["value"] for point in curves[AXES[name].curves[0]]["points"]]
        figure.update_xaxes(type="log", title=AXES[name].unit, tickvals=sizes, **where)
        figure.update_yaxes(type="log", title="seconds a step", dtick="D2", secondary_y=False, **where)
        figure.update_yaxes(type="log", title="MiB of a step", showgrid=False, secondary_y=True, **where)
    figure.update_layout(title="How a step's cost grows", template="plotly_white", height=800)
    return figure


# -- the command ---------------------------------------------------------------------------------


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = Parser(
        prog="python -m guppy bench growth",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("--axes", default=",".join(AXES), help="which sizes vary")
    parser.add_argument("--quick", action="store_true", help="three sizes of each, none large")
    parser.add_argument("--values", metavar="N,…", help="other sizes, for one axis")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--threads", type=int, metavar="N")
    parser.add_argument("--json", metavar="FILE", help="all that was measured; - for stdout")
    parser.add_argument("--plot", type=Path, metavar="FILE.html", help="four panels")
    return parser.parse_args(arguments)


def plan(options: argparse.Namespace) -> list[Point]:
    """The points that the options ask for. Raises GuppyError for an axis or a size that is none."""
    axes = [name.strip() for name in options.axes.split(",")]
    for name in axes:
        if name not in AXES:
            raise GuppyError(f"there is no axis {name!r}; choose some of {','.join(AXES)}")
    if options.values is None:
        given = None
    elif len(axes) > 1:
        raise GuppyError("--values are of one axis; name one with --axes")
    else:
        try:
            given = sorted({int(value) for value in options.values.split(",")})
        except ValueError:
            raise GuppyError(f"--values {options.values} are no whole numbers; give some like 64,128") from None
    own = {name: axis.quick if options.quick else axis.values for name, axis in AXES.items()}
    return [point for name in dict.fromkeys(axes) for point in points(name, given or own[name])]


def main(arguments: Sequence[str] | None = None) -> None:
    options = parse(arguments)
    if options.threads is not None and options.threads < 1:
        raise GuppyError(f"--threads must be at least 1, not {options.threads}")
    device = str(pick_device(options.device))
    check_outputs(options.json, options.plot)
    planned = plan(options)
    seconds = QUICK_SECONDS_A_POINT if options.quick else SECONDS_A_POINT
    about = measure(measure_machine, device, options.threads, say=_say)
    measured: dict[str, list[dict[str, Any]]] = {}
    for point in planned:
        try:
            found = measure(measure_point, point, device, options.threads, seconds, say=_say)
        except GuppyError as error:  # its process was killed: the others can still be measured
            found = asdict(point) | {"failed": f"was not measured: {error}"}
        measured.setdefault(point.curve, []).append(found)
        _say(f"{point.curve} {point.value:,}: {found.get('failed') or '{:.4f} s'.format(found['seconds'])}")
    if all("failed" in point for points in measured.values() for point in points):
        raise GuppyError(f"no size could be measured; the last one {found['failed']}; give smaller --values")
    document = {**about, "curves": [summarize(curve, points) for curve, points in measured.items()]}
    give(document, report(document), options.json)
    if options.plot is not None:
        from benchmarks.plot import save

        save(draw(document), options.plot)


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


if __name__ == "__main__":
    run_main(main)
