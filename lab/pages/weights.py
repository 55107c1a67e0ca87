"""Weights: what the matrices say by themselves, before any text is read."""

from __future__ import annotations

import gradio as gr

from lab.components import view as place

INTRO = (
    "<h1>Weights</h1><p>What the weights say by themselves: no prompt is read here. Where tokens lie, what each head "
    "would attend to and write, and how large every matrix has grown.</p>"
)


def build(view: gr.JSON) -> None:
    """Lay the page out. It asks Python nothing: what it draws comes from the lab's routes."""
    gr.HTML(INTRO, apply_default_css=False, elem_classes="lab-view lab-intro")
    place("weights-tokens")
    place("weights-heads")
    place("weights-positions")
    place("weights-matrices")
