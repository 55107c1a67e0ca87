"""Talk: a conversation with the run at the time bar's step, and one prompt answered by every step."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import gradio as gr

from guppy.errors import GuppyError
from lab import models
from lab.components import view as place
from lab.components.chat import chat
from lab.components.told import tell, teller

PERIOD = 0.05
"""Seconds between what is streamed: a browser cannot show more, and each costs a message."""
LONGEST_TURN = 4000
MOST_TURNS = 100
# What the browser remembers of the sampling settings, as the address of lab/replies wants them.
SETTINGS_JS = """(temperature, top_k, top_p, seed) => lab.set({sampling: JSON.stringify({
    temperature: temperature ?? 0, ...(top_k > 0 && {top_k}), ...(top_p < 1 && {top_p}), seed: seed ?? 0})})"""


def build(view: gr.JSON) -> None:
    """Lay the page out: settings on the left, the conversation on the right, every checkpoint's reply below."""
    told = teller()
    gr.HTML("<h1>Talk</h1>", apply_default_css=False, elem_classes="lab-view")
    with gr.Row(elem_id="talk"):
        with gr.Column(elem_id="talk-settings"):
            settings = _settings()
            whole = gr.Checkbox(
                True,
                label="Read the whole conversation",
                info="It learned from single exchanges. Off: it reads your last message only.",
                elem_id="talk-whole",
            )
        with gr.Column(elem_id="talk-chat"):
            turns = chat()
            with gr.Row(elem_id="talk-say-row"):
                say = gr.Textbox(
                    show_label=False,
                    placeholder="Say something",
                    elem_id="talk-say",
                    max_length=LONGEST_TURN,
                    max_lines=4,
                    container=False,
                    scale=1,
                )
                send = gr.Button("Send", variant="primary", elem_id="talk-send", scale=0, min_width=88)
                new = gr.Button("New conversation", elem_id="talk-new", scale=0, min_width=150)
    place("replies")
    private = {"api_visibility": "private", "show_progress": "hidden"}
    with_view = "(view, ...rest) => [lab.snapshot(), ...rest]"
    speaking = gr.on(
        [send.click, say.submit],
        _speak,
        [view, turns, say, whole, *settings],
        [turns, say, told],
        js=with_view,
        concurrency_limit=None,
        trigger_mode="once",
        **private,
    )
    # In the browser at once: what the server emptied later could be the next thing that is typed.
    new.click(None, None, [turns, say], js="() => [[], '']", **private)
    new.click(None, None, None, cancels=[speaking], queue=False, **private)
    for setting in settings:
        setting.change(None, settings, None, js=SETTINGS_JS, **private)


def _settings() -> list[gr.components.Component]:
    """Temperature, top-k, top-p, seed."""
    return [
        gr.Slider(0, 2, 0, step=0.05, label="Temperature", info="0 is greedy", elem_id="talk-temperature"),
        gr.Slider(0, 100, 0, step=1, label="Top-k", info="0 keeps every token", elem_id="talk-top-k"),
        gr.Slider(0.05, 1, 1, step=0.05, label="Top-p", info="1 keeps every token", elem_id="talk-top-p"),
        gr.Number(0, label="Seed", precision=0, minimum=0, elem_id="talk-seed"),
    ]


def _speak(
    view: dict[str, Any] | None,
    turns: list[dict[str, Any]] | None,
    text: str,
    whole: bool,
    temperature: float,
    top_k: float,
    top_p: float,
    seed: float | None,
) -> Iterator[tuple[Any, Any, Any]]:
    """Add what was said and stream the reply: (turns, the emptied box, what to tell)."""
    said = (text or "").strip()
    if not said:
        yield gr.skip(), gr.skip(), tell(error="Type something to say first.")
        return
    try:
        run_id, step = str((view or {}).get("run") or ""), (view or {}).get("step")
        history = [*_history(turns), {"role": "user", "text": said[:LONGEST_TURN]}]
        sampling = {"temperature": temperature, "top_k": int(top_k) or None, "top_p": top_p, "seed": int(seed or 0)}
        run = models.get_run(run_id)
        step = run.last_step if step is None else int(step)
        answer = {"role": "assistant", "text": "", "run": run.id, "step": step, "note": "", "live": True}
        shown = 0.0
        read = [(turn["role"], turn["text"]) for turn in (history if whole else history[-1:])]
        for piece in models.converse(run, step, read, **sampling):
            answer |= {"text": answer["text"] + piece.text, "note": piece.note}
            if time.monotonic() - shown >= PERIOD:
                shown = time.monotonic()
                yield [*history, answer], "", gr.skip()
        yield [*history, answer | {"live": False}], "", gr.skip()
    except (GuppyError, ValueError) as error:
        yield gr.skip(), gr.skip(), tell(error=str(error))


def _history(turns: list[dict[str, Any]] | None) -> list[dict[str, Any]]:
    """The turns so far as the browser sent them, with nothing in them that this page did not put there."""
    known = []
    for turn in (turns or [])[-MOST_TURNS:]:
        if not isinstance(turn, dict) or turn.get("role") not in ("user", "assistant"):
            raise GuppyError("This conversation cannot be read; start a new one.")
        fields = {"text": str(turn.get("text", ""))[:LONGEST_TURN]}
        if turn["role"] == "assistant":
            fields |= {
                "run": str(turn.get("run", "")),
                "step": int(turn.get("step") or 0),
                "note": str(turn.get("note", "")),
            }
        known.append({"role": turn["role"], **fields})
    return known
