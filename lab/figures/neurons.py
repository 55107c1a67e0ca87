"""Neurons: how strongly one is active, which tokens it promotes, and how busy each layer is."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import plotly.graph_objects as go
from numpy.typing import ArrayLike

from lab.figures.style import ATTENTION, MONO, REFERENCE, RUN_A, RUN_B, TEMPLATE, number, token_text

KINDS = ("dead", "on less than 1% of tokens", "on 1% to 20%", "on 20% to 90%", "saturated")
"""How often a neuron is active."""


def neuron_histogram(counts: ArrayLike, edges: ArrayLike, *, title: str = "", caption: str = "") -> go.Figure:
    """Tokens by a neuron's activation, on a logarithmic axis, from `guppy.inspect`'s neuron-activity or neuron-index.

    Args:
        counts: (bin,) tokens; the first are those on which the neuron is not active, which are told and not drawn.
        edges: (bin - 1,) where the other bins begin; the last is open.

    Raises:
        ValueError: there is not one edge for each bin but the first.
    """
    counts, edges = np.asarray(counts), np.asarray(edges, dtype=float)
    if counts.ndim != 1 or edges.shape != (len(counts) - 1,):
        raise ValueError(f"{counts.shape} counts and {edges.shape} edges do not make a histogram.")
    there = np.flatnonzero(counts[1:])
    first, last = (there[0], there[-1]) if len(there) else (0, len(edges) - 1)
    bounds = [number(edge) for edge in edges]
    names = [f"{low} to {high}" for low, high in zip(bounds, [*bounds[1:], "∞"], strict=True)][first : last + 1]
    figure = go.Figure(layout={"template": TEMPLATE, "title": {"text": title}, "bargap": 0.06})
    figure.add_bar(
        x=names,
        y=counts[first + 1 : last + 2],
        marker_color=ATTENTION,
        hovertemplate="activation %{x}<br>%{y:,} tokens<extra></extra>",
    )
    share = counts[0] / max(1, counts.sum())
    figure.update_xaxes(title_text="activation (each bin half an octave)", type="category")
    figure.update_yaxes(title_text="tokens", rangemode="tozero")
    return _captioned(figure, " · ".join(filter(None, [caption, f"not active on {share:.1%} of tokens"])))


def token_effects(
    tokens: Sequence[str], effects: ArrayLike, *, unit: str = "logits per unit of activation", title: str = "",
    caption: str = "",
) -> go.Figure:  # fmt: skip
    """Tokens that a neuron promotes (orange) and suppresses (blue), as bars from a true zero, in the order given.

    Raises:
        ValueError: there is not one effect for each token.
    """
    effects = np.asarray(effects, dtype=float)
    if effects.shape != (len(tokens),):
        raise ValueError(f"{effects.shape} effects do not fit {len(tokens)} tokens.")
    figure = go.Figure(layout={"template": TEMPLATE, "title": {"text": title}, "bargap": 0.3})
    figure.add_bar(
        x=effects,
        y=list(range(len(tokens))),
        orientation="h",
        marker_color=[RUN_A if effect > 0 else RUN_B for effect in effects],
        customdata=[token_text(token) for token in tokens],
        hovertemplate="‘%{customdata}’: %{x:.3g}<extra></extra>",
    )
    most = 1.1 * max(float(np.abs(effects).max(initial=0)), 1e-9)
    figure.update_xaxes(title_text=unit, range=[-most, most], zeroline=True, zerolinewidth=1, zerolinecolor=REFERENCE)
    figure.update_yaxes(
        tickvals=list(range(len(tokens))),
        ticktext=[token_text(token) for token in tokens],
        tickfont={"family": MONO, "size": 11},
        autorange="reversed",
        showgrid=False,
    )
    return _captioned(figure, caption)


def layer_activity(share: ArrayLike, *, title: str = "", caption: str = "") -> go.Figure:
    """How many neurons of each layer are dead, rarely active, often active and saturated.

    Args:
        share: (layer, neuron) of tokens on which each neuron is active, 0 to 1.

    Raises:
        ValueError: it is no table of shares.
    """
    share = np.asarray(share, dtype=float)
    if share.ndim != 2 or not ((share >= 0) & (share <= 1)).all():
        raise ValueError(f"An array of shape {share.shape} is no table of shares by layer and neuron.")
    edges = [0.01, 0.2, np.nextafter(0.9, 1)]  # saturated is more than nine tokens of ten
    kind = np.where(share == 0, 0, 1 + np.digitize(share, edges))
    tints = [REFERENCE, *(f"rgba(18, 148, 156, {opacity})" for opacity in (0.25, 0.5, 0.75, 1))]
    figure = go.Figure(layout={"template": TEMPLATE, "title": {"text": title}, "barmode": "stack", "bargap": 0.35})
    layers = [f"layer {layer}" for layer in range(len(share))]
    for i, (name, tint) in enumerate(zip(KINDS, tints, strict=True)):
        figure.add_bar(
            x=(kind == i).sum(1),
            y=layers,
            name=name,
            orientation="h",
            marker_color=tint,
            hovertemplate="%{y}: %{x:,} neurons<extra>" + name + "</extra>",
        )
    figure.update_xaxes(title_text="neurons")
    figure.update_yaxes(autorange="reversed", showgrid=False)
    return _captioned(figure, caption)


def _captioned(figure: go.Figure, caption: str) -> go.Figure:
    if caption:
        figure.add_annotation(text=caption, xref="paper", yref="paper", x=0, y=-0.2, yanchor="top", showarrow=False)
    return figure
