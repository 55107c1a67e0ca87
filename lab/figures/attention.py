"""Attention: one head as a heatmap, one layer as lines between tokens, and what kind each head is."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import plotly.graph_objects as go
from numpy.typing import ArrayLike

from lab.figures.style import ATTENTION, MONO, RUN_A, RUN_B, SURGERY, TEMPLATE, token_text

# One hue from nothing to teal: a probability of 0 is the paper itself, so the scale serves both themes.
SCALE = [[0, "rgba(18, 148, 156, 0)"], [1, ATTENTION]]
HEADS = [RUN_A, RUN_B, ATTENTION, SURGERY, "#a88710", "#d0609f", "#6f9a3c", "#808890"]
"""Colours of heads, in their order."""


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
    _add_caption(figure, caption)
    return figure


def head_kinds(
    score: ArrayLike,
    kinds: Sequence[str],
    *,
    confidence: ArrayLike | None = None,
    thresholds: ArrayLike | None = None,
    title: str = "",
    caption: str = "",
) -> go.Figure:
    """How much every head is of every kind: a row for each head, a column for each kind.

    Args:
        score: (kind, layer, head), 0 to 1; nan is left empty.
        kinds: one name for each kind.
        confidence: (kind, layer, head), the share of texts in which the score passes; shown on hover.
        thresholds: (kind); with it, scores that reach theirs are written in bold.

    Raises:
        ValueError: shapes that do not fit each other.
    """
    score = np.asarray(score, dtype=float)
    confidence = np.full(score.shape, np.nan) if confidence is None else np.asarray(confidence, dtype=float)
    thresholds = np.full(len(kinds), np.inf) if thresholds is None else np.asarray(thresholds, dtype=float)
    if (
        score.ndim != 3
        or len(score) != len(kinds)
        or confidence.shape != score.shape
        or thresholds.shape != (len(kinds),)
    ):
        raise ValueError(f"Scores of shape {score.shape} do not fit {len(kinds)} kinds and what comes with them.")
    names = [f"L{layer} H{head}" for layer in range(score.shape[1]) for head in range(score.shape[2])]
    table, sure = (each.reshape(len(kinds), -1).T for each in (score, confidence))  # (head, kind)
    figure = go.Figure(layout={"template": TEMPLATE, "title": {"text": title}, "height": 160 + 22 * len(names)})
    figure.add_heatmap(
        z=table,
        x=list(kinds),
        y=names,
        zmin=0,
        zmax=1,
        colorscale=SCALE,
        customdata=sure,
        text=[
            ["" if np.isnan(v) else _score(v, v >= t) for v, t in zip(row, thresholds, strict=True)] for row in table
        ],
        texttemplate="%{text}",
        hovertemplate="%{y} · %{x}<br>score %{z:.3g}<br>passed in %{customdata:.0%} of the texts<extra></extra>",
        colorbar={"title": {"text": "score"}, "thickness": 10, "outlinewidth": 0},
    )
    figure.update_xaxes(title_text="kind", showgrid=False)
    figure.update_yaxes(title_text="head", showgrid=False, autorange="reversed")
    _add_caption(figure, caption)
    return figure


def attention_arcs(
    pattern: ArrayLike,
    tokens: Sequence[str],
    *,
    least: float = 0.04,
    title: str = "",
    caption: str = "",
) -> go.Figure:
    """One layer's attention as lines from query tokens (left) to key tokens (right), a colour for each head.

    Strength is drawn in quarters of probability. A click on a head's name hides it, a double click shows it alone.

    Args:
        pattern: (head, query, key).
        tokens: one text for each position.
        least: probabilities below this are not drawn.

    Raises:
        ValueError: the patterns are not square, or their side is not the number of tokens.
    """
    pattern = np.asarray(pattern, dtype=float)
    if pattern.ndim != 3 or pattern.shape[1:] != (len(tokens), len(tokens)):
        raise ValueError(f"Patterns of shape {pattern.shape} do not fit {len(tokens)} tokens.")
    figure = go.Figure(layout={"template": TEMPLATE, "title": {"text": title}, "height": 140 + 22 * len(tokens)})
    for head, each in enumerate(pattern):
        colour = HEADS[head % len(HEADS)]
        figure.add_scatter(
            x=[None], y=[None], mode="lines", name=f"H{head}", legendgroup=head, line={"color": colour, "width": 3}
        )
        for strength in (0.125, 0.375, 0.625, 0.875):
            low = max(least, strength - 0.125)
            query, key = np.nonzero((each >= low) & ((each < strength + 0.125) | (strength > 0.8)))
            gap = np.full(len(query), np.nan)
            figure.add_scatter(
                x=np.tile([0, 1, np.nan], len(query)),
                y=np.stack([query, key, gap], axis=1).ravel(),
                mode="lines",
                legendgroup=head,
                showlegend=False,
                hoverinfo="skip",
                opacity=strength,
                line={"color": colour, "width": 1 + 2 * strength},
            )
    labels = [token_text(token) for token in tokens]
    text = {"yref": "y", "showarrow": False, "font": {"family": MONO, "size": 12}}
    for position, label in enumerate(labels):
        figure.add_annotation(text=label, x=0, y=position, xanchor="right", xshift=-6, **text)
        figure.add_annotation(text=label, x=1, y=position, xanchor="left", xshift=6, **text)
    figure.update_xaxes(
        range=[-0.4, 1.4], tickvals=[0, 1], ticktext=["query", "key"], showgrid=False, side="top", title_text=""
    )
    figure.update_yaxes(range=[len(tokens) - 0.4, -0.6], showgrid=False, showticklabels=False, ticks="", title_text="")
    _add_caption(figure, caption)
    return figure


def _score(value: float, passed: bool) -> str:
    return f"<b>{value:.2f}</b>" if passed else f"{value:.2f}"


def _add_caption(figure: go.Figure, caption: str) -> None:
    if caption:
        figure.add_annotation(
            text=caption, xref="paper", yref="paper", x=0, y=1, yshift=6, yanchor="bottom", showarrow=False
        )
