"""What moves with the hand: views drawn in the browser, each a .js and .css with a Python face beside it.

Every .js and .css file of this folder is loaded once, in the page's <head>: `core.js` and `base.css` first, then the
others by name, then those of the folders beside them. A script registers its view with
`lab.component("name", (element, options) => …)`; `view("name", …)` puts one on a page.
"""

from __future__ import annotations

import json
from pathlib import Path

import gradio as gr

from lab.theme import palette_css

HERE = Path(__file__).parent
PAGES: dict[str, tuple[str, str]] = {
    "train": ("Train", "Learn it"),
    "talk": ("Talk", "Learn it"),
    "attention": ("Attention", "Look inside"),
    "layers": ("Layers", "Look inside"),
    "neurons": ("Neurons", "Look inside"),
    "weights": ("Weights", "Look inside"),
    "anatomy": ("Anatomy", "Look inside"),
    "sampling": ("Sampling", "Look inside"),
    "dynamics": ("Dynamics", "Look inside"),
    "cause": ("Cause", "Change it"),
    "mask": ("Mask", "Change it"),
    "learning": ("Learning", "Change it"),
    "data": ("Data", "Around it"),
    "scores": ("Character", "Around it"),
    "machine": ("Machine", "Around it"),
}
"""The pages: name in the address, title, and the heading under which it stands in the sidebar. Headings, and the pages
of each, are in the order a newcomer meets them."""
DEFAULT_PAGE = "attention"
DEFAULT_PROMPT = "are you hungry?"
DEFAULT_CHARACTER = "guppy"


def view(name: str, *, elem_id: str | None = None, **options: object) -> gr.HTML:
    """A place on the page for the component `name`; `options` (JSON) are handed to its script."""
    return gr.HTML(
        html_template=f'<div class="lab-{name}"></div>',
        js_on_load=f"(window.labMounts ||= []).push([{json.dumps(name)}, element, {json.dumps(options)}]);"
        "window.lab?.mountAll();",
        apply_default_css=False,
        elem_id=elem_id,
        elem_classes="lab-view",
    )


def head() -> str:
    """Everything for the page's <head>: icon, palette, style sheets, settings, scripts."""
    icon = (HERE / "icon.svg").read_text(encoding="utf-8")
    config = {
        "pages": list(PAGES),
        "titles": {name: title for name, (title, _) in PAGES.items()},
        "groups": _groups(),
        "page": DEFAULT_PAGE,
        "prompt": DEFAULT_PROMPT,
        "character": DEFAULT_CHARACTER,
        "icon": icon,
    }
    shown = ",".join(f'body[data-page="{name}"] #page-{name}' for name in PAGES)
    style = "\n".join([palette_css(), *_sources("css", first="base"), f"{shown}{{display:flex !important}}"])
    scripts = [
        f"window.labConfig = {_in_script(json.dumps(config))};",
        *_sources("js", first="core"),
        "window.lab.start();",
    ]
    return "\n".join([f"<style>{style}</style>", *(f"<script>{text}</script>" for text in scripts)])


def _groups() -> list[tuple[str, list[str]]]:
    """The sidebar: each heading with its pages."""
    headings = dict.fromkeys(heading for _, heading in PAGES.values())
    return [(heading, [name for name, page in PAGES.items() if page[1] == heading]) for heading in headings]


def _sources(suffix: str, first: str) -> list[str]:
    # Folders follow the files that serve all pages, and the kit, which serves many, goes before the others. In a folder
    # what its files share goes first: it has the folder's name, or is its `view`.
    def order(path: Path) -> tuple[bool, int, bool, Path, bool, Path]:
        folder = path.parent
        return (
            path.stem != first,
            len(path.parts),
            folder.name != "kit",
            folder,
            path.stem not in (folder.name, "view"),
            path,
        )

    paths = sorted(HERE.rglob(f"*.{suffix}"), key=order)
    return [path.read_text(encoding="utf-8") for path in paths]


def _in_script(text: str) -> str:
    return text.replace("</", "<\\/")
