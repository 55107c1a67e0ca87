"""Two runs that should differ in one thing: what it is, when they part, and how far, layer by layer."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from guppy.errors import GuppyError
from guppy.inspect.asking import Option, Question, Subject
from guppy.runs import Run, find_run, open_run

CONFIGS = ("model", "train", "surgery")


@dataclass(frozen=True)
class Twins:
    """Two runs, compared where both have a checkpoint."""

    steps: list[int]
    matrices: list[str]
    distance: Float[Tensor, "step matrix"]
    """Norm of the difference of each weight matrix, over the mean of the two norms; 0: the same numbers."""
    differences: list[str]
    """What their manifests say differently, such as "surgery.causal_mask: True, False"; empty for true twins."""
    weights_part: int | None
    """The first step at which both have a checkpoint and a weight differs; None: at none."""
    losses_part: int | None
    """The first step at which their logged training losses differ; None: at none that both logged."""
    samples_part: int | None
    """The first step at which a probe prompt is answered differently; None: at none."""


def twins(run: Run, other: Run) -> Twins:
    """Compare two runs. Raises GuppyError when they have no step in common, or weights of different shapes."""
    steps = [step for step in run.steps if step in set(other.steps)]
    if not steps:
        raise GuppyError(f"{run.id} and {other.id} have no checkpoint at the same step; train one beside the other.")
    distances, part = [], None
    for step in steps:
        one, two = run.weights(step), other.weights(step)
        if {name: value.shape for name, value in one.items()} != {name: value.shape for name, value in two.items()}:
            raise GuppyError(
                f"{run.id} and {other.id} are models of different shapes and cannot be compared by weight."
            )
        if part is None and any(not torch.equal(one[name], two[name]) for name in one):
            part = step
        names = [name for name, value in one.items() if value.ndim > 1]
        distances.append([_apart(one[name], two[name]) for name in names])
    return Twins(
        steps,
        names,
        torch.tensor(distances),
        differences(run, other),
        part,
        _first(_losses(run), _losses(other)),
        _first(_samples(run), _samples(other)),
    )


def differences(run: Run, other: Run) -> list[str]:
    """What was set differently for two runs, as the manifests tell it."""
    found = []
    for part in CONFIGS:
        one, two = run.manifest[part], other.manifest[part]
        for key in sorted({*one, *two}):
            if one.get(key) != two.get(key):
                found.append(f"{part}.{key}: {one.get(key)}, {two.get(key)}")
    if run.manifest["corpus"]["sha256"] != other.manifest["corpus"]["sha256"]:
        found.append("data")
    return found


def _apart(one: Tensor, two: Tensor) -> float:
    size = (one.norm() + two.norm()) / 2
    return float((one - two).norm() / size.clamp(min=1e-30))


def _losses(run: Run) -> dict[int, Any]:
    rows = run.metrics
    rows = rows[rows["kind"] == "step"]
    return dict(zip(rows["step"], rows.get("loss", []), strict=True))


def _samples(run: Run) -> dict[int, Any]:
    rows = run.samples
    rows = rows[rows["group"].isna()] if "group" in rows else rows
    return {step: list(zip(some["prompt"], some["text"], strict=True)) for step, some in rows.groupby("step")}


def _first(one: dict[int, Any], two: dict[int, Any]) -> int | None:
    return next((int(step) for step in sorted(one.keys() & two.keys()) if one[step] != two[step]), None)


def _ask(subject: Subject, other: str) -> Twins:
    if not other:
        raise GuppyError("Say which run to compare with, by its name.")
    return twins(subject.run, open_run(find_run(other)))


QUESTIONS = (
    Question(
        "twins",
        "Two runs that differ in one thing: when they part, and how far, matrix by matrix.",
        _ask,
        options=(Option("other", str, "", "The other run's name."),),
        prompt=False,
    ),
)
