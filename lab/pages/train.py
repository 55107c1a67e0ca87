"""Train: start a run, watch it learn, let it wait, go on or stop, with a cool-down or without."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import gradio as gr

from guppy.config import PRESETS
from guppy.errors import GuppyError
from guppy.personas import list_personas
from lab import shelf
from lab.components import view as place
from lab.components.told import tell, teller
from lab.jobs import jobs
from lab.orders import Order, has_corpus

SIZES = {"fry": "fry · 1M parameters, a minute", "guppy": "guppy · 8M", "pike": "pike · 26M, for GPUs"}
SURGERY = {
    "no causal mask": "no-causal-mask",
    "no feed-forward layers": "no-mlp",
    "no positions": "no-positions",
    "no LayerNorm": "no-layernorm",
    "no residual stream": "no-residual",
    "no 1/√d scale": "no-scale",
}
SECONDS, STEPS = "seconds", "steps"
ACTIONS = {"pause": "Pause", "resume": "Resume", "stop": "Stop", "stop_now": "Stop now", "delete": "Delete"}


def build(view: gr.JSON) -> None:
    """Lay the page out: what to train on the left, the run of the frame on the right."""
    told = teller()
    with gr.Row(elem_id="train"):
        with gr.Column(elem_id="train-form"):
            settings = _form()
            start = gr.Button("Start", variant="primary", elem_id="train-start")
        with gr.Column(elem_id="train-run"):
            place("live")
            with gr.Row(elem_id="train-actions"):
                buttons = {
                    action: gr.Button(name, size="sm", interactive=True, elem_id=f"train-{action.replace('_', '-')}")
                    for action, name in ACTIONS.items()
                }
            place("samples")
    private = {"api_visibility": "private", "show_progress": "hidden"}
    with_view = "(view, ...rest) => [lab.snapshot(), ...rest]"
    start.click(_start, [view, *settings], told, js=with_view, concurrency_limit=None, trigger_mode="once", **private)
    for action, button in buttons.items():
        button.click(partial(_act, action), view, told, js="() => [lab.snapshot()]", concurrency_limit=None, **private)


def _form() -> list[gr.components.Component]:
    """The inputs, in the order of `_start`'s arguments. Whom or what it learns is in the browser's view."""
    gr.HTML("<h1>Train</h1>", apply_default_css=False, elem_classes="lab-view")
    size = gr.Dropdown([(SIZES[name], name) for name in PRESETS], value="fry", label="Size", elem_id="train-size")
    place("character", personas=list_personas())
    with gr.Row(elem_id="train-budget"):
        amount = gr.Number(60, label="Budget", minimum=1, elem_id="train-amount", min_width=80)
        unit = gr.Radio(
            [SECONDS, STEPS], value=SECONDS, show_label=False, container=False, elem_id="train-unit", min_width=140
        )
    unit.change(None, unit, amount, js=f"(unit) => (unit === '{STEPS}' ? 400 : 60)", api_visibility="private")
    surgery = gr.CheckboxGroup(list(SURGERY.items()), label="Surgery", elem_id="train-surgery")
    more = gr.Textbox(
        label="More surgery, by name",
        placeholder="no-mlp:0,3, no-head:2.1",
        info="as on the command line: layers after a colon, heads as layer.head",
        elem_id="train-more",
    )
    seed = gr.Number(0, label="Seed", precision=0, minimum=0, elem_id="train-seed")
    with gr.Accordion("Advanced", open=False, elem_id="train-advanced"):
        context = gr.Number(128, label="Context, tokens", precision=0, minimum=8, elem_id="train-context")
        lr = gr.Number(
            0, label="Learning rate", info="0: what fits the size", step=0.0005, minimum=0, elem_id="train-lr"
        )
        batch = gr.Number(
            0, label="Batch, rows", info="0: what fits the size", precision=0, minimum=0, elem_id="train-batch"
        )
        rows = gr.Number(Order.rows, label="Conversations", precision=0, minimum=100, elem_id="train-rows")
    return [size, amount, unit, surgery, more, seed, context, lr, batch, rows]


def _start(
    view: dict[str, Any] | None,
    size: str,
    amount: float | None,
    unit: str,
    surgery: list[str],
    more: str,
    seed: float | None,
    context: float | None,
    lr: float | None,
    batch: float | None,
    rows: float | None,
) -> Iterator[dict[str, Any]]:
    """Start a run, tell the browser to look at it and, on a lent GPU, train it."""
    given = {"seed": seed, "context": context, "lr": lr or None, "batch": batch or None, "rows": rows}
    given["steps" if unit == STEPS else "seconds"] = amount
    names = ",".join(filter(None, [*surgery, more.strip().strip(",")]))

    def order() -> Order:
        empty = [name for name, value in given.items() if value is None and name not in ("lr", "batch")]
        if empty:
            raise GuppyError(f"Give a number for {empty[0]}.")
        return Order(size=size, surgery=names, **_learns(view), **given)

    yield from started(order, lambda order: [jobs().start(order)])


def _learns(view: dict[str, Any] | None) -> dict[str, str]:
    """Whom or what the browser chose: a persona that came with the lab, or an id of the shelf."""
    chosen = str((view or {}).get("character") or Order.persona)
    return {"data": chosen} if shelf.is_id(chosen) else {"persona": chosen}


def started(make: Callable[[], Order], start: Callable[[Order], list[str]]) -> Iterator[dict[str, Any]]:
    """Make an order, start it, and tell the browser what comes of it; where a GPU is lent, train it."""
    try:
        order = make()
        if not has_corpus(order):
            making = "Reading the file" if order.uploaded else f"Drawing {order.rows:,} conversations"
            yield tell(note=f"{making} first; that takes some seconds.")
        run_ids = start(order)
    except GuppyError as error:
        yield tell(error=str(error))
        return
    yield tell(run=run_ids[-1])
    try:
        for _ in jobs().drive(run_ids):
            yield gr.skip()
    except GuppyError as error:
        yield tell(error=str(error))


def _act(action: str, view: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Pause, resume, stop (now) or delete the run that the frame shows."""
    try:
        run_id = str((view or {}).get("run") or "")
        getattr(jobs(), action)(run_id)
    except GuppyError as error:
        yield tell(error=str(error))
        return
    yield tell()
    if action == "resume":
        try:
            for _ in jobs().drive([run_id]):
                yield gr.skip()
        except GuppyError as error:
            yield tell(error=str(error))
