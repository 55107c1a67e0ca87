"""Curves of a benchmark as a page that needs no network."""

from __future__ import annotations

from pathlib import Path

import plotly.graph_objects as go

from guppy.errors import GuppyError


def loss_against_seconds(curves: dict[str, list[tuple[float, float]]], targets: list[float], title: str) -> go.Figure:
    """Loss over wall seconds, on a log axis.

    Args:
        curves: name -> (seconds, loss) points in the order of time; a point at 0 seconds has no place on the axis.
        targets: losses to draw as dotted lines.
    """
    figure = go.Figure()
    for name, points in curves.items():
        shown = [point for point in points if point[0] > 0]
        x, y = [seconds for seconds, _ in shown], [loss for _, loss in shown]
        figure.add_scatter(x=x, y=y, name=name, mode="lines+markers")
    for target in targets:
        figure.add_hline(y=target, line_dash="dot", line_width=1, annotation_text=f"{target:g}")
    figure.update_layout(title=title, template="plotly_white", legend={"x": 1, "xanchor": "right", "y": 1})
    figure.update_xaxes(title="wall seconds", type="log")
    figure.update_yaxes(title="evaluation loss, nats per token")
    return figure


def save(figure: go.Figure, path: Path) -> None:
    """Write an .html page with plotly inside it.

    Raises:
        GuppyError: the path has another ending or cannot be written.
    """
    if path.suffix != ".html":
        raise GuppyError(f"the plot {path} should end in .html")
    try:
        figure.write_html(path, include_plotlyjs=True)
    except OSError as error:
        raise GuppyError(f"the plot {path} cannot be written ({error.strerror}); choose another place") from None
