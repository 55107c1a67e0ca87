"""The texts of a whole training corpus at which each neuron of a run is most active, exhaustively, kept with the run.

    python -m guppy.inspect.neuron_index RUN STEP

builds the index of a checkpoint, printing {"done": tokens, "of": tokens} once a second. Nothing is sampled: every
neuron of every layer is watched at every token of every distinct text. The position at which a text stands for a neuron
is one that no other text could stand for as well: where many texts begin alike, their common beginning, on which a
model with a causal mask cannot tell them apart, counts as part of the first of them alone. Else all texts of a neuron
that is active in a frequent question would be answers to that one question.
"""

from __future__ import annotations

import hashlib
import json
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from jaxtyping import Float, Int32, Int64
from torch import Tensor

from guppy.batches import Split
from guppy.errors import GuppyError
from guppy.inspect.asking import Question, Subject
from guppy.inspect.neuron_activity import Activity, Progress, Tally, Texts, listen, texts_of
from guppy.inspect.neurons import LAYER, NEURON, POST, check, hook_of
from guppy.model import Guppy
from guppy.runs import files
from guppy.runs.tensors import read_tensors, write_tensors

if TYPE_CHECKING:
    from guppy.runs import Run

FOLDER, TENSORS, ABOUT = "derived", "index.safetensors", "index.json"
VERSION = 1
"""Of what is computed and how it is kept: an index of another version is not used."""
K = 20
"""Texts of each neuron."""
_FACTS = ("tokens", "texts", "texts_there")
_HOOK = POST.format(layer="*")


@dataclass(frozen=True)
class NeuronIndex(Activity):
    """How active each neuron is over all distinct texts of a corpus, and where most.

    Of the k places of a neuron the strongest comes first; each is in another text. A neuron that is active in fewer
    texts has text -1 and value 0 at the others."""

    value: Float[Tensor, "layer neuron k"]
    """`hook_post`."""
    text: Int32[Tensor, "layer neuron k"]
    """Which of the texts below; -1: none."""
    position: Int32[Tensor, "layer neuron k"]
    """At which of its tokens; 0 where there is none."""
    token_ids: Int32[Tensor, " token"]
    """The tokens of all texts that are named, one text after another."""
    offsets: Int64[Tensor, " text+1"]
    """Text i is `token_ids[offsets[i] : offsets[i + 1]]`."""
    rows: Int64[Tensor, " text"]
    """The first row of the corpus's training split in which the text stands."""
    copies: Int64[Tensor, " text"]
    """How often it stands there."""

    def text_ids(self, text: int) -> Int64[Tensor, " pos"]:
        return self.token_ids[self.offsets[text] : self.offsets[text + 1]].long()


def index(model: Guppy, split: Split, k: int = K, progress: Progress | None = None) -> NeuronIndex:
    """Read all of a split with all neurons watched.

    Args:
        k: texts to find for each neuron.
        progress: called with how many tokens were read, and of how many.

    Raises GuppyError when the split has no text."""
    texts = texts_of(split, model.config.n_ctx)
    device = next(model.parameters()).device
    # Without the mask a position depends on the whole text.
    shared = torch.from_numpy(texts.shared if model.causal else np.zeros_like(texts.shared)).to(device)
    tally = Tally(model)
    best = [_Best(k, model) for _ in model.blocks]
    done, of = 0, len(texts.tokens)
    for batch in texts.batches(np.arange(len(texts))):
        ids, which = texts.ids(batch), torch.from_numpy(batch).to(device)

        def hear(layer: int, post: Tensor, which: Tensor = which) -> None:
            tally.add(layer, post)
            best[layer].offer(post, which, shared[which])

        listen(model, ids, hear)
        done += ids.numel()
        if progress:
            progress(done, of)
    return _index(tally.activity(len(texts), len(texts)), best, texts)


def _index(activity: Activity, best: list[_Best], texts: Texts) -> NeuronIndex:
    value, text, position = (
        torch.stack([getattr(each, name).T for each in best]).cpu()  # (layer, neuron, k)
        for name in ("value", "text", "position")
    )
    none = value <= 0
    text, position = text.masked_fill(none, -1), position.masked_fill(none, 0)
    named, places = text[~none].unique(return_inverse=True)
    text[~none] = places
    named = named.numpy()
    return NeuronIndex(
        **vars(activity),
        value=value,
        text=text.int(),
        position=position.int(),
        token_ids=torch.from_numpy(
            np.concatenate([np.zeros(0), *(texts.tokens[texts.offsets[i] : texts.offsets[i + 1]] for i in named)])
        ).int(),
        offsets=torch.from_numpy(np.cumsum([0, *texts.lengths[named]])),
        rows=torch.from_numpy(texts.rows[named]),
        copies=torch.from_numpy(texts.copies[named]),
    )


