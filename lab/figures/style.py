"""The one template of every plotly figure, and the words for numbers and tokens."""

from __future__ import annotations

import html
import math

import plotly.graph_objects as go

# Middle tones with a contrast of at least 3 on white and on the lab's dark surface: what lines and marks need.
RUN_A = "#d9711c"
RUN_B = "#3f86d6"
SURGERY = "#9468d8"
REFERENCE = "#808890"
ATTENTION = "#12949c"

_INK = "#7b838c"
_HAIRLINE = "rgba(128, 136, 144, 0.25)"
_FONT = "system-ui, -apple-system, 'Segoe UI', Roboto, 'Helvetica Neue', sans-serif"
MONO = "ui-monospace, 'SF Mono', Menlo, Consolas, 'Liberation Mono', monospace"

_AXIS = {
    "gridcolor": _HAIRLINE,
    "linecolor": _HAIRLINE,
    "zeroline": False,
    "ticks": "outside",
    "tickcolor": _HAIRLINE,
    "ticklen": 4,
    "title": {"standoff": 8},
    "automargin": True,
}

TEMPLATE = go.layout.Template(
    layout={
        "paper_bgcolor": "rgba(0, 0, 0, 0)",
        "plot_bgcolor": "rgba(0, 0, 0, 0)",
        "font": {"family": _FONT, "size": 13, "color": _INK},
        "title": {
            "font": {"size": 15},
            "x": 0,
            "xref": "paper",
            "xanchor": "left",
            "y": 1,
            "pad": {"t": 16},
            "yanchor": "top",
        },
        "margin": {"l": 56, "r": 24, "t": 80, "b": 48},
        "colorway": [RUN_A, RUN_B, SURGERY, ATTENTION],
        "xaxis": _AXIS,
        "yaxis": _AXIS,
        "legend": {"orientation": "h", "x": 0, "y": 1.02, "yanchor": "bottom", "bgcolor": "rgba(0, 0, 0, 0)"},
        "hoverlabel": {"font": {"family": MONO}},
    }
)


def token_text(token: str) -> str:
    """A token as a label: spaces as ·, newlines as ↵, and escaped, because plotly reads tags in its texts."""
    shown = token.replace(" ", "·").replace("\n", "↵").replace("\t", "⇥")
    shown = "".join(c if c.isprintable() else f"⟨{ord(c):02x}⟩" for c in shown)
    return html.escape(shown)


def number(value: float) -> str:
    """Three significant digits, thin spaces in thousands: 0.00213, 1.24, 12 300."""
    if not math.isfinite(value):
        return "–"
    if value == 0:
        return "0"
    digits = 2 - math.floor(math.log10(abs(value)))
    return f"{round(value, digits):,.{max(0, digits)}f}".replace(",", "\N{THIN SPACE}")
