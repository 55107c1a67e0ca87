"""Learning: a lesson of one sentence, the batch that a step learned from, and what having read more is worth."""

from __future__ import annotations

import gradio as gr

from lab.components import view as place

INTRO = (
    "<h1>Learning</h1><p>What a step of training does, from near: to one sentence, to the batch it learned from, and "
    "to how much the model gains from each token it has read.</p>"
)


def build(view: gr.JSON) -> None:
    """Lay the page out. It asks Python nothing: what it draws comes from the lab's routes."""
    gr.HTML(INTRO, apply_default_css=False, elem_classes="lab-view lab-intro")
    for name in ("learning-lesson", "learning-eaten", "learning-context"):
        place(name)
