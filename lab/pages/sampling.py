"""Sampling: how the next token is chosen, where other choices lead, and how surprising the text was."""

from __future__ import annotations

import gradio as gr

from lab.components import view as place

INTRO = (
    "<h1>Sampling</h1><p>After each token the model gives every token of its vocabulary a probability, and one of them "
    "is drawn. Move the settings to see what they leave to draw from.</p>"
)


def build(view: gr.JSON) -> None:
    """Lay the page out. It asks Python nothing: what it draws comes from the lab's routes."""
    gr.HTML(INTRO, apply_default_css=False, elem_classes="lab-view lab-intro")
    place("sampling-next")
    place("sampling-tree")
    place("sampling-surprise")
