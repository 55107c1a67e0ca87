"""Loss over training."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import plotly.graph_objects as go
from numpy.typing import ArrayLike

from lab.figures.style import REFERENCE, RUN_A, RUN_B, SURGERY, TEMPLATE, number

COLOURS = {"a": RUN_A, "b": RUN_B, "surgery": SURGERY}
STEP_ZERO = 0.5
"""Where step 0 is drawn on a logarithmic axis."""
REFERENCE_NAMES = {
    "log_v": "log V",
    "unigram": "unigram entropy",
    "bigram": "bigram entropy",
    "grammar": "grammar entropy",
}


@dataclass(frozen=True)
class Curve:
    """One run's losses, in nats per token. Each pair of arrays has its own steps; empty ones are not drawn."""

    name: str
    steps: ArrayLike
    """Steps at which the training loss was logged."""
    loss: ArrayLike
    heldout_steps: ArrayLike = ()
    heldout_loss: ArrayLike = ()
    """Drawn dashed in the run's hue."""
    colour: str = "a"
    """"a" (orange), "b" (blue) or "surgery" (violet)."""
    extra: Mapping[str, tuple[ArrayLike, ArrayLike]] = field(default_factory=dict)
    """More dotted lines of the same hue by name, each (steps, loss)."""


def loss_curves(
    curves: Sequence[Curve], reference: Mapping[str, float] | None = None, *, log_x: bool = False, title: str = ""
) -> go.Figure:
    """Training loss solid, held-out loss dashed, reference entropies as grey lines with their names.

    Args:
        curves: the runs.
        reference: some of "log_v", "unigram", "bigram", "grammar" (nats per token) to a value.
        log_x: steps on a logarithmic axis; step 0 stands at its left end.

    Raises:
        ValueError: steps and losses of one line differ in length, or a colour is unknown.
    """
    figure = go.Figure(layout={"template": TEMPLATE, "title": {"text": title}})
    for curve in curves:
        if curve.colour not in COLOURS:
            raise ValueError(f"There is no colour {curve.colour!r}; choose {', '.join(COLOURS)}.")
        lines = {"training": ("solid", curve.steps, curve.loss)}
        lines["held-out"] = ("dash", curve.heldout_steps, curve.heldout_loss)
        lines |= {name: ("dot", steps, loss) for name, (steps, loss) in curve.extra.items()}
        for name, (dash, steps, loss) in lines.items():
            _add_line(figure, f"{curve.name} · {name}", steps, loss, COLOURS[curve.colour], dash, log_x)
    for name, value in (reference or {}).items():
        label = f"{REFERENCE_NAMES.get(name, name)} {number(value)}"
        figure.add_hline(
            y=value,
            line={"color": REFERENCE, "width": 1},
            annotation={
                "text": label,
                "font": {"color": REFERENCE, "size": 11},
                "x": 1,
                "xanchor": "left",
                "yanchor": "middle",
            },
        )
    figure.update_layout(margin_r=150 if reference else None)
    figure.update_xaxes(title_text="step")
    if log_x:
        last = max((step for curve in curves for step in (*curve.steps, *curve.heldout_steps)), default=1)
        powers = [2**n for n in range(max(1, math.ceil(math.log2(last + 1))))]
        powers = powers[:: math.ceil(len(powers) / 8)]
        figure.update_xaxes(type="log", tickvals=[STEP_ZERO, *powers], ticktext=["0", *map(str, powers)])
    figure.update_yaxes(title_text="loss, nats per token", rangemode="tozero")
    return figure


def _add_line(
    figure: go.Figure, name: str, steps: ArrayLike, loss: ArrayLike, colour: str, dash: str, log_x: bool
) -> None:
    steps, loss = np.asarray(steps, dtype=float), np.asarray(loss, dtype=float)
    if steps.shape != loss.shape or steps.ndim != 1:
        raise ValueError(f"{name}: {steps.shape} steps and {loss.shape} losses do not make a line.")
    if not len(steps):
        return
    figure.add_scatter(
        x=np.maximum(steps, STEP_ZERO) if log_x else steps,
        y=loss,
        customdata=np.stack([steps, np.exp(loss)], axis=-1),
        mode="lines" if len(steps) > 1 else "markers",
        name=name,
        line={"color": colour, "dash": dash, "width": 1.75},
        hovertemplate="step %{customdata[0]:d}<br>%{y:.3f} nats<br>perplexity %{customdata[1]:.3g}",
    )
