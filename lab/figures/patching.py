"""Activation patching as a heatmap, with 0 (corrupted) the paper and 1 (clean) the end of the scale."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import plotly.graph_objects as go
from numpy.typing import ArrayLike

from lab.figures.attribution import SIGNED
from lab.figures.style import MONO, TEMPLATE, token_text


def patching_heatmap(
    recovered: ArrayLike,
    columns: Sequence[str],
    *,
    corrupted: Sequence[str] | None = None,
    title: str = "",
    caption: str = "",
) -> go.Figure:
    """How much of the clean answer each patch brings about: layers down, positions or parts across.

    Args:
        recovered: (layer, column), 0 as on the corrupted prompt, 1 as on the clean one; the scale reaches at least 1.
        columns: the clean prompt's tokens, or names of heads and parts.
        corrupted: the corrupted prompt's tokens; where they differ, both are shown.

    Raises:
        ValueError: columns, or the corrupted tokens, are not as many as the matrix has.
    """
    recovered = np.asarray(recovered, dtype=float)
    if recovered.ndim != 2 or recovered.shape[1] != len(columns):
        raise ValueError(f"A matrix of shape {recovered.shape} does not fit {len(columns)} columns.")
    if corrupted is not None and len(corrupted) != len(columns):
        raise ValueError(f"{len(corrupted)} corrupted tokens do not fit {len(columns)} clean ones.")
    labels = [token_text(token) for token in columns]
    if corrupted is not None:
        others = [token_text(token) for token in corrupted]
        labels = [one if one == other else f"{one} / {other}" for one, other in zip(labels, others, strict=True)]
    most = max(1.0, float(np.nanmax(np.abs(recovered), initial=0)))
    figure = go.Figure(layout={"template": TEMPLATE, "title": {"text": title}})
    figure.add_heatmap(
        z=recovered,
        zmin=-most,
        zmax=most,
        colorscale=SIGNED,
        customdata=np.broadcast_to(np.array(labels, dtype=object), recovered.shape),
        hovertemplate="layer %{y}, %{customdata} (%{x}): %{z:.3g}<extra></extra>",
        colorbar={"title": {"text": "0: corrupted, 1: clean"}, "thickness": 10, "outlinewidth": 0},
    )
    font = {"family": MONO, "size": 11}
    named = "position" if corrupted is not None else "patched"
    figure.update_xaxes(
        tickvals=list(range(len(labels))), ticktext=labels, tickfont=font, title_text=named, showgrid=False
    )
    figure.update_yaxes(title_text="layer", dtick=1, showgrid=False, autorange="reversed")
    if caption:
        figure.add_annotation(
            text=caption, xref="paper", yref="paper", x=0, y=1, yshift=6, yanchor="bottom", showarrow=False
        )
    return figure