class _Best:
    """The k highest activations above 0 of one layer's neurons so far, each in another text."""

    def __init__(self, k: int, model: Guppy) -> None:
        shape, device = (k, model.config.d_mlp), next(model.parameters()).device
        self.value = torch.zeros(shape, device=device)
        self.text = torch.full(shape, -1, device=device)
        self.position = torch.zeros(shape, dtype=torch.int64, device=device)

    def offer(
        self,
        post: Float[Tensor, "text pos neuron"],
        which: Int64[Tensor, " text"],
        shared: Int64[Tensor, " text"],
    ) -> None:
        """Texts, of which the first `shared` positions count as others'."""
        # Few texts are among the best of a neuron. Only those are looked at position by position.
        row, neuron = (post.amax(1) > self.value[-1]).nonzero(as_tuple=True)
        if not len(row):
            return
        tracks = post[row, :, neuron]  # (offer, pos)
        others = torch.arange(post.shape[1], device=post.device) < shared[row, None]
        value, position = tracks.masked_fill_(others, 0).max(1)
        columns, column = neuron.unique(return_inverse=True)
        offered = torch.zeros(len(which), len(columns), device=post.device)
        places = torch.zeros_like(offered, dtype=torch.int64)
        offered[row, column], places[row, column] = value, position
        value, chosen = torch.cat([self.value[:, columns], offered]).topk(len(self.value), dim=0)
        text = torch.cat([self.text[:, columns], which[:, None].expand_as(places)])
        position = torch.cat([self.position[:, columns], places])
        self.value[:, columns] = value
        self.text[:, columns], self.position[:, columns] = text.gather(0, chosen), position.gather(0, chosen)


# -- kept beside the run ---------------------------------------------------------------------------------


def make(run: Run, step: int, progress: Progress | None = None) -> NeuronIndex:
    """Build the index of a run's checkpoint and keep it in the run's folder; the one that is kept, if there is one.

    Two that do this at once do it twice, and either may be kept: they are the same. An exception that `progress`
    raises ends it, with nothing kept.

    Raises GuppyError when the checkpoint or the corpus cannot be read, or when the folder cannot be written."""
    from guppy.runs import corpus_of

    kept = find(run, step)
    if kept is not None:
        return kept
    folder = _folder(run, step)
    model, mark = run.model(step), _mark(run, step)
    with _writing(folder):  # that it cannot be kept is told before it is built
        folder.mkdir(parents=True, exist_ok=True)
    began = time.perf_counter()
    corpus = corpus_of(run)
    found = index(model, corpus.train, progress=progress)
    about = mark | {"run": run.id, "step": step, "hook": _HOOK, "k": K, "corpus": corpus.sha256}
    about |= {name: getattr(found, name) for name in _FACTS} | {"seconds": round(time.perf_counter() - began, 1)}
    with _writing(folder):
        write_tensors(folder / TENSORS, {name: each for name, each in vars(found).items() if isinstance(each, Tensor)})
        files.write_json(folder / ABOUT, about | {"tensors": _hash(folder / TENSORS)})
    return found


def find(run: Run, step: int) -> NeuronIndex | None:
    """The index of a run's checkpoint; None where there is none of these weights and this version.

    Raises GuppyError when there is no such checkpoint."""
    about, path = about_index(run, step), _folder(run, step) / TENSORS
    try:
        return about and NeuronIndex(**_read(path, about["tensors"]), **{name: about[name] for name in _FACTS})
    except (KeyError, TypeError):
        return None


def about_index(run: Run, step: int) -> dict[str, Any] | None:
    """What is known of the index that is kept for a checkpoint: over how many texts it is, how long it took; None if
    there is none. Raises GuppyError when there is no such checkpoint."""
    mark, folder = _mark(run, step), _folder(run, step)
    try:
        about = json.loads((folder / ABOUT).read_bytes())
        # While another process replaces both files, they may not belong together.
        known = about | mark == about and about["tensors"] == _hash(folder / TENSORS)
    except (OSError, ValueError, TypeError, KeyError):
        return None
    return about if known else None


