"""Attention: every head of the model at once, one of them large, at every step of its training."""

from __future__ import annotations

import gradio as gr

from lab.components import view as place


def build(view: gr.JSON) -> None:
    place("attention", elem_id="lab-attention")
