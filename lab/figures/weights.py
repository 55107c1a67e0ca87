"""Weights: a map of the tokens, and how strongly matrices pass on their directions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import plotly.graph_objects as go
from numpy.typing import ArrayLike

from lab.figures.style import MONO, REFERENCE, RUN_A, SURGERY, TEMPLATE, number, token_text

SIGNED = [[0, "#3f86d6"], [0.5, "rgba(128, 136, 144, 0.12)"], [1, "#d9711c"]]


def embedding_map(
    points: ArrayLike,
    tokens: Sequence[str],
    *,
    explained: ArrayLike | None = None,
    chosen: Sequence[int] = (),
    title: str = "",
) -> go.Figure:
    """Token embeddings as points of a plane, with their texts under the hand.

    Args:
        points: (token, 2 or more) coordinates; the first two are drawn.
        tokens: one text for each row.
        explained: the share of the variance along each axis, for the axis titles.
        chosen: rows that are drawn large, with their texts beside them.

    Raises:
        ValueError: there are not as many texts as points, or a chosen row is not there.
    """
    points = np.asarray(points, dtype=float)
    if points.ndim != 2 or points.shape[1] < 2 or len(points) != len(tokens):
        raise ValueError(f"Points of shape {points.shape} do not fit {len(tokens)} tokens.")
    if any(not 0 <= row < len(tokens) for row in chosen):
        raise ValueError(f"A chosen row is beyond the {len(tokens)} tokens.")
    texts = [token_text(token) for token in tokens]
    figure = go.Figure(layout={"template": TEMPLATE, "title": {"text": title}, "showlegend": False})
    figure.add_scattergl(
        x=points[:, 0],
        y=points[:, 1],
        mode="markers",
        marker={"color": REFERENCE, "size": 4, "opacity": 0.6},
        text=texts,
        hovertemplate="%{text}<br>%{x:.3g}, %{y:.3g}<extra></extra>",
    )
    if len(chosen):
        rows = list(chosen)
        figure.add_scatter(
            x=points[rows, 0],
            y=points[rows, 1],
            mode="markers+text",
            marker={"color": RUN_A, "size": 9},
            text=[texts[row] for row in rows],
            textfont={"family": MONO, "size": 12},
            textposition="middle right",
            hovertemplate="%{text}<br>%{x:.3g}, %{y:.3g}<extra></extra>",
        )
    shares = [] if explained is None else [f" ({number(100 * share)}% of the variance)" for share in explained]
    names = [f"component {axis + 1}{shares[axis] if axis < len(shares) else ''}" for axis in range(2)]
    figure.update_xaxes(title_text=names[0])
    figure.update_yaxes(title_text=names[1], scaleanchor="x")
    return figure


def singular_values(curves: Mapping[str, ArrayLike], *, title: str = "") -> go.Figure:
    """Singular values over components, strongest first; each curve by its name. NaN at the end of one is left out.

    Raises:
        ValueError: a curve is not one row of values, or rises.
    """
    figure = go.Figure(layout={"template": TEMPLATE, "title": {"text": title}})
    for name, given in curves.items():
        values = np.asarray(given, dtype=float)
        values = values[~np.isnan(values)] if values.ndim == 1 else values
        if values.ndim != 1 or (np.diff(values) > 1e-6 * max(1.0, values.max(initial=0))).any():
            raise ValueError(f"{name}: singular values are one row, largest first.")
        figure.add_scatter(
            x=np.arange(1, len(values) + 1),
            y=values,
            name=name,
            mode="lines",
            hovertemplate="component %{x}<br>%{y:.3g}",
        )
    figure.update_xaxes(title_text="component")
    figure.update_yaxes(title_text="singular value", rangemode="tozero")
    return figure


def copying_scores(score: ArrayLike, *, title: str = "") -> go.Figure:
    """The copying score of every head, -1 to 1, true zero in the middle of the scale.

    Args:
        score: (layer, head).

    Raises:
        ValueError: the scores are no table, or lie outside -1 to 1.
    """
    score = np.asarray(score, dtype=float)
    if score.ndim != 2 or (np.abs(score) > 1 + 1e-6).any():
        raise ValueError(f"Copying scores are a table (layer, head) between -1 and 1, not of shape {score.shape}.")
    figure = go.Figure(layout={"template": TEMPLATE, "title": {"text": title}})
    figure.add_heatmap(
        z=score,
        zmin=-1,
        zmax=1,
        colorscale=SIGNED,
        x=[f"H{head}" for head in range(score.shape[1])],
        y=[f"L{layer}" for layer in range(score.shape[0])],
        texttemplate="%{z:.2f}",
        hovertemplate="head %{y} %{x}<br>copying score %{z:.3f}<extra></extra>",
        colorbar={"title": {"text": "copying score"}, "thickness": 10, "outlinewidth": 0},
    )
    figure.update_xaxes(title_text="head", showgrid=False)
    figure.update_yaxes(title_text="layer", showgrid=False, autorange="reversed")
    return figure


def weight_histogram(counts: ArrayLike, edge: float, *, title: str = "") -> go.Figure:
    """How many entries of a matrix have which value: bins of equal width from -edge to edge.

    Raises:
        ValueError: the counts are not one row, or the edge is not positive.
    """
    counts = np.asarray(counts, dtype=float)
    if counts.ndim != 1 or not len(counts) or not edge > 0:
        raise ValueError(f"Counts of shape {counts.shape} from {-edge} to {edge} are no histogram.")
    width = 2 * edge / len(counts)
    figure = go.Figure(layout={"template": TEMPLATE, "title": {"text": title}, "bargap": 0.05})
    figure.add_bar(
        x=-edge + (np.arange(len(counts)) + 0.5) * width,
        y=counts,
        width=width,
        marker={"color": SURGERY},
        hovertemplate="%{x:.3g}: %{y:d} entries<extra></extra>",
    )
    figure.update_xaxes(title_text="weight")
    figure.update_yaxes(title_text="entries")
    return figure
