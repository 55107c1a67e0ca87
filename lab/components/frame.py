"""The frame around every page: run, badge, prompt, time bar; and the sidebar of pages."""

from __future__ import annotations

import gradio as gr

from lab.components import view


def sidebar() -> gr.HTML:
    """Wordmark, links to the pages, the switch between light and dark."""
    return view("nav", elem_id="lab-nav")


def frame() -> None:
    """Which run, which prompt, which training step: every page follows them. Stays at the top of the window."""
    with gr.Column(elem_id="lab-frame"):
        view("frame")
        view("timebar")
