"""Who wrote the logit: parts of the model as bars, heads as a grid; both with a true zero."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import plotly.graph_objects as go
from numpy.typing import ArrayLike

from lab.figures.style import RUN_A, RUN_B, TEMPLATE, number

# Blue, nothing, orange: 0 is the paper itself, so the scale serves both themes.
SIGNED = [[0, RUN_B], [0.5, "rgba(128, 136, 144, 0)"], [1, RUN_A]]


def attribution_bars(
    names: Sequence[str], values: ArrayLike, *, logit: float | None = None, title: str = "", caption: str = ""
) -> go.Figure:
    """What each part adds to a logit, or to the difference of two, from top to bottom in the order given.

    Args:
        names: of the parts.
        values: (part,), in logits.
        logit: the model's own; the figure tells it beside the sum of the parts.

    Raises:
        ValueError: there is not one value for each name.
    """
    values = np.asarray(values, dtype=float)
    if values.shape != (len(names),):
        raise ValueError(f"Values of shape {values.shape} do not fit {len(names)} parts.")
    figure = go.Figure(layout={"template": TEMPLATE, "title": {"text": title}, "showlegend": False})
    figure.add_bar(
        x=values,
        y=list(names),
        orientation="h",
        marker={"color": [RUN_B if value < 0 else RUN_A for value in values]},
        hovertemplate="%{y}: %{x:.3g}<extra></extra>",
    )
    told = [caption, f"sum {number(float(values.sum()))}"]
    if logit is not None:
        told.append(f"the model's own {number(logit)}")
    figure.add_annotation(
        text=" · ".join(filter(None, told)),
        xref="paper",
        yref="paper",
        x=0,
        y=1,
        yshift=6,
        yanchor="bottom",
        showarrow=False,
    )
    figure.update_xaxes(title_text="logit", zeroline=True)
    figure.update_yaxes(autorange="reversed", showgrid=False)
    return figure


def head_grid(values: ArrayLike, *, unit: str = "logit", title: str = "", caption: str = "") -> go.Figure:
    """A signed number for each head: layers down, heads across, the colours symmetric about zero.

    Args:
        values: (layer, head).
        unit: what the number is.

    Raises:
        ValueError: the values are not a matrix.
    """
    values = np.asarray(values, dtype=float)
    if values.ndim != 2:
        raise ValueError(f"Values of shape {values.shape} are not (layer, head).")
    most = float(np.nanmax(np.abs(values), initial=0)) or 1.0
    figure = go.Figure(layout={"template": TEMPLATE, "title": {"text": title}})
    figure.add_heatmap(
        z=values,
        zmin=-most,
        zmax=most,
        colorscale=SIGNED,
        hovertemplate=f"layer %{{y}}, head %{{x}}: %{{z:.3g}} {unit}<extra></extra>",
        colorbar={"title": {"text": unit}, "thickness": 10, "outlinewidth": 0},
    )
    figure.update_xaxes(title_text="head", dtick=1, showgrid=False)
    figure.update_yaxes(title_text="layer", dtick=1, showgrid=False, autorange="reversed")
    if caption:
        figure.add_annotation(
            text=caption, xref="paper", yref="paper", x=0, y=1, yshift=6, yanchor="bottom", showarrow=False
        )
    return figure
