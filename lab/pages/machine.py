"""Machine: what the model costs in memory and arithmetic, tensor by tensor, and how each grows with its shape."""

from __future__ import annotations

import gradio as gr

from lab.components import view as place

INTRO = (
    "<h1>Machine</h1><p>What the model costs: every tensor of a training step as an area of the map, every operation "
    "counted. Move a slider to ask what another shape would cost.</p>"
)


def build(view: gr.JSON) -> None:
    """Lay the page out. It asks Python nothing: what it draws comes from the lab's routes."""
    gr.HTML(INTRO, apply_default_css=False, elem_classes="lab-view lab-intro")
    with gr.Column(elem_classes="machine-views"):
        place("machine-shape")
        place("machine-map")
        place("machine-table")
        place("machine-flops")
        place("machine-speed")
