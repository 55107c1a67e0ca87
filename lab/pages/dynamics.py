"""Dynamics: what training does to a model from checkpoint to checkpoint."""

from __future__ import annotations

import gradio as gr

from lab.components import view as place

INTRO = (
    "<h1>Dynamics</h1><p>How training moves a model: the way that its weights take, how alike its checkpoints are, "
    "how far a step goes. Most figures show the whole run; a click on one goes to that step.</p>"
)


def build(view: gr.JSON) -> None:
    """Lay the page out. It asks Python nothing: what it draws comes from the lab's routes."""
    gr.HTML(INTRO, apply_default_css=False, elem_classes="lab-view lab-intro")
    place("dynamics-space")
    place("dynamics-alike")
    place("dynamics-steps")
    place("dynamics-reading")
