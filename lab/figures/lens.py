"""What the model would say after each layer, as a grid of tokens."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import plotly.graph_objects as go
from numpy.typing import ArrayLike

from lab.figures.attention import SCALE
from lab.figures.style import MONO, TEMPLATE, token_text

MEASURES = {
    "probability": "probability of the token",
    "entropy": "entropy, nats",
    "kl": "KL to the final distribution, nats",
    "rank": "rank of the final token",
}


def lens_grid(
    words: Sequence[Sequence[str]],
    values: ArrayLike,
    points: Sequence[str],
    tokens: Sequence[str],
    *,
    measure: str = "probability",
    title: str = "",
    caption: str = "",
) -> go.Figure:
    """The logit lens or the tuned lens: in each cell the token that comes first there, coloured by one number.

    Args:
        words: (point, pos), the text of that token.
        values: (point, pos), what the colour shows: 0 is the paper.
        points: where the stream was read, from the embeddings on: drawn from top to bottom.
        tokens: one text for each position.
        measure: "probability" (the scale ends at 1), "entropy", "kl" or "rank" (it ends at the largest value).
        caption: what the figure shows, such as "fry · step 512 · blocks.*.hook_resid_post".

    Raises:
        ValueError: words and values are not of one shape (point, pos), or there is no such measure.
    """
    values = np.asarray(values, dtype=float)
    shape = (len(points), len(tokens))
    if values.shape != shape or [len(row) for row in words] != [shape[1]] * shape[0]:
        raise ValueError(f"Values of shape {values.shape} do not fit {shape[0]} points and {shape[1]} tokens.")
    if measure not in MEASURES:
        raise ValueError(f"There is no measure {measure!r}; choose {', '.join(MEASURES)}.")
    labels, said = [token_text(token) for token in tokens], [[token_text(word) for word in row] for row in words]
    figure = go.Figure(layout={"template": TEMPLATE, "title": {"text": title}})
    figure.add_heatmap(
        z=values,
        zmin=0,
        zmax=1 if measure == "probability" else None,
        colorscale=SCALE,
        text=said,
        texttemplate="%{text}",
        textfont={"family": MONO, "size": 11},
        customdata=np.broadcast_to(np.array(labels, dtype=object), shape),
        hovertemplate="after %{y}, ‘%{customdata}’ (%{x})<br>‘%{text}’<br>"
        + f"{MEASURES[measure]} %{{z:.3g}}<extra></extra>",
        colorbar={"title": {"text": MEASURES[measure], "side": "right"}, "thickness": 10, "outlinewidth": 0},
    )
    font = {"family": MONO, "size": 11}
    figure.update_xaxes(
        tickvals=list(range(shape[1])), ticktext=labels, tickfont=font, title_text="position", showgrid=False
    )
    figure.update_yaxes(
        tickvals=list(range(shape[0])),
        ticktext=list(points),
        tickfont=font,
        title_text="read after",
        autorange="reversed",
        showgrid=False,
    )
    if caption:
        figure.add_annotation(
            text=caption, xref="paper", yref="paper", x=0, y=1, yshift=6, yanchor="bottom", showarrow=False
        )
    return figure