def needed(subject: Subject) -> NeuronIndex:
    """The index of a subject's checkpoint. Raises GuppyError when it was not built yet."""
    if subject.run is None:
        raise GuppyError("Only a run's checkpoint has a neuron index; call guppy.inspect.neuron_index.index for one.")
    found = find(subject.run, subject.step)
    if found is None:
        run, step = subject.run.id, subject.step
        build = f"`python -m guppy inspect {run} --step {step} --what neuron-index` builds it"
        raise GuppyError(f"The neuron index of step {step} is not built yet; {build}.")
    return found


def _folder(run: Run, step: int) -> Path:
    return run.path / FOLDER / f"neurons-{step:06d}"


def _mark(run: Run, step: int) -> dict[str, Any]:
    """What an index belongs to: weights, and the code that read them. Raises GuppyError when there are none."""
    try:
        return {"version": VERSION, "weights": _hash(run.step_path(step) / files.WEIGHTS)}
    except OSError:
        raise GuppyError(f"The checkpoint at step {step} of {run.id} cannot be read; copy it again.") from None


@contextmanager
def _writing(folder: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise files.disk_error(error, folder) from error


@lru_cache(maxsize=2)
def _read(path: Path, _hashed: str) -> dict[str, Tensor]:
    return read_tensors(path, "delete it, and build the index again")


def _hash(path: Path) -> str:
    stat = path.stat()
    return _hash_of(path, stat.st_mtime_ns, stat.st_size)


@lru_cache(maxsize=64)
def _hash_of(path: Path, _changed: int, _size: int) -> str:
    return hashlib.blake2b(path.read_bytes(), digest_size=16).hexdigest()


# -- asked by name ---------------------------------------------------------------------------------------


@dataclass(frozen=True)
class TopTexts:
    """The texts at which one neuron is most active, the strongest first."""

    activation: Float[Tensor, "text pos"]
    """`hook_post` of this neuron at every token of each text; nan beyond a text's end."""
    value: Float[Tensor, " text"]
    """As the index has it, at `position`."""
    position: Int64[Tensor, " text"]
    copies: Int64[Tensor, " text"]
    """How often each stands in the corpus's training split."""
    rows: Int64[Tensor, " text"]
    """The first row of that split in which it stands."""
    tokens: list[list[str]]
    hooks: str
    layer: int
    neuron: int
    texts_there: int
    """Distinct texts in the corpus, all of which were read."""


def top_texts(subject: Subject, found: NeuronIndex, layer: int, neuron: int) -> TopTexts:
    """One neuron's texts, each read again. Raises GuppyError when there is no such neuron."""
    check(subject.model, layer, neuron)
    there = found.text[layer, neuron] >= 0
    texts = found.text[layer, neuron][there].tolist()
    ids = [found.text_ids(text) for text in texts]
    activation = torch.full((len(ids), max(map(len, ids), default=0)), torch.nan)
    for length in {len(each) for each in ids}:
        alike = [i for i, each in enumerate(ids) if len(each) == length]

        def hear(at: int, post: Tensor, alike: list[int] = alike, length: int = length) -> None:
            if at == layer:
                activation[alike, :length] = post[..., neuron]

        listen(subject.model, torch.stack([ids[i] for i in alike]), hear)
    return TopTexts(
        activation,
        found.value[layer, neuron][there],
        found.position[layer, neuron][there].long(),
        found.copies[texts],
        found.rows[texts],
        [subject.tokenizer.token_strings(each) for each in ids],
        hook_of(layer, neuron),
        layer,
        neuron,
        found.texts_there,
    )


def _ask_index(subject: Subject) -> NeuronIndex:
    return needed(subject)


def _ask_top(subject: Subject, layer: int, neuron: int) -> TopTexts:
    return top_texts(subject, needed(subject), layer, neuron)


QUESTIONS = (
    Question(
        "neuron-index",
        "Of every neuron, the texts of the whole training corpus at which it is most active.",
        _ask_index,
        hooks=_HOOK,
        prompt=False,
        prepare=make,
    ),
    Question(
        "neuron-top",
        "The texts at which one neuron is most active, token by token.",
        _ask_top,
        hooks=_HOOK,
        options=(LAYER, NEURON),
        prompt=False,
        prepare=make,
    ),
)


def main(run: str, step: int) -> None:
    """Build an index, saying how far it is once a second, in lines of JSON."""
    from guppy.runs import open_run

    told = 0.0

    def tell(done: int, of: int) -> None:
        nonlocal told
        if done == of or time.monotonic() - told >= 1:
            told = time.monotonic()
            print(json.dumps({"done": done, "of": of}), flush=True)

    make(open_run(run), step, tell)


if __name__ == "__main__":
    try:
        main(sys.argv[1], int(sys.argv[2]))
    except GuppyError as error:
        sys.exit(str(error))
