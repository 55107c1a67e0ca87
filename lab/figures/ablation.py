"""What breaks when parts are taken out: one at a time as a heatmap, and all subsets of them as points."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import plotly.graph_objects as go
from numpy.typing import ArrayLike

from lab.figures.attribution import SIGNED
from lab.figures.style import REFERENCE, RUN_A, TEMPLATE


def ablation_heatmap(
    damage: ArrayLike, parts: Sequence[str], *, unit: str = "nats per token", title: str = "", caption: str = ""
) -> go.Figure:
    """The damage of taking out each part: layers down, heads, attention and MLP across, symmetric about zero.

    Args:
        damage: (layer, part), above 0 where the model does worse without it.
        parts: names of the columns.
        unit: what the number is.

    Raises:
        ValueError: there is not one column for each name.
    """
    damage = np.asarray(damage, dtype=float)
    if damage.ndim != 2 or damage.shape[1] != len(parts):
        raise ValueError(f"Damage of shape {damage.shape} does not fit {len(parts)} parts.")
    most = float(np.nanmax(np.abs(damage), initial=0)) or 1.0
    figure = go.Figure(layout={"template": TEMPLATE, "title": {"text": title}})
    figure.add_heatmap(
        z=damage,
        x=list(parts),
        zmin=-most,
        zmax=most,
        colorscale=SIGNED,
        texttemplate="%{z:.2g}",
        hovertemplate=f"layer %{{y}}, %{{x}}: %{{z:.3g}} {unit}<extra></extra>",
        colorbar={"title": {"text": unit}, "thickness": 10, "outlinewidth": 0},
    )
    figure.update_xaxes(title_text="taken out", showgrid=False)
    figure.update_yaxes(title_text="layer", dtick=1, showgrid=False, autorange="reversed")
    return _captioned(figure, caption)


def subset_losses(on: ArrayLike, loss: ArrayLike, *, title: str = "", caption: str = "") -> go.Figure:
    """The loss with every subset of the layers, against how many of them are on, and their mean for each number.

    Args:
        on: (subset, layer), which layers are on.
        loss: (subset,), in nats per token.

    Raises:
        ValueError: there is not one loss for each subset.
    """
    on, loss = np.asarray(on, dtype=bool), np.asarray(loss, dtype=float)
    if on.ndim != 2 or loss.shape != on.shape[:1]:
        raise ValueError(f"{loss.shape} losses do not fit subsets of shape {on.shape}.")
    sizes = on.sum(1)
    named = [", ".join(map(str, np.flatnonzero(row))) or "none" for row in on]
    counts = np.unique(sizes)
    figure = go.Figure(layout={"template": TEMPLATE, "title": {"text": title}})
    figure.add_scatter(
        x=sizes,
        y=loss,
        mode="markers",
        name="subset",
        marker={"color": REFERENCE, "size": 6, "opacity": 0.7},
        customdata=named,
        hovertemplate="layers on: %{customdata}<br>%{y:.3g} nats per token<extra></extra>",
    )
    figure.add_scatter(
        x=counts,
        y=[loss[sizes == count].mean() for count in counts],
        mode="lines",
        name="mean",
        line={"color": RUN_A, "width": 1.75},
        hovertemplate="%{x} layers on: %{y:.3g} nats per token on average<extra></extra>",
    )
    figure.update_xaxes(title_text="layers on", dtick=1)
    figure.update_yaxes(title_text="loss, nats per token")
    return _captioned(figure, caption)


def _captioned(figure: go.Figure, caption: str) -> go.Figure:
    if caption:
        figure.add_annotation(
            text=caption, xref="paper", yref="paper", x=0, y=1, yshift=6, yanchor="bottom", showarrow=False
        )
    return figure
