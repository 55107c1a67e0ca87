"""The lab's pages put together: navigation, frame, theme. No computation."""

from __future__ import annotations

import importlib
from typing import Any
from urllib.parse import parse_qsl, urlencode

import gradio as gr
from starlette.middleware import Middleware
from starlette.types import ASGIApp, Receive, Scope, Send

from lab import api
from lab.components import HERE, PAGES, head
from lab.components.frame import frame, sidebar
from lab.theme import LabTheme


def build_lab() -> gr.Blocks:
    """The whole lab. All pages are on it at once; the browser shows one of them, so changing page asks nobody."""
    with gr.Blocks(title="Guppy Lab", fill_width=True, analytics_enabled=False, delete_cache=(3600, 3600)) as demo:
        view = gr.JSON(visible=False)
        with gr.Column(elem_id="lab"):
            sidebar()
            with gr.Column(elem_id="lab-main"):
                frame()
                for name in PAGES:
                    with gr.Column(elem_id=f"page-{name}", elem_classes="page"):
                        importlib.import_module(f"lab.pages.{name}").build(view)
    return demo


def launch_options() -> dict[str, Any]:
    """What `launch()` needs for the lab to look and answer as it should."""
    return {
        "theme": LabTheme(),
        "head": head(),
        "favicon_path": str(HERE / "icon.svg"),
        "footer_links": [],
        "run_history": False,
        "ssr_mode": False,
        "show_error": False,
        "max_file_size": "1mb",
        "app_kwargs": {"routes": api.ROUTES, "middleware": [Middleware(PageStaysInBrowser)]},
    }


class PageStaysInBrowser:
    """Takes `page` out of the query before Gradio sees it.

    The lab's address names its page there; Gradio would look for a page of its own multi-page apps and fail.
    """

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and scope["path"] == "/" and b"page=" in scope["query_string"]:
            query = parse_qsl(scope["query_string"].decode("latin-1"), keep_blank_values=True)
            kept = urlencode([(key, value) for key, value in query if key != "page"])
            scope = {**scope, "query_string": kept.encode("latin-1")}
        await self.app(scope, receive, send)
