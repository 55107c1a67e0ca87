"""README's examples of looking inside run as they stand, and its table of questions is the registry's."""

from __future__ import annotations

import re
import runpy
from pathlib import Path

import plotly.graph_objects as go
import pytest

from guppy.inspect import questions

README = Path("README.md").read_text(encoding="utf-8")


def blocks() -> list[str]:
    section = README.split("## From Python")[1].split("\n## ")[0]
    return re.findall(r"```python\n(.*?)```", section, flags=re.DOTALL)


def test_the_examples_run(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    shown: list[go.Figure] = []
    monkeypatch.setattr(go.Figure, "show", lambda figure: shown.append(figure))
    script = tmp_path / "readme.py"
    script.write_text("\n".join(blocks()), encoding="utf-8")
    names = runpy.run_path(str(script))
    assert names["logits"].shape[-1] == names["model"].config.vocab_size
    assert shown and all(len(figure.data) for figure in shown)


def test_every_question_is_in_the_table() -> None:
    listed = dict(re.findall(r"^\| `([a-z-]+)` \| (.+?) \|$", README, flags=re.MULTILINE))
    told = {name: questions.question(name).about.rstrip(".") for name in questions.names()}
    assert {name: about for name, about in listed.items() if name in told} == told, "\n".join(
        f"| `{name}` | {about} |" for name, about in told.items()
    )
