"""Memory as a treemap: every tensor an area of its bytes."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import plotly.graph_objects as go
from numpy.typing import ArrayLike

from lab.figures.style import TEMPLATE, number

# The attention hue at the strengths of the lab's own map.
SHADES = {
    "parameters": "#0f6d74",
    "gradients": "#12949c",
    "optimizer": "#4fb1b6",
    "activations": "#8fcfd2",
    "cache": "#2fa3aa",
    "temporary": "#c6e7e8",
}
UNITS = ("B", "kB", "MB", "GB", "TB")


def memory_treemap(
    name: Sequence[str],
    size: ArrayLike,
    group: Sequence[str],
    layer: Sequence[int | None],
    *,
    title: str = "",
    caption: str = "",
) -> go.Figure:
    """Tensors inside their layers inside their groups; the areas are bytes, a click looks inside.

    The four sequences run in parallel, as those of `guppy.inspect.memory.Memory` do.

    Args:
        size: bytes of each tensor.
        layer: None is outside the blocks.

    Raises:
        ValueError: the sequences differ in length, or a size is negative.
    """
    sizes = np.asarray(size, dtype=float)
    if sizes.shape != (len(name),) or not len(name) == len(group) == len(layer):
        raise ValueError(f"{len(name)} names, {sizes.shape} bytes, {len(group)} groups, {len(layer)} layers differ.")
    if (sizes < 0).any():
        raise ValueError("A tensor cannot have fewer than 0 bytes.")
    places = [
        (each, "outside the layers" if at is None else f"layer {at}") for each, at in zip(group, layer, strict=True)
    ]
    nodes: dict[str, tuple[str, str, float, str]] = {}  # id: label, parent, bytes, group
    for (kind, where), tensor, count, i in zip(places, name, sizes, range(len(name)), strict=True):
        for key, label, parent in ((kind, kind, ""), (f"{kind}/{where}", where, kind)):
            nodes[key] = (label, parent, nodes.get(key, ("", "", 0.0, ""))[2] + count, kind)
        nodes[f"{kind}/{where}/{i}"] = (tensor, f"{kind}/{where}", count, kind)
    labels, parents, values, kinds = zip(*nodes.values(), strict=True) if nodes else ((), (), (), ())
    figure = go.Figure(layout={"template": TEMPLATE, "title": {"text": title}})
    figure.add_treemap(
        ids=list(nodes),
        labels=labels,
        parents=parents,
        values=values,
        branchvalues="total",
        text=[in_bytes(value) for value in values],
        textinfo="label+text",
        hovertemplate="%{label}<br>%{text}, %{percentRoot:.3g} of all<extra></extra>",
        marker={"colors": [SHADES.get(kind, SHADES["temporary"]) for kind in kinds], "line": {"width": 1}},
        tiling={"packing": "squarify", "pad": 1},
        maxdepth=2,
        pathbar={"visible": True},
    )
    figure.update_layout(margin={"l": 8, "r": 8, "b": 8})
    if caption:
        figure.add_annotation(
            text=caption, xref="paper", yref="paper", x=0, y=1, yshift=6, yanchor="bottom", showarrow=False
        )
    return figure


def in_bytes(count: float) -> str:
    """Three digits and a unit: 1.23 MB."""
    at = 0
    while count >= 1000 and at < len(UNITS) - 1:
        count, at = count / 1000, at + 1
    return f"{number(count)} {UNITS[at]}"
