"""What was measured of a run's checkpoints, kept beside them (`scores.json`). Knows no torch, and not how to measure.

Rows that were measured differently cannot be compared, so a file holds one way of measuring: `how` names the data and
the settings, `theme` what counts as obsession, and a row measured in another way begins the file anew.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from guppy.errors import GuppyError
from guppy.runs import files

FORMAT = 1
Row = dict[str, float | None]


@dataclass
class Scores:
    """Scores of some checkpoints of a run.

    Attributes:
        how: what two rows must share to be compared: the corpus's hash, how many rows and prompts, the sampling.
        references: what to hold the scores against: one row each `of` the training replies, held-out replies and an
            untrained model.
        theme: the words that count as obsession.
        rows: by step, a number for each thing measured (None where there is none).
    """

    how: dict[str, Any]
    references: list[dict[str, Any]] = field(default_factory=list)
    theme: list[str] = field(default_factory=list)
    rows: dict[int, Row] = field(default_factory=dict)

    def table(self) -> list[dict[str, Any]]:
        """The rows in the order of their steps, each with its `step`."""
        return [{"step": step} | self.rows[step] for step in sorted(self.rows)]


def read_scores(run: Path) -> Scores | None:
    """The scores in a run's directory, None if it has none. Raises GuppyError when they are damaged or newer."""
    path = run / files.SCORES
    if not path.exists():
        return None
    mend = "delete it, and `python -m guppy eval --steps all` measures again"
    told = files.read_json(path, mend)
    if not isinstance(told.get("format"), int) or told["format"] > FORMAT:
        raise GuppyError(f"{path} is of format {told.get('format')}; this guppy reads up to {FORMAT}, so {mend}.")
    try:
        rows = {int(row.pop("step")): row for row in told["table"]}
        scores = Scores(told["how"], told["references"], told["theme"], rows)
        kinds = (scores.how, dict), (scores.references, list), (scores.theme, list)
        numbers = all(
            value is None or isinstance(value, int | float) for row in rows.values() for value in row.values()
        )
    except (AttributeError, KeyError, TypeError, ValueError):
        raise GuppyError(f"{path} is damaged; {mend}.") from None
    if not numbers or not all(isinstance(value, kind) for value, kind in kinds):
        raise GuppyError(f"{path} is damaged; {mend}.")
    return scores


def write_scores(run: Path, scores: Scores) -> None:
    """Replace a run's scores. Raises OSError."""
    told = {"format": FORMAT} | {key: value for key, value in asdict(scores).items() if key != "rows"}
    files.write_json(run / files.SCORES, told | {"table": scores.table()})


def keep_row(run: Path, measured: Scores, step: int) -> None:
    """Write one of the measured rows to a run's directory, beside those that others put there meanwhile.

    A number that JSON does not have, as of a model that diverged, becomes None. Raises OSError.
    """
    try:
        kept = read_scores(run)
    except GuppyError:  # damaged ones are of no use to anybody
        kept = None
    if kept is None or (kept.how, kept.theme) != (measured.how, measured.theme):
        kept = Scores(measured.how, [_finite(each) for each in measured.references], measured.theme)
    kept.rows[step] = _finite(measured.rows[step])
    write_scores(run, kept)


def keep_transcript(run: Path, step: int, replies: Sequence[dict[str, Any]]) -> None:
    """Add to a run's samples what it replied to the prompt pack: each with its `group`, the `kind` of reply and how
    many `strange` sentences it has. Those of an earlier measurement stay; the later ones count. Raises OSError."""
    keys = ("prompt", "group", "kind", "strange")
    rows = [{"step": step, "text": reply["reply"]} | {key: reply[key] for key in keys} for reply in replies]
    # Appended in one write, because a worker may be appending its own.
    with (run / files.SAMPLES).open("ab") as file:
        file.write(b"".join(map(files.row_bytes, rows)))


def drop_scores(run: Path, last_step: int) -> None:
    """Forget the checkpoints after a step: training goes on from it, to others."""
    try:
        kept = read_scores(run)
    except GuppyError:
        return (run / files.SCORES).unlink(missing_ok=True)
    if kept is not None and any(step > last_step for step in kept.rows):
        kept.rows = {step: row for step, row in kept.rows.items() if step <= last_step}
        write_scores(run, kept)


def _finite(row: dict[str, Any]) -> dict[str, Any]:
    return {key: None if isinstance(value, float) and not math.isfinite(value) else value for key, value in row.items()}
