"""Vectors as strips of colour, one below the other."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import plotly.graph_objects as go
from numpy.typing import ArrayLike

from lab.figures.attribution import SIGNED
from lab.figures.style import TEMPLATE, number


def anatomy_strips(vectors: Mapping[str, ArrayLike], *, title: str = "", caption: str = "") -> go.Figure:
    """Vectors as rows of cells: orange above zero, blue below, each row in its own scale, named beside it.

    Args:
        vectors: name: (index). They may differ in length.
        caption: what the figure shows, such as "fry · step 512 · layer 2 · ‘food’".

    Raises:
        ValueError: there is no vector, or one of them is empty or has more than one dimension.
    """
    rows = {name: np.asarray(values, dtype=float) for name, values in vectors.items()}
    if not rows or any(values.ndim != 1 or not values.size for values in rows.values()):
        shapes = ", ".join(f"{name} {values.shape}" for name, values in rows.items())
        raise ValueError(f"Strips are vectors with at least one number each, not {shapes or 'nothing'}.")
    width = max(len(values) for values in rows.values())
    table = np.full((len(rows), width), np.nan)
    for row, values in zip(table, rows.values(), strict=True):
        row[: len(values)] = values
    shown = np.where(np.isfinite(table), table, np.nan)
    finite = np.nan_to_num(np.abs(shown)).max(axis=1, keepdims=True)
    names = [f"{name} ±{number(top)}" for name, top in zip(rows, finite[:, 0], strict=True)]
    figure = go.Figure(layout={"template": TEMPLATE, "title": {"text": title}, "height": 150 + 34 * len(rows)})
    figure.add_heatmap(
        z=shown / np.where(finite, finite, 1),
        y=names,
        customdata=table,
        zmin=-1,
        zmax=1,
        colorscale=SIGNED,
        ygap=6,
        hovertemplate="%{y} [%{x}]<br>%{customdata:.4g}<extra></extra>",
        colorbar={"title": {"text": "of the row’s ±"}, "thickness": 10, "outlinewidth": 0, "tickvals": [-1, 0, 1]},
    )
    figure.update_xaxes(title_text="index", showgrid=False)
    figure.update_yaxes(showgrid=False, autorange="reversed", title_text="")
    if caption:
        where = {"xref": "paper", "yref": "paper", "x": 0, "y": 1, "yshift": 6, "yanchor": "bottom"}
        figure.add_annotation(text=caption, showarrow=False, **where)
    return figure
