"""Cause: parts taken out, all subsets of them, parts put in from another run, and which heads read which."""

from __future__ import annotations

import gradio as gr

from lab.components import view as place

INTRO = (
    "<h1>Cause</h1><p>Looking shows what goes along with an answer; only changing something shows what brings it "
    "about. Here parts of the model are taken out, or put in from a run on another prompt, and the answer is read "
    "again.</p>"
)


def build(view: gr.JSON) -> None:
    """Lay the page out. It asks Python nothing: what it draws comes from the lab's routes."""
    gr.HTML(INTRO, apply_default_css=False, elem_classes="lab-view lab-intro")
    for name in ("cause-ablation", "cause-subsets", "cause-patching", "cause-composition"):
        place(name)
