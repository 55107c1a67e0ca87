"""Neurons: what each does with the prompt, which tokens it speaks for, and where in the corpus it is most active."""

from __future__ import annotations

import gradio as gr

from lab.components import view as place

INTRO = (
    "<h1>Neurons</h1><p>Between the two matrices of each layer's MLP stand its neurons. Each looks for one direction "
    "in the residual stream; where it finds it, it is active and adds a vector of its own. Choose one on the map.</p>"
)


def build(view: gr.JSON) -> None:
    """Lay the page out. It asks Python nothing: what it draws comes from the lab's routes."""
    gr.HTML(INTRO, apply_default_css=False, elem_classes="lab-view lab-intro")
    with gr.Column(elem_classes="kit-grid"):
        place("neuron-map")
        place("neuron-one")
    place("neuron-words")
    place("neuron-texts")
    with gr.Column(elem_classes="kit-grid"):
        place("neuron-strongest")
        place("neuron-histogram")
    place("neuron-layers")
