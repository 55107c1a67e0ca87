"""The way of a run through weight space: its checkpoints on their two principal axes, and the loss around the end."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from guppy.batches import heldout_batches
from guppy.errors import GuppyError
from guppy.evaluate import HELDOUT_BATCH, heldout_loss
from guppy.inspect.asking import Option, Question, Subject
from guppy.runs import Run, corpus_of

SPAN = 0.25
"""How far the slice reaches beyond the checkpoints, as a share of their extent."""


@dataclass(frozen=True)
class WeightPath:
    """A run's checkpoints as points. All weights count alike, biases and gains included."""

    steps: list[int]
    xy: Float[Tensor, "step 2"]
    """Coordinates on the two axes along which the checkpoints differ most (Lorch 2016), in the weights' own units."""
    explained: Float[Tensor, 2]
    """Share of the checkpoints' variance that lies along each axis."""
    norm: Float[Tensor, " step"]
    """Euclidean norm of all weights."""
    distance: Float[Tensor, "step step"]
    """Euclidean distance between checkpoints."""
    cosine: Float[Tensor, "step step"]
    """Cosine between the weights of two checkpoints."""


@dataclass(frozen=True)
class LossSlice:
    """Held-out loss on the plane of the two principal axes (Li et al. 2018, section 7), on a grid of weights that no
    step of training ever had."""

    x: Float[Tensor, " column"]
    y: Float[Tensor, " row"]
    loss: Float[Tensor, "row column"]
    """Nats per token."""
    rows: int
    """Held-out rows that each point is scored on."""


def weight_path(run: Run) -> WeightPath:
    """Where the checkpoints lie. Raises GuppyError when there are fewer than two, or one cannot be read."""
    steps = _enough(run)
    gram = _gram(run, steps)
    xy, explained, _ = _axes(gram)
    squares = gram.diagonal()
    norm = squares.sqrt()
    distance = (squares[:, None] + squares - 2 * gram).clamp(min=0).sqrt()
    cosine = gram / (norm[:, None] * norm).clamp(min=1e-30)
    return WeightPath(steps, xy.float(), explained.float(), norm.float(), distance.float(), cosine.float())


def loss_slice(
    run: Run, points: int = 11, rows: int = 64, progress: Callable[[int, int], None] | None = None
) -> LossSlice:
    """The loss at points x points places around the path.

    Raises GuppyError when there are fewer than two checkpoints or when the corpus cannot be made again."""
    if not 3 <= points <= 41:
        raise GuppyError(f"A slice has 3 to 41 points a side, not {points}.")
    steps = _enough(run)
    xy, _, mixes = _axes(_gram(run, steps))
    x, y = (_ticks(along, points) for along in xy.unbind(1))
    corpus, model = corpus_of(run), run.model(steps[-1])
    batches = heldout_batches(corpus.heldout, HELDOUT_BATCH, model.config.n_ctx, corpus.tokenizer.pad_id, rows)
    checkpoints = [run.weights(step) for step in steps]
    loss = torch.empty(points, points)
    with torch.no_grad():
        for done, (row, column) in enumerate(torch.cartesian_prod(torch.arange(points), torch.arange(points)).tolist()):
            shares = (1 / len(steps) + mixes @ torch.stack([x[column], y[row]])).float()
            for name, parameter in model.named_parameters():
                parameter.copy_(sum(share * each[name] for share, each in zip(shares, checkpoints, strict=True)))
            loss[row, column] = heldout_loss(model, batches)
            if progress:
                progress(done + 1, points * points)
    return LossSlice(x.float(), y.float(), loss, sum(len(batch.ids) for batch in batches))


def _enough(run: Run) -> list[int]:
    if len(run.steps) < 2:
        raise GuppyError("A path needs at least two checkpoints; train the run further.")
    return list(run.steps)


def _gram(run: Run, steps: list[int]) -> Float[Tensor, "step step"]:
    """Inner products of the checkpoints' weights, in float64."""
    gram = torch.zeros(len(steps), len(steps), dtype=torch.float64)
    for stacked in _tensor_by_tensor(run, steps):
        gram += (stacked @ stacked.T).double()
    return gram


def _tensor_by_tensor(run: Run, steps: list[int]) -> Iterator[Float[Tensor, "step weight"]]:
    checkpoints = [run.weights(step) for step in steps]
    for name in checkpoints[0]:
        yield torch.stack([each[name].flatten() for each in checkpoints])


def _axes(gram: Tensor) -> tuple[Float[Tensor, "step 2"], Float[Tensor, 2], Float[Tensor, "step 2"]]:
    """Principal components by the Gram matrix, which is small where weights are many: coordinates, explained shares,
    and of which checkpoints (less their mean) the unit axes are made."""
    centring = torch.eye(len(gram), dtype=gram.dtype) - 1 / len(gram)
    values, vectors = torch.linalg.eigh(centring @ gram @ centring)
    values, vectors = values.flip(0)[:2].clamp(min=0), vectors.flip(1)[:, :2]
    # Training goes to the right and ends at the top, whatever sign the decomposition has chosen.
    vectors = vectors * torch.where(vectors[-1] < vectors[0], -1.0, 1.0)
    size = values.sqrt()
    mixes = centring @ vectors / size.clamp(min=1e-30)
    total = (centring @ gram @ centring).diagonal().sum().clamp(min=1e-30)
    return vectors * size, values / total, mixes


def _ticks(along: Tensor, points: int) -> Float[Tensor, " point"]:
    low, high = along.min(), along.max()
    margin = SPAN * (high - low).clamp(min=1e-6)
    return torch.linspace(float(low - margin), float(high + margin), points, dtype=torch.float64)


def _ask_path(subject: Subject) -> WeightPath:
    return weight_path(subject.run)


def _ask_slice(subject: Subject, points: int, rows: int) -> LossSlice:
    return loss_slice(subject.run, points, rows)


QUESTIONS = (
    Question(
        "weight-path",
        "The run's checkpoints on their principal axes, and how alike they are.",
        _ask_path,
        prompt=False,
        whole=True,
    ),
    Question(
        "loss-slice",
        "Held-out loss on the plane of the path's two principal axes.",
        _ask_slice,
        exactness="approximate: a sample of held-out rows",
        options=(
            Option("points", int, 11, "Points along each side."),
            Option("rows", int, 64, "Held-out rows that are scored at each."),
        ),
        prompt=False,
        whole=True,
    ),
)
