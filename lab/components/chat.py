"""A conversation, streamed by Python and drawn by chat.js."""

from __future__ import annotations

import gradio as gr


def chat() -> gr.HTML:
    """Its value is the list of turns {role, text, run, step, note, live}, shown as text, never as markup."""
    return gr.HTML(
        value=[],
        html_template='<div class="lab-chat"></div>',
        js_on_load="""
        (window.labMounts ||= []).push(["chat", element, {}]);
        window.lab?.mountAll();
        watch("value", () => element.querySelector(".lab-chat").show(props.value));
        """,
        apply_default_css=False,
        elem_id="talk-turns",
        elem_classes="lab-view",
    )
