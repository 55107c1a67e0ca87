"""What a step of training was made of: the very batch, and what the model expected of each token before and after."""

from __future__ import annotations

from bisect import bisect_left
from dataclasses import dataclass
from itertools import pairwise

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int64
from torch import Tensor

from guppy.batches import IGNORE, Batch, BatchSampler
from guppy.errors import GuppyError
from guppy.inspect.asking import Option, Question, Subject
from guppy.model import Guppy
from guppy.runs import Run, corpus_of, files

NEAR = 4
"""Logged steps before and after one, whose batches are held against what the run wrote down."""
MEND = "a step can only be retraced in a run that was trained here"


@dataclass(frozen=True)
class Meal:
    """A batch, and the model at the checkpoints around the step that it made."""

    made: int
    """The number of updates after this batch's own."""
    before_step: int
    after_step: int
    """The nearest checkpoints: the difference is the step's alone only where they are one apart."""
    ids: Int64[Tensor, "row pos"]
    """The rows' tokens; -1 after a row's end."""
    before: Float[Tensor, "row pos"]
    """Nats that each token cost the model at `before_step`, given those before it in its row; NaN for a row's first
    token and after its end."""
    after: Float[Tensor, "row pos"]
    """The same at `after_step`."""
    tokens: list[list[str]]
    """The tokens as text, row by row."""


def batch_at(run: Run, made: int) -> Batch:
    """The batch of the step that brought a run to `made` updates.

    Raises GuppyError when there is no such step, or when how the data lay before it is not known any more: batches
    near it then are not as long as the run wrote down."""
    first = 1 + (run.parent["step"] if run.parent else 0)
    if not first <= made <= run.last_step:
        raise GuppyError(f"Run {run.id} has learned in steps {first} to {run.last_step}, not in step {made}.")
    corpus, config = corpus_of(run), run.train_config.for_model(run.model_config)
    if corpus.sha256 != run.manifest["corpus"]["sha256"]:
        raise GuppyError(f"The data of run {run.id} have changed since it was trained, so its batches are gone.")
    seed, offset = _sampler(run)
    pad, n_ctx = corpus.tokenizer.pad_id, run.model_config.n_ctx
    sampler = BatchSampler(corpus.train, config.batch_size, n_ctx, pad, seed)
    points = _counted(run, made)
    begin, end = min(made - 1, *points), max(made, *points)
    sampler.load_state({"seed": seed, "cursor": begin + offset})
    batches = {step: sampler.next() for step in range(begin + 1, end + 1)}
    for before, after in pairwise(points):
        if sum(batches[step].n_tokens for step in range(before + 1, after + 1)) != points[after] - points[before]:
            raise GuppyError(
                f"Run {run.id} was trained when batches came in another order, so the batch of step {made} is not "
                "known any more; train such a run again to see its batches."
            )
    return batches[made]


def meal(run: Run, made: int) -> Meal:
    """The batch of a step and its tokens' losses around it. Raises GuppyError as `batch_at`."""
    batch = batch_at(run, made)
    before = max(step for step in run.steps if step < made) if run.steps[0] < made else run.steps[0]
    after = min(step for step in run.steps if step >= made)
    inside = batch.packing.inside
    rows = torch.full((len(inside), inside.shape[1] + 1), -1, dtype=torch.int64)
    rows[:, :-1][inside] = batch.ids[inside]
    rows[:, 1:][inside] = batch.targets[inside]
    tokens = [run.tokenizer.token_strings([i for i in row if i >= 0]) for row in rows.tolist()]
    losses = {step: _losses(run.model(step), batch) for step in {before, after}}
    return Meal(made, before, after, rows, losses[before], losses[after], tokens)


@torch.no_grad()
def _losses(model: Guppy, batch: Batch) -> Float[Tensor, "row pos"]:
    packing = batch.packing
    targets = packing.pack(batch.targets)[0]
    logits = model(batch.ids, packing=packing)[0].float()
    losses = packing.unpack(F.cross_entropy(logits, targets, ignore_index=IGNORE, reduction="none")[None])
    nothing = torch.full((len(losses), 1), torch.nan)
    return torch.cat([nothing, losses.masked_fill(batch.targets == IGNORE, torch.nan)], 1)


def _sampler(run: Run) -> tuple[int, int]:
    """The seed of the data's order, and how far it was ahead of the steps (forks go on where their parent was)."""
    for step in reversed(run.steps):
        path = run.step_path(step) / files.TRAINER
        if path.exists() and (state := files.read_json(path, MEND).get("sampler")):
            return int(state["seed"]), int(state["cursor"]) - step
    if run.manifest.get("parent"):
        raise GuppyError(f"How the data lay before the steps of {run.id} was not kept; {MEND}.")
    return run.train_config.seed, 0


def _counted(run: Run, made: int) -> dict[int, int]:
    """How many tokens the run had learned from, at the steps around `made` where it wrote that down."""
    metrics, begin = run.metrics, run.parent["step"] if run.parent else 0
    counted = {} if run.parent else {0: 0}
    if "tokens" in metrics:
        logged = metrics[(metrics["kind"] == "step") & (metrics["step"] > begin)]
        counted |= dict(zip(logged["step"].astype(int), logged["tokens"].astype(int), strict=True))
    steps = sorted(counted)
    here = bisect_left(steps, made)
    return {step: counted[step] for step in steps[max(0, here - NEAR) : here + NEAR]}


def _ask(subject: Subject, made: int) -> Meal:
    return meal(subject.run, subject.step if made < 0 else made)


QUESTIONS = (
    Question(
        "eaten",
        "The batch that a step learned from, and what each of its tokens cost before and after.",
        _ask,
        options=(Option("made", int, -1, "The step, counted from 1; -1: the one that made the checkpoint."),),
        prompt=False,
        whole=True,
    ),
)
