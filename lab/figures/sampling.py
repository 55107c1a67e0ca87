"""Sampling: the distribution of the next token under its settings, and how surprising a text was."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import plotly.graph_objects as go
from numpy.typing import ArrayLike

from lab.figures.style import ATTENTION, MONO, REFERENCE, RUN_A, TEMPLATE, token_text


def next_token_bars(
    probability: ArrayLike, drawn_from: ArrayLike, tokens: Sequence[str], *, most: int = 30, title: str = ""
) -> go.Figure:
    """The likeliest tokens: the model's own probability, and what sampling draws from after its settings.

    Args:
        probability: (token,) the model's own.
        drawn_from: (token,) after temperature, top-k and top-p, rescaled to 1.
        tokens: one text for each.
        most: how many tokens are drawn.

    Raises:
        ValueError: the three differ in length.
    """
    own, drawn = np.asarray(probability, dtype=float), np.asarray(drawn_from, dtype=float)
    if own.ndim != 1 or own.shape != drawn.shape or len(own) != len(tokens):
        raise ValueError(f"{own.shape} probabilities, {drawn.shape} after sampling, {len(tokens)} tokens do not fit.")
    order = np.argsort(-own, kind="stable")[:most]
    labels = [token_text(tokens[i]) for i in order]
    figure = go.Figure(layout={"template": TEMPLATE, "title": {"text": title}, "barmode": "group", "bargap": 0.3})
    for name, values, colour in (("the model's own", own, REFERENCE), ("what is drawn from", drawn, ATTENTION)):
        figure.add_bar(
            y=list(range(len(order))),
            x=values[order],
            name=name,
            orientation="h",
            marker={"color": colour},
            customdata=labels,
            hovertemplate="‘%{customdata}’ %{x:.3g}",
        )
    figure.update_yaxes(
        tickvals=list(range(len(order))),
        ticktext=labels,
        tickfont={"family": MONO},
        autorange="reversed",
        showgrid=False,
    )
    figure.update_xaxes(title_text="probability", rangemode="tozero")
    return figure


def surprise_bars(tokens: Sequence[str], bits: ArrayLike, entropy: ArrayLike, *, title: str = "") -> go.Figure:
    """The surprise of each token of a text, and the surprise that the model expected (its entropy), both in bits.

    Args:
        bits: (position,); NaN where nothing was expected.
        entropy: (position,).

    Raises:
        ValueError: the three differ in length.
    """
    bits, entropy = np.asarray(bits, dtype=float), np.asarray(entropy, dtype=float)
    if bits.shape != (len(tokens),) or entropy.shape != bits.shape:
        raise ValueError(f"{bits.shape} surprises and {entropy.shape} entropies do not fit {len(tokens)} tokens.")
    labels, places = [token_text(token) for token in tokens], list(range(len(tokens)))
    figure = go.Figure(layout={"template": TEMPLATE, "title": {"text": title}})
    shared = {"x": places, "customdata": labels}
    figure.add_bar(
        **shared,
        y=bits,
        name="surprise",
        marker={"color": ATTENTION},
        hovertemplate="‘%{customdata}’ %{y:.3g} bits",
    )
    figure.add_scatter(
        **shared,
        y=entropy,
        name="entropy: the surprise expected",
        mode="markers",
        marker={"symbol": "line-ew", "size": 14, "line": {"width": 2, "color": RUN_A}},
        hovertemplate="%{y:.3g} bits expected",
    )
    figure.update_xaxes(tickvals=places, ticktext=labels, tickangle=-90, tickfont={"family": MONO}, showgrid=False)
    figure.update_yaxes(title_text="bits", rangemode="tozero")
    return figure
