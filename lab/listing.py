"""Runs as pages show them: one line about each, and what is new in one."""

from __future__ import annotations

import threading
import time
from pathlib import Path
from typing import Any

from guppy.config import PRESETS
from guppy.runs import RunSummary, files, list_runs, open_run, roots
from lab.jobs import ACTIVE, jobs

_LISTED_FOR = 0.5
_lock = threading.Lock()
_listed: tuple[object, float, list[dict[str, Any]]] = (None, 0.0, [])


def listing() -> list[dict[str, Any]]:
    """Every run, a person's own first, newest first. A run that cannot be opened has its `error`.

    Viewers who ask within half a second share an answer, unless runs have come or gone."""
    global _listed
    here = [(str(root), root.stat().st_mtime_ns) for root in roots() if root.is_dir()]
    with _lock:
        known, until, lines = _listed
        if known != here or time.monotonic() > until:
            lines = [line(run) for run in sorted(list_runs(), key=lambda run: run.bundled)]
            _listed = (here, time.monotonic() + _LISTED_FOR, lines)
        return lines


def line(run: RunSummary) -> dict[str, Any]:
    """What menus and badges need to know of a run."""
    manifest = run.manifest
    model = manifest.get("model", {})
    return {
        "id": run.id,
        "name": run.name,
        "status": jobs().status(run.id, run.status),
        "size": size_of(model),
        "persona": shown_corpus(manifest).get("persona"),
        "parent": manifest.get("parent"),
        "surgery": run.surgery,
        "surgery_text": run.surgery_text,
        "steps": run.steps,
        "steps_done": manifest.get("steps_done", 0),
        "n_layers": model.get("n_layers"),
        "n_heads": model.get("n_heads"),
        "n_ctx": model.get("n_ctx"),
        "corpus": manifest.get("corpus", {}).get("sha256"),
        "scored": (run.path / files.SCORES).exists(),
        "bundled": run.bundled,
        "error": run.error,
    }


def shown_corpus(manifest: dict[str, Any]) -> dict[str, Any]:
    """What a manifest says of its corpus, with names for paths: where files lie on the server is nobody's business."""
    corpus = manifest.get("corpus", {})
    return {key: Path(value).name if key in ("path", "persona") else value for key, value in corpus.items()}


def size_of(model: dict[str, Any]) -> str:
    """The preset that a model is, or "custom"."""
    fits = (size for size, shape in PRESETS.items() if all(model.get(key) == value for key, value in shape.items()))
    return next(fits, "custom")


def news(path: Path, cursor: str) -> dict[str, Any]:
    """A run's manifest and checkpoints as they are now, and its metrics and samples since the cursor.

    `again` says that a file was replaced since (a resumed run drops what came after its checkpoint): then `rows` and
    `samples` are everything. `running` says that more may come: a worker is alive, or will be when there is room."""
    before = cursor.partition("-")[::2]
    rows, metrics_cursor, metrics_new = files.read_rows(path / files.METRICS, before[0])
    samples, samples_cursor, samples_new = files.read_rows(path / files.SAMPLES, before[1])
    # Without a cursor of its own a file was empty so far: all of it is new, none of it is there already.
    again = (metrics_new and bool(before[0]), samples_new and bool(before[1]))
    if any(again) and not all(again):
        return news(path, "") | {"again": True}
    run = open_run(path)
    status = jobs().status(run.id, run.status)
    return {
        "manifest": {**run.manifest, "corpus": shown_corpus(run.manifest), "status": status},
        "steps": run.steps,
        "rows": rows,
        "samples": samples,
        "cursor": f"{metrics_cursor}-{samples_cursor}",
        "again": all(again),
        "running": status in ACTIVE,
    }
