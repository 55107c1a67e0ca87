"""Data: the characters and what they are made of, a character of one's own, and data of one's own."""

from __future__ import annotations

from pathlib import Path

import gradio as gr

from guppy.personas import list_personas
from lab import bringing, characters
from lab.components import view as place

STARTER = Path(__file__).with_name("starter.yaml")
INTRO = (
    "<h1>Data</h1><p>A model of this size is what it has read. Change the data and the same network becomes somebody "
    "else.</p>"
)


def build(view: gr.JSON) -> None:
    """Lay the page out. It asks Python nothing through Gradio: what it shows comes from the lab's routes."""
    gr.HTML(INTRO, apply_default_css=False, elem_classes="lab-view lab-intro")
    place(
        "data",
        personas=list_personas(),
        starter=STARTER.read_text(encoding="utf-8"),
        longest=characters.MOST_CHARACTERS,
        suffixes=bringing.SUFFIXES,
        largest=bringing.LARGEST,
    )
