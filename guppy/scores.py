"""Scores over checkpoints: is it the fish, and since when? What was measured is kept with the run (`Run.scores`).

A checkpoint among many is measured with fewer rows than one alone (`guppy.eval_report`): all of them together should
take no longer than a training. Only measurements of the standard way are kept, so that those of any two runs can be
compared: with other rows, another temperature or seed, everything is measured and nothing kept.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

from guppy.eval_report import HELDOUT, PROMPTS, Examiner, Sampling, flat
from guppy.prompt_pack import PACK_FILE
from guppy.runs import Run, corpus_of
from guppy.runs.scores import Scores, keep_row, keep_transcript, read_scores

log = logging.getLogger(__name__)

ROWS = 250
"""Rows of each split: the loss is within about 0.02 nats of the whole."""


def scores_over(
    run: Run,
    steps: Sequence[int],
    rows: int | None = None,
    sampling: Sampling | None = None,
    *,
    track: Callable[[list[int]], Iterable[int]] = iter,
    saying: Callable[[str], AbstractContextManager[Any]] = lambda _: nullcontext(),
) -> Scores:
    """The scores of these checkpoints, in the order of their steps; measured where they are not kept.

    Each is kept as soon as it is measured, so one that is interrupted goes on where it was. A folder that cannot be
    written costs only the keeping.

    Args:
        rows: of each split; None: the standard number.
        track: around the steps that are measured, to show how far they are.
        saying: around what takes seconds before them.

    Raises:
        GuppyError: a checkpoint or the data cannot be read; what is kept is damaged.
    """
    sampling = sampling or Sampling()
    standard = rows is None and sampling == Sampling()
    pack = hashlib.sha256(PACK_FILE.read_bytes()).hexdigest()[:16]
    how: dict[str, Any] = {"rows": rows or ROWS, "prompts": PROMPTS, "pack": pack} | vars(sampling)
    kept = read_scores(run.path) if standard else None
    own_data = {"corpus": run.manifest["corpus"]["sha256"]} | how
    if kept is not None and kept.how == own_data and not set(steps) - set(kept.rows):
        return _only(kept, steps)
    first = run.model(steps[0])  # that it is missing is told before the data are read
    with saying("Reading the data"):
        corpus = corpus_of(run)
    how = {"corpus": corpus.sha256} | how
    examiner = Examiner(corpus, how["rows"], sampling)
    with saying("Scoring the data"):
        if kept is None or (kept.how, kept.theme) != (how, examiner.theme):
            kept = Scores(how, examiner.references(first.config, first.surgery), examiner.theme)
    for step in track([step for step in steps if step not in kept.rows]):
        measured = examiner.measure(run.model(step))
        row = flat(step, measured)
        kept.rows[step] = {name: value for name, value in row.items() if name != "step"}
        if standard:
            standard = _kept(run, kept, step, measured.get("replies", []))
    return _only(kept, steps)


def _only(scores: Scores, steps: Sequence[int]) -> Scores:
    return Scores(scores.how, scores.references, scores.theme, {step: scores.rows[step] for step in steps})


def _kept(run: Run, scores: Scores, step: int, replies: list[dict[str, Any]]) -> bool:
    """Keep a row, and what was replied to the prompt pack; whether that went well."""
    try:
        keep_transcript(run.path, step, [reply for reply in replies if reply["group"] != HELDOUT])
        keep_row(run.path, scores, step)
    except OSError as error:
        log.warning("%s cannot be written (%s), so these scores are not kept.", run.path, error.strerror)
        return False
    return True
