"""Anatomy: one token's way through the network, stage by stage, with its numbers, its code and its arithmetic."""

from __future__ import annotations

import gradio as gr

from lab.components import view as place

INTRO = (
    "<h1>Anatomy</h1><p>One token’s way through the network, in the order of the code. Each strip is a vector of the "
    "model’s own numbers: orange above zero, blue below. Point at a number to read it, click it to see the arithmetic "
    "that made it.</p>"
)


def build(view: gr.JSON) -> None:
    """Lay the page out. It asks Python nothing: what it draws comes from the lab's routes."""
    gr.HTML(INTRO, apply_default_css=False, elem_classes="lab-view lab-intro")
    place("anatomy")
