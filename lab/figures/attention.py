"""One attention head as a heatmap."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import plotly.graph_objects as go
from numpy.typing import ArrayLike

from lab.figures.style import ATTENTION, MONO, TEMPLATE, token_text

# One hue from nothing to teal: a probability of 0 is the paper itself, so the scale serves both themes.
SCALE = [[0, "rgba(18, 148, 156, 0)"], [1, ATTENTION]]


def attention_heatmap(pattern: ArrayLike, tokens: Sequence[str], *, title: str = "", caption: str = "") -> go.Figure:
    """Attention probabilities of one head, linear in probability from 0 to 1.

    Args:
        pattern: (query, key), rows sum to 1.
        tokens: one text for each position; spaces are shown as ·, newlines as ↵.
        caption: what the figure shows, such as "fry · step 512 · blocks.2.attn.hook_pattern[3]".

    Raises:
        ValueError: the pattern is not square, or its side is not the number of tokens.
    """
    pattern = np.asarray(pattern, dtype=float)
    if pattern.shape != (len(tokens), len(tokens)):
        raise ValueError(f"A pattern of shape {pattern.shape} does not fit {len(tokens)} tokens.")
    labels = [token_text(token) for token in tokens]
    queries, keys = np.meshgrid(np.array(labels, dtype=object), np.array(labels, dtype=object), indexing="ij")
    figure = go.Figure(layout={"template": TEMPLATE, "title": {"text": title}})
    figure.add_heatmap(
        z=pattern,
        zmin=0,
        zmax=1,
        colorscale=SCALE,
        customdata=np.stack([queries, keys], axis=-1),
        hovertemplate="query ‘%{customdata[0]}’ (%{y})<br>key ‘%{customdata[1]}’ (%{x})<br>%{z:.3g}<extra></extra>",
        colorbar={"title": {"text": "probability"}, "thickness": 10, "outlinewidth": 0},
    )
    axis = {"tickvals": list(range(len(tokens))), "ticktext": labels, "tickfont": {"family": MONO, "size": 11}}
    figure.update_xaxes(**axis, tickangle=-90, title_text="key", showgrid=False, constrain="domain")
    figure.update_yaxes(
        **axis, title_text="query", showgrid=False, autorange="reversed", scaleanchor="x", constrain="domain"
    )
    if caption:
        figure.add_annotation(
            text=caption, xref="paper", yref="paper", x=0, y=1, yshift=6, yanchor="bottom", showarrow=False
        )
    return figure
