"""How often and how strongly each neuron is active over texts of a corpus: dead ones, saturated ones, histograms.

A neuron is active where its `hook_post` is above 0. It is dead when it is so nowhere in the texts that were read: of
relu it then gives nothing at all, of the two gelus no more than a trickle below 0. It is saturated when it is active on
more than nine tokens of ten, so that it hardly chooses.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor

from guppy.batches import Split
from guppy.errors import GuppyError
from guppy.hooks import HookPoint, intervene
from guppy.inspect.asking import Option, Question, Subject
from guppy.inspect.neurons import POST
from guppy.model import Guppy

SATURATED = 0.9
"""Share of tokens beyond which a neuron counts as saturated."""
BATCH_TOKENS = 4096
"""Read at once: few enough that a layer's activations of them stay in the cache."""
LOWEST, HIGHEST = -8, 6
"""Powers of 2 between which bins of histograms are half an octave wide."""

Hear = Callable[[int, Float[Tensor, "text pos neuron"]], None]
Progress = Callable[[int, int], None]


# -- what is read ----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Texts:
    """What a model reads of a split in an epoch, each distinct text once, in the order of their tokens.

    A row is read without its last token, after which nothing comes; one that is longer than the context, in pieces.
    """

    tokens: np.ndarray
    """uint16 [token]: all texts one after another."""
    offsets: np.ndarray
    """int64 [text + 1]: text i is `tokens[offsets[i] : offsets[i + 1]]`."""
    shared: np.ndarray
    """int64 [text]: how many tokens at its beginning are those of the text before."""
    copies: np.ndarray
    """int64 [text]: how often it stands in the split."""
    rows: np.ndarray
    """int64 [text]: the first row of the split where it stands."""

    def __len__(self) -> int:
        return len(self.copies)

    @property
    def lengths(self) -> np.ndarray:
        """Tokens of each, int64 [text]."""
        return np.diff(self.offsets)

    def ids(self, texts: np.ndarray) -> Int64[Tensor, "text pos"]:
        """Some texts of equal length, as the model reads them."""
        places = self.offsets[texts][:, None] + np.arange(self.lengths[texts[0]])
        return torch.from_numpy(self.tokens[places].astype(np.int64))

    def chosen(self, most: int) -> np.ndarray:
        """So many of them, evenly spread, int64 [text]."""
        return np.linspace(0, len(self) - 1, min(most, len(self))).round().astype(np.int64)

    def batches(self, texts: np.ndarray, tokens: int = BATCH_TOKENS) -> Iterator[np.ndarray]:
        """These texts in groups of equal length, so that nothing is padded, in a random order that is always the
        same; each of about so many tokens at most, int64 [text]."""
        random = np.random.default_rng(0)
        texts = random.permutation(texts)
        lengths = self.lengths[texts]
        order = np.argsort(lengths, kind="stable")
        ends = np.flatnonzero(np.diff(lengths[order])) + 1
        groups = [
            group[start : start + size]
            for group in np.split(texts[order], ends)
            for size in [max(1, tokens // self.lengths[group[0]])]
            for start in range(0, len(group), size)
        ]
        return (groups[i] for i in random.permutation(len(groups)))


def texts_of(split: Split, n_ctx: int) -> Texts:
    """The distinct texts that a model of that context reads of a split. Raises GuppyError when there are none."""
    packed = split.tokens.astype(">u2").tobytes()  # bytes in this order compare as tokens do
    pieces = [
        (packed[2 * at : 2 * min(at + n_ctx, end)], row)
        for row, (start, end) in enumerate(
            zip(split.offsets[:-1].tolist(), (split.offsets[1:] - 1).tolist(), strict=True)
        )
        for at in range(start, end, n_ctx)
    ]
    if not pieces:
        raise GuppyError("There is no row of two tokens or more to read; give more text.")
    first = dict(reversed(pieces))
    copies = Counter(piece for piece, _ in pieces)
    distinct = sorted(copies)
    arrays = [np.frombuffer(piece, ">u2") for piece in distinct]
    offsets = np.zeros(len(arrays) + 1, dtype=np.int64)
    np.cumsum([len(array) for array in arrays], out=offsets[1:])
    shared = [0, *(_common(a, b) for a, b in pairwise(arrays))]
    return Texts(
        np.concatenate(arrays).astype(np.uint16),
        offsets,
        np.array(shared, dtype=np.int64),
        np.array([copies[piece] for piece in distinct], dtype=np.int64),
        np.array([first[piece] for piece in distinct], dtype=np.int64),
    )


def _common(a: np.ndarray, b: np.ndarray) -> int:
    """How many tokens two texts have in common at their beginnings."""
    n = min(len(a), len(b))
    differ = a[:n] != b[:n]
    return int(differ.argmax()) if differ.any() else n


class _Heard(Exception):
    """All that was to be heard was heard."""


@torch.inference_mode()
def listen(model: Guppy, ids: Int64[Tensor, "text pos"], hear: Hear) -> None:
    """Hand what passes `hook_post` to hear(layer, post), layer by layer. What the model does after the last one is
    left out: nobody listens. Raises GuppyError when the texts do not fit the context."""
    last = model.config.n_layers - 1

    def pass_on(post: Tensor, point: HookPoint) -> None:
        layer = int(point.name.split(".")[1])
        hear(layer, post)
        if layer == last:
            raise _Heard

    with intervene(model, [(POST.format(layer="*"), pass_on)]), suppress(_Heard):
        model(ids.to(next(model.parameters()).device))


# -- what is counted -------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Activity:
    """How active each neuron is over texts."""

    share: Float[Tensor, "layer neuron"]
    """Share of the tokens on which it is active, 0 to 1."""
    mean: Float[Tensor, "layer neuron"]
    """Mean of `hook_post` over all tokens."""
    largest: Float[Tensor, "layer neuron"]
    """Largest `hook_post`."""
    dead: Bool[Tensor, "layer neuron"]
    """Active on no token."""
    saturated: Bool[Tensor, "layer neuron"]
    """Active on more than `SATURATED` of them."""
    counts: Int64[Tensor, "layer neuron bin"]
    """Tokens by activation: bin 0 where it is not active, bin i + 1 from `edges[i]` to below `edges[i + 1]`."""
    edges: Float[Tensor, " edge"]
    """0, then half octaves, from 2**-8 to 2**6; beyond the last there is one bin for all."""
    tokens: int
    """How many were read."""
    texts: int
    """How many distinct texts these are."""
    texts_there: int
    """How many there are in the corpus."""


def histogram_edges() -> Float[Tensor, " edge"]:
    """The edges of `Activity`'s bins."""
    return torch.cat([torch.zeros(1), 2.0 ** (torch.arange(2 * LOWEST, 2 * HIGHEST + 1) / 2)])


class Tally:
    """Counts the activations of all neurons of a model as they come by."""

    def __init__(self, model: Guppy) -> None:
        shape, device = (model.config.n_layers, model.config.d_mlp), next(model.parameters()).device
        self.bins = len(histogram_edges()) + 1
        self.sum = torch.zeros(shape, dtype=torch.float64, device=device)
        self.largest = torch.full(shape, -math.inf, device=device)
        self.counts = torch.zeros((*shape, self.bins), dtype=torch.int64, device=device)
        self._places = torch.arange(shape[1], dtype=torch.int32, device=device) * self.bins

    def add(self, layer: int, post: Float[Tensor, "text pos neuron"]) -> None:
        flat = post.flatten(0, 1).contiguous()
        self.sum[layer] += flat.sum(0)
        torch.maximum(self.largest[layer], flat.amax(0), out=self.largest[layer])
        # A float begins with its sign and its power of two; that of a square counts half octaves.
        bins = (flat * flat).view(torch.int32) >> 23
        bins -= 2 * LOWEST + 127 - 2
        bins.clamp_(1, self.bins - 1).mul_(flat > 0).add_(self._places)
        self.counts[layer] += bins.flatten().bincount(minlength=self.counts[layer].numel()).view_as(self.counts[layer])

    def activity(self, texts: int, texts_there: int) -> Activity:
        """What was counted, of so many texts."""
        tokens = int(self.counts[0, 0].sum())
        share = 1 - self.counts[..., 0].double() / tokens
        return Activity(
            share=share.float().cpu(),
            mean=(self.sum / tokens).float().cpu(),
            largest=self.largest.cpu(),
            dead=(self.largest <= 0).cpu(),
            saturated=(share > SATURATED).cpu(),
            counts=self.counts.cpu(),
            edges=histogram_edges(),
            tokens=tokens,
            texts=texts,
            texts_there=texts_there,
        )


def activity(model: Guppy, split: Split, most: int = 500, progress: Progress | None = None) -> Activity:
    """How active every neuron is over some distinct texts of a split, evenly spread.

    Args:
        most: texts to read.
        progress: called with how many tokens were read, and of how many.

    Raises GuppyError when the split has no text."""
    texts = texts_of(split, model.config.n_ctx)
    chosen = texts.chosen(max(1, most))
    tally, of, done = Tally(model), int(texts.lengths[chosen].sum()), 0
    for batch in texts.batches(chosen):
        ids = texts.ids(batch)
        listen(model, ids, tally.add)
        done += ids.numel()
        if progress:
            progress(done, of)
    return tally.activity(len(chosen), len(texts))


# -- asked by name ---------------------------------------------------------------------------------------


@dataclass(frozen=True)
class AskedActivity(Activity):
    """`Activity`, and how exactly it is known."""

    exactness: str


def _ask_activity(subject: Subject, texts: int) -> AskedActivity:
    from guppy.inspect.neuron_index import needed
    from guppy.runs import corpus_of

    if texts <= 0:
        index = needed(subject)
        found = Activity(**{name: getattr(index, name) for name in Activity.__dataclass_fields__})
    elif subject.run is None:
        raise GuppyError("Only a run's model has a corpus; call guppy.inspect.neuron_activity.activity with texts.")
    else:
        found = activity(subject.model, corpus_of(subject.run).train, texts)
    whole = found.texts == found.texts_there
    return AskedActivity(**vars(found), exactness="exact" if whole else f"approximate: a sample of {found.texts} texts")


QUESTIONS = (
    Question(
        "neuron-activity",
        "How active each neuron is over the corpus: dead and saturated ones, histograms.",
        _ask_activity,
        hooks=POST.format(layer="*"),
        options=(
            Option("texts", int, 500, "How many distinct texts to read; 0: all of them, as the neuron index did."),
        ),
        prompt=False,
    ),
)
