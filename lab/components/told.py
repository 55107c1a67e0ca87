"""How Python answers the browser: a sentence to show, a run to look at."""

from __future__ import annotations

import time
from typing import Any

import gradio as gr


def teller() -> gr.HTML:
    """An unseen output of events. What `tell` makes reaches `lab.told` in the browser when it is yielded here."""
    return gr.HTML(
        html_template="<span hidden></span>",
        js_on_load="watch('value', () => window.lab.told(props.value));",
        apply_default_css=False,
        elem_classes="lab-teller",
    )


def tell(**told: Any) -> dict[str, Any]:
    """`error` or `note` (a sentence to show), `run` (an id to look at), `measuring` (the run and step whose scores are
    being measured, None when they are there). Never equal to an earlier one, which would be no change and so not
    told."""
    return {**told, "at": time.time_ns()}
