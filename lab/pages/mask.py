"""Mask: what the causal mask is for, seen by training once with it and once without."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import gradio as gr

from lab.components import view as place
from lab.components.told import teller
from lab.jobs import jobs
from lab.orders import Order
from lab.pages.train import started

STEPS = 500
"""Each twin's budget: about a minute for both at once on two cores."""
CHECKPOINTS = 14
"""Fewer than usual: the twin without a mask cannot reuse what it has read, so its samples take long."""
INTRO = """
<h1>Mask</h1>
<p>A language model learns to say what comes next. The causal mask keeps each position from looking at what comes
after it, for there stands the answer. These twins start from the same weights and read the same text in the same
order; one has the mask, the other has not.</p>
<p>Without the mask the training loss falls toward zero, because the answer is in plain sight: attention moves to the
next token and copies it. But when the model speaks, nothing comes after the last word yet. There is nothing to copy,
and the replies are garbage. With the mask put back (dashed), its loss shows what it really knows: less and less.</p>
"""


def build(view: gr.JSON) -> None:
    """Lay the page out: the explanation, one button, and the twins."""
    told = teller()
    gr.HTML(INTRO, apply_default_css=False, elem_classes="lab-view lab-intro", elem_id="mask-text")
    with gr.Row(elem_id="mask-actions"):
        train = gr.Button("Train the twins", variant="primary", elem_id="mask-train", scale=0, min_width=180)
    place("mask")
    train.click(
        _train,
        None,
        told,
        concurrency_limit=None,
        trigger_mode="once",
        api_visibility="private",
        show_progress="hidden",
    )


def _train() -> Iterator[dict[str, Any]]:
    """Start the twins and tell the browser to look at the one without the mask."""
    yield from started(lambda: Order(steps=STEPS, checkpoints=CHECKPOINTS), jobs().start_twins)
