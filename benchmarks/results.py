"""Where a benchmark's results go: a report for a person, JSON for a script, a page with curves."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from guppy.errors import GuppyError


def check_outputs(json_file: str | None, plot_file: Path | None) -> None:
    """Complain about a place that cannot be written before the work, not after it. Raises GuppyError."""
    if plot_file is not None and plot_file.suffix != ".html":
        raise GuppyError(f"the plot {plot_file} should end in .html")
    for path in (Path(json_file) if json_file not in (None, "-") else None, plot_file):
        if path is not None and (not path.parent.is_dir() or path.is_dir()):
            raise GuppyError(f"{path} cannot be written; choose a file in a folder that is there")


def give(document: dict[str, Any], report: str, json_file: str | None) -> None:
    """Print the report; with `json_file` "-" the document takes its place on stdout, else it goes to that file.

    Raises:
        GuppyError: the file cannot be written.
    """
    print(report, file=sys.stderr if json_file == "-" else sys.stdout)
    if json_file == "-":
        print(json.dumps(document))
    elif json_file is not None:
        try:
            Path(json_file).write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
        except OSError as error:
            raise GuppyError(f"{json_file} cannot be written ({error.strerror}); choose another place") from None
