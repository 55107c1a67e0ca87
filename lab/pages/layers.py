"""Layers: the residual stream from the embeddings to the logits: what it would say, what it is made of, by whom."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import gradio as gr

from guppy.errors import GuppyError
from lab import models, tuning
from lab.components import view as place
from lab.components.told import tell, teller

INTRO = """
<h1>Layers</h1>
<p>Every part of the model reads one stream of numbers and adds to it, from the embedding of a token to the logits of
the next. Point at a cell to look at its position everywhere on this page; a click keeps it.</p>
"""


def build(view: gr.JSON) -> None:
    """Lay the page out: the lenses, the stream, and who wrote the logit."""
    told = teller()
    gr.HTML(INTRO, apply_default_css=False, elem_classes="lab-view lab-intro")
    with gr.Column(elem_id="layers-views", elem_classes="kit-grid"):
        with gr.Column(elem_classes="layers-lenses"):
            place("layers-lens")
            place("layers-cell")
        with gr.Column(elem_classes="layers-lenses"):
            place("layers-tuned")
            train = gr.Button("Train the tuned lens", elem_id="layers-train", scale=0, min_width=180)
            place("layers-nearness")
        place("layers-stream")
        with gr.Column():
            place("layers-sizes")
            place("layers-depth")
        place("layers-pair")
        with gr.Column():
            place("layers-parts")
            place("layers-heads")
        place("layers-neurons")
    train.click(
        _train,
        view,
        told,
        js="() => [lab.snapshot()]",
        concurrency_limit=None,
        trigger_mode="once",
        api_visibility="private",
        show_progress="hidden",
    )


def _train(view: dict[str, Any] | None) -> Iterator[dict[str, Any]]:
    """Train the lens of the step that the frame shows, and tell the browser how far it is."""
    try:
        run, step = models.looked_at(view)
        for done, of in tuning.train(run.id, step):
            yield tell(tuning={"run": run.id, "step": step, "done": done, "of": of})
    except (GuppyError, TypeError, ValueError) as error:
        yield tell(tuning=None, error=str(error))
        return
    yield tell(tuning=None)
