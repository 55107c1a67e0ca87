"""Attention: every head of the model at once, one of them large, what kind each is, and one number taken apart."""

from __future__ import annotations

import gradio as gr

from lab.components import view as place

INTRO = (
    "<h1>Attention</h1><p>Where each token looks. One square is one head; each row is a token that asks (query), each "
    "column a token it can look at (key).</p>"
)


def build(view: gr.JSON) -> None:
    """Lay the page out. It asks Python nothing: what it draws comes from the lab's routes."""
    gr.HTML(INTRO, apply_default_css=False, elem_classes="lab-view lab-intro")
    with gr.Column(elem_classes="attention-views"):
        place("wall")
        place("head")
    with gr.Column(elem_classes="attention-more"):
        with gr.Column(elem_classes="attention-side"):
            place("attention-arcs")
            place("attention-development")
        with gr.Column(elem_classes="attention-side"):
            place("attention-kinds")
            place("attention-flow")
    place("attention-stages")
