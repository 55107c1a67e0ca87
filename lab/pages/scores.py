"""Character: is it the fish, and since when? Scores of every checkpoint that was measured; one more on a click."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import gradio as gr

from guppy.errors import GuppyError
from lab import models, scoring
from lab.components import view as place
from lab.components.told import tell, teller

INTRO = """
<h1>Character</h1>
<p>Is it the fish? At a checkpoint the model answers prompts that it never read, and its replies are scored beside those
of its training data (the ceiling) and those of a model that has learned nothing (the floor). No score is good when
high: a model has the character when its scores are those of its data.</p>
"""


def build(view: gr.JSON) -> None:
    """Lay the page out: the explanation, a button for what is not measured yet, and the scores."""
    told = teller()
    gr.HTML(INTRO, apply_default_css=False, elem_classes="lab-view lab-intro", elem_id="scores-text")
    with gr.Row(elem_id="scores-actions"):
        measure = gr.Button("Measure this step", variant="primary", elem_id="scores-measure", scale=0, min_width=180)
    place("scores")
    place("transcript")
    measure.click(
        _measure,
        view,
        told,
        js="() => [lab.snapshot()]",
        concurrency_limit=None,
        trigger_mode="once",
        api_visibility="private",
        show_progress="hidden",
    )


def _measure(view: dict[str, Any] | None) -> Iterator[dict[str, Any]]:
    """Measure the step that the frame shows, and tell the browser that it is there."""
    try:
        run, step = models.looked_at(view)
        yield tell(measuring={"run": run.id, "step": step})
        scoring.measure(run.id, step)
    except (GuppyError, TypeError, ValueError) as error:
        yield tell(measuring=None, error=str(error))
        return
    yield tell(measuring=None)
