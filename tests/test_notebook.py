"""The Colab notebook's own cells, run as they stand with a smaller model and less time."""

from __future__ import annotations

from pathlib import Path

import nbformat
from nbclient import NotebookClient

ROOT = Path(__file__).parents[1]


def test_every_code_cell_runs(tmp_path, monkeypatch):
    monkeypatch.setenv("GRADIO_ANALYTICS_ENABLED", "False")
    monkeypatch.setenv("GUPPY_CHECKPOINTS", str(tmp_path))
    notebook = nbformat.read(ROOT / "notebooks" / "guppy_lab.ipynb", as_version=4)
    nbformat.validate(notebook)
    settings = next(cell for cell in notebook.cells if "parameters" in cell.metadata.get("tags", []))
    settings.source = "\n".join(
        [
            "SIZE, PERSONA, SECONDS, ROWS = 'fry', 'guppy', 20, 2000",
            f"RUN = __import__('pathlib').Path({str(tmp_path)!r}) / 'nb'",
        ]
    )
    NotebookClient(notebook, timeout=120, resources={"metadata": {"path": str(ROOT)}}).execute()

    printed = ["".join(out.get("text", "") for out in cell.get("outputs", [])) for cell in notebook.cells]
    assert any("conversations to train on" in text for text in printed)
    assert any("finished" in text for text in printed)
    assert (tmp_path / "nb" / "run.json").exists()
    figures = [
        out
        for cell in notebook.cells
        for out in cell.get("outputs", [])
        if "application/vnd.plotly.v1+json" in out.get("data", {})
    ]
    assert len(figures) >= 2
