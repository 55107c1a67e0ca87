"""New runs of old ones: a fork trains on from a checkpoint, a bundle is a light copy to give away."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

from guppy.budget import CheckpointPlan, Progress
from guppy.config import TrainConfig
from guppy.corpus import Corpus
from guppy.errors import GuppyError
from guppy.events import Checkpoint, TrainerState
from guppy.precision import DTYPES
from guppy.runs import files
from guppy.runs.read import Run, open_run
from guppy.runs.tensors import write_tensors
from guppy.runs.write import KeepTrainer, corpus_of, create_run, trainer_state
from guppy.surgery import Surgery

BUDGETS = ("steps", "tokens", "max_seconds")
# Settings on which the order of the data depends.
ORDER = ("seed", "batch_size")


def fork(
    run: str | Path | Run,
    step: int | None = None,
    *,
    out: str | Path,
    surgery: Surgery | None = None,
    corpus: Corpus | None = None,
    name: str = "",
    notes: str = "",
    threads: int | None = None,
    keep_trainer: KeepTrainer = "last",
    **changes: Any,
) -> Run:
    """Write a queued run that starts from a checkpoint of another; `train_run` trains it.

    A fork that changes nothing goes on exactly as its parent did, bit for bit, where the checkpoint kept its
    optimizer state. Otherwise:

    - a new budget (`steps`, `tokens` or `max_seconds` in `changes`) counts from the fork, with its own warm-up and
      decay; so does what is left of the parent's where the optimizer state was not kept and has to begin afresh;
    - another corpus, seed or batch size begins the data anew;
    - the optimizer's moments, where kept, are kept: surgery and data change what they average, which they forget
      within some hundred steps.

    Args:
        step: of the checkpoint; None: the last.
        surgery: instead of the parent's; None: the parent's.
        corpus: instead of the parent's; must use the parent's tokenizer.
        changes: settings of TrainConfig to change.

    Raises:
        GuppyError: no such checkpoint, another tokenizer, an unknown setting, or no budget left.
    """
    parent = open_run(run)
    step = parent.last_step if step is None else step
    weights = parent.weights(step)
    if corpus is not None and corpus.tokenizer.sha256 != parent.manifest["tokenizer_sha256"]:
        raise GuppyError("A fork keeps its parent's tokenizer; make the corpus with run.tokenizer.")
    config = _changed(parent.train_config, changes)
    state, kept = _state_at(parent, step)
    if _has_budget(changes) or not kept:
        if not _has_budget(changes):
            config = _rest(config, state)
        plan = CheckpointPlan(config.checkpoints)
        plan.take(0, 0.0)
        state = replace(state, start=state.progress, plan=plan.to_dict(), overhead_seconds=0.0)
    elif config.steps is not None and state.progress.step >= state.start.step + config.steps:
        raise GuppyError(f"Run {parent.id} has no steps left after {step}; say how many more with --steps.")
    corpus = corpus or corpus_of(parent)
    other_data = corpus.sha256 != parent.manifest["corpus"]["sha256"]
    if other_data or any(getattr(config, name) != getattr(parent.train_config, name) for name in ORDER):
        state = replace(state, sampler={})
    return create_run(
        out,
        model=parent.model_config,
        train=config,
        corpus=corpus,
        surgery=parent.surgery if surgery is None else surgery,
        device=parent.manifest["device"],
        threads=threads or parent.manifest.get("threads"),
        name=name,
        notes=notes,
        parent={"run": parent.id, "step": step},
        checkpoint=Checkpoint(step, weights, replace(state, measured=False)),
        keep_trainer=keep_trainer,
    )


def bundle(
    run: str | Path | Run,
    out: str | Path,
    steps: Sequence[int] | None = None,
    dtype: Literal["bfloat16", "float32"] = "bfloat16",
) -> Path:
    """A light copy of a run to give away: no optimizer state, weights of the chosen steps (None: all) in `dtype`.

    It opens like any run; it can be forked, but not resumed. Its curves, samples and scores are those of the weights
    before they were rounded. Returns `out`.

    Raises:
        GuppyError: a step is not there, or `out` exists.
    """
    run, out = open_run(run), Path(out)
    if out.exists():
        raise GuppyError(f"{out} exists already; choose another --out.")
    chosen = sorted(set(run.steps if steps is None else steps))
    weights = {step: run.weights(step) for step in chosen}
    if not chosen:
        raise GuppyError(f"Run {run.id} has no checkpoint to copy yet; wait for its first.")
    try:
        with files.whole_directory(out) as draft:
            for step, tensors in weights.items():
                path = files.step_path(draft, step)
                path.mkdir(parents=True)
                write_tensors(path / files.WEIGHTS, {name: t.to(DTYPES[dtype]) for name, t in tensors.items()})
            for name in (files.TOKENIZER, files.METRICS, files.SAMPLES, files.SCORES):
                if (run.path / name).exists():
                    shutil.copyfile(run.path / name, draft / name)
            files.write_json(draft / files.MANIFEST, run.manifest | {"id": out.name, "weights_dtype": dtype})
    except OSError as error:
        raise files.disk_error(error, out) from error
    return out


def _changed(config: TrainConfig, changes: dict[str, Any]) -> TrainConfig:
    if _has_budget(changes):
        changes = dict.fromkeys(BUDGETS) | changes
    return TrainConfig.from_dict(config.to_dict() | changes)


def _has_budget(changes: dict[str, Any]) -> bool:
    return any(changes.get(name) is not None for name in BUDGETS)


def _state_at(run: Run, step: int) -> tuple[TrainerState, bool]:
    """How to go on from a checkpoint, and whether the optimizer's moments were kept there."""
    folder = run.step_path(step)
    if (folder / files.TRAINER_TENSORS).exists():
        return trainer_state(run, step), True
    if (folder / files.TRAINER).exists():
        return TrainerState.from_dict(files.read_json(folder / files.TRAINER, "copy the run again"), {}), False
    at = {"tokens": 0, "seconds": 0.0}
    for row in files.read_rows(run.path / files.METRICS)[0]:
        if row.get("kind") == "step" and row["step"] <= step:
            at = {"tokens": row["tokens"], "seconds": row["seconds"]}
    return TrainerState(progress=Progress(step, **at)), False


def _rest(config: TrainConfig, state: TrainerState) -> TrainConfig:
    """What is left of a budget. Raises GuppyError when nothing is."""
    done = Progress(
        state.progress.step - state.start.step,
        state.progress.tokens - state.start.tokens,
        state.progress.seconds - state.start.seconds,
    )
    left = {"steps": done.step, "tokens": done.tokens, "max_seconds": done.seconds}
    rest = {name: getattr(config, name) - used for name, used in left.items() if getattr(config, name) is not None}
    if min(rest.values()) <= 0:
        raise GuppyError("The parent's budget is used up there; say how much further with --steps or --max-seconds.")
    return config.with_changes(**rest)
