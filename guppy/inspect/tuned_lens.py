"""The tuned lens: the logit lens after an affine translator for each layer, learned for one checkpoint.

A stream in the middle of the network is not written in the coordinates of its end, so the logit lens misreads it. A
translator is an affine map into those, trained so that what is read there is as near as can be to what the model says
in the end (Belrose et al. 2023, "Eliciting latent predictions from transformers with the tuned lens", equations 8-10).
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import safetensors
import torch
import torch.nn.functional as F
from jaxtyping import Float, Int64
from torch import Tensor

from guppy.batches import BatchSampler, heldout_batches
from guppy.errors import GuppyError
from guppy.hooks import record
from guppy.inspect.asking import Option, Question, Subject
from guppy.inspect.lens import Lens, read, with_words
from guppy.inspect.residual import POST, START
from guppy.model import Guppy
from guppy.runs import files
from guppy.runs.tensors import read_tensors, write_tensors

if TYPE_CHECKING:
    from guppy.corpus import Corpus
    from guppy.runs import Run

FOLDER = "derived/tuned_lens"
VERSION = 1
"""Of what is learned and how it is kept: lenses of another version are not used."""
STEPS, ROWS = 60, 16
WARM_TOKENS = 8192
"""Tokens on which the translators begin: as the linear maps that predict the last stream best."""
HELDOUT_TOKENS = 4096
RATE = 5e-3
"""Adam's at first, up to a width of 128; beyond, in inverse proportion to the width."""
RIDGE = 1e-3
"""Of the mean square of a stream's dimensions, added to each, so that few tokens already give a map."""


@dataclass(frozen=True)
class TunedLens:
    """Translators of one checkpoint, and what they are worth."""

    points: list[str]
    """Hook names: after the embeddings and after every layer but the last, which needs none."""
    weight: Float[Tensor, "translator d_model d_model"]
    """A translated stream is `weight @ stream + bias`."""
    bias: Float[Tensor, "translator d_model"]
    kl_before: list[float]
    """KL(final || lens) in nats, a mean over held-out tokens, of the logit lens at each of the points."""
    kl_after: list[float]
    """The same of the tuned lens."""
    tokens: int
    """Training tokens that were read."""
    heldout_tokens: int

    def translate(self, streams: Float[Tensor, "translator pos d_model"]) -> Float[Tensor, "translator pos d_model"]:
        """Each stream in the coordinates of the last one."""
        return torch.baddbmm(self.bias[:, None], streams, self.weight.mT)


@torch.no_grad()
def tuned_lens(model: Guppy, ids: Int64[Tensor, " pos"], translators: TunedLens, k: int = 10) -> Lens:
    """What the model would say after the embeddings and after every layer, through the translators of its checkpoint.

    At the last point, which is the model's own answer, nothing is translated. Raises GuppyError when the tokens do not
    fit the context."""
    streams = _streams(model, ids[None])[:, 0]  # (point, pos, d_model)
    read_at = torch.cat([translators.translate(streams[:-1]), streams[-1:]])
    return read(model, points_of(model), read_at, ids, k)


def points_of(model: Guppy) -> list[str]:
    """Where a tuned lens reads: after the embeddings and after every layer."""
    return [START, *(POST.format(layer) for layer in range(model.config.n_layers))]


def train_tuned_lens(
    model: Guppy,
    corpus: Corpus,
    *,
    steps: int = STEPS,
    seed: int = 0,
    progress: Callable[[int, int], None] | None = None,
) -> TunedLens:
    """Train a translator for every layer on the corpus that the model learned from.

    They begin as the affine maps that predict the last stream best (ridge regression; Belrose et al. begin at the
    identity) and then descend in KL(final || lens) with Adam, all at once, each on its own. The model stays as it is.

    Args:
        steps: of the descent.
        progress: called with how many steps are done, and of how many.
    """
    told = progress or (lambda done, of: None)
    device = next(model.parameters()).device
    sampler = BatchSampler(corpus.train, ROWS, model.config.n_ctx, corpus.tokenizer.pad_id, seed)
    told(0, steps)
    heldout = _heldout(model, corpus)
    weight, bias = _regression(model, _enough(_training(model, sampler, device), WARM_TOKENS))
    weight.requires_grad_(), bias.requires_grad_()
    rate = RATE * min(1, 128 / model.config.d_model)
    optimizer = torch.optim.Adam([weight, bias], lr=rate)
    tokens = WARM_TOKENS
    for step, streams in zip(range(steps), _training(model, sampler, device), strict=False):
        optimizer.param_groups[0]["lr"] = rate * (1 - step / steps)
        loss = _divergence(model, streams, weight, bias).sum()  # of each translator by itself: they share nothing
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        tokens += streams.shape[1]
        told(step + 1, steps)
    weight, bias = weight.detach(), bias.detach()
    identity = torch.eye(model.config.d_model, device=device).expand_as(weight), torch.zeros_like(bias)
    with torch.no_grad():
        before, after = (_divergence(model, heldout, *maps).tolist() for maps in (identity, (weight, bias)))
    return TunedLens(points_of(model)[:-1], weight, bias, before, after, tokens, heldout.shape[1])


def _training(
    model: Guppy, sampler: BatchSampler, device: torch.device
) -> Iterator[Float[Tensor, "point token d_model"]]:
    """Streams at all points of the tokens that have a target, batch after batch, without end."""
    while True:
        batch = sampler.next()
        yield _streams(model, batch.ids.to(device))[:, batch.targets.to(device) != -100]


def _heldout(model: Guppy, corpus: Corpus) -> Float[Tensor, "point token d_model"]:
    device, found, tokens = next(model.parameters()).device, [], 0
    for batch in heldout_batches(corpus.heldout, ROWS, model.config.n_ctx, corpus.tokenizer.pad_id, max_rows=128):
        found.append(_streams(model, batch.ids.to(device))[:, batch.targets.to(device) != -100])
        tokens += batch.n_tokens
    return torch.cat(found, dim=1)[:, :: max(1, tokens // HELDOUT_TOKENS)]


def _enough(
    batches: Iterator[Float[Tensor, "point token d_model"]], tokens: int
) -> Float[Tensor, "point token d_model"]:
    """Batches side by side until they have so many tokens."""
    found, have = [], 0
    while have < tokens:
        found.append(next(batches))
        have += found[-1].shape[1]
    return torch.cat(found, dim=1)[:, :tokens]


@torch.no_grad()
def _streams(model: Guppy, ids: Int64[Tensor, "batch pos"]) -> Float[Tensor, "point batch pos d_model"]:
    points = points_of(model)
    with record(model, points) as tape:
        model(ids)
    return torch.stack([tape[name] for name in points])


@torch.no_grad()
def _regression(
    model: Guppy, streams: Float[Tensor, "point token d_model"]
) -> tuple[Float[Tensor, "translator d_model d_model"], Float[Tensor, "translator d_model"]]:
    """The affine maps from each stream but the last to the last one with the smallest mean square error."""
    mean = streams.mean(1, keepdim=True)
    centred = streams - mean
    x, y = centred[:-1], centred[-1]
    gram = x.mT @ x / x.shape[1]  # (translator, d_model, d_model)
    scale = gram.diagonal(dim1=-2, dim2=-1).mean(-1)[:, None, None].clamp(min=1e-12)
    gram = gram + RIDGE * scale * torch.eye(x.shape[-1], device=x.device)
    weight = torch.linalg.solve(gram, x.mT @ y / x.shape[1]).mT.contiguous()
    return weight, mean[-1] - (weight @ mean[:-1].mT).squeeze(-1)


def _divergence(
    model: Guppy,
    streams: Float[Tensor, "point token d_model"],
    weight: Float[Tensor, "translator d_model d_model"],
    bias: Float[Tensor, "translator d_model"],
) -> Float[Tensor, " translator"]:
    """KL(final || lens) in nats, a mean over tokens, of each translator."""
    unembed = model.embed.weight.detach()
    with torch.no_grad():
        final = F.linear(model.ln_final(streams[-1]), unembed).log_softmax(-1)  # (token, vocab)
    found = []
    for stream, w, b in zip(streams, weight, bias, strict=False):  # one after the other: logits are large
        here = F.linear(_normed(model, F.linear(stream, w, b)), unembed).log_softmax(-1)
        found.append(F.kl_div(here, final, reduction="sum", log_target=True) / streams.shape[1])
    return torch.stack(found)


def _normed(model: Guppy, x: Float[Tensor, "token d_model"]) -> Float[Tensor, "token d_model"]:
    """The final LayerNorm with weights that learn nothing."""
    norm = model.ln_final
    if not norm.on:
        return x
    return F.layer_norm(x, norm.weight.shape, norm.weight.detach(), norm.bias.detach(), norm.eps)


# -- kept beside the run ---------------------------------------------------------------------------------


def make(run: Run, step: int, progress: Callable[[int, int], None] | None = None, *, steps: int = STEPS) -> TunedLens:
    """The lens of a run's checkpoint: the one that is kept in the run's folder, or else one that is trained and kept.

    Raises GuppyError when the checkpoint or the corpus cannot be read, or when the folder cannot be written."""
    from guppy.runs import corpus_of

    kept = _kept(run, step)
    if kept is not None:
        return kept
    model = run.model(step).requires_grad_(False)
    trained = train_tuned_lens(model, corpus_of(run), steps=steps, progress=progress)
    tensors_path, about_path = _paths(run, step)
    about = {"version": VERSION, "step": step, "weights": _weights_mark(run, step), "points": trained.points}
    about |= {"kl_before": trained.kl_before, "kl_after": trained.kl_after}
    about |= {"tokens": trained.tokens, "heldout_tokens": trained.heldout_tokens}
    try:
        tensors_path.parent.mkdir(parents=True, exist_ok=True)
        write_tensors(tensors_path, {"weight": trained.weight, "bias": trained.bias})
        files.write_json(about_path, about)
    except OSError as error:
        raise files.disk_error(error, tensors_path) from error
    return trained


def _kept(run: Run, step: int) -> TunedLens | None:
    """As `find`; a damaged one is none."""
    try:
        return find(run, step)
    except GuppyError:
        return None


def find(run: Run, step: int) -> TunedLens | None:
    """The lens that was trained for a run's checkpoint; None where there is none of these weights and this code."""
    tensors_path, about_path = _paths(run, step)
    if not about_path.exists():
        return None
    mend = "delete it, and train the lens again"
    about = files.read_json(about_path, mend)
    if not _fits(run, step, about):
        return None
    tensors = read_tensors(tensors_path, mend)
    facts = ("points", "kl_before", "kl_after", "tokens", "heldout_tokens")
    try:
        return TunedLens(weight=tensors["weight"], bias=tensors["bias"], **{name: about[name] for name in facts})
    except KeyError as error:
        raise GuppyError(f"{about_path} lacks {error.args[0]}; {mend}.") from None


def trained(run: Run) -> dict[int, dict[str, object]]:
    """What is known of every lens of a run that `find` would find, by step: kl_before, kl_after and so on.

    One that is damaged is left out."""
    found = {}
    for path in sorted((run.path / FOLDER).glob("*.json")):
        with suppress(GuppyError):
            about = files.read_json(path, "")
            step = int(path.stem)
            if _fits(run, step, about):
                found[step] = about
    return found


def _fits(run: Run, step: int, about: dict[str, object]) -> bool:
    return about.get("version") == VERSION and about.get("weights") == _weights_mark(run, step)


def _paths(run: Run, step: int) -> tuple[Path, Path]:
    stem = run.path / FOLDER / f"{step:06d}"
    return stem.with_suffix(".safetensors"), stem.with_suffix(".json")


def _weights_mark(run: Run, step: int) -> str:
    """What tells these weights from others of the same run and step: their checksum."""
    path = run.step_path(step) / files.WEIGHTS
    with safetensors.safe_open(path, framework="pt") as file:
        return (file.metadata() or {}).get("crc32", str(path.stat().st_size))


def _main(arguments: list[str]) -> None:
    """Train the lens of `RUN STEP`; each line of output is how many steps are done, and of how many."""
    from guppy.runs import open_run

    try:
        run = open_run(arguments[0])
        step = int(arguments[1]) if arguments[1:] else run.last_step
        make(run, step, lambda done, of: print(done, of, flush=True))
    except GuppyError as error:
        sys.exit(str(error))


@dataclass(frozen=True)
class AskedTunedLens(Lens):
    """A lens through translators, and what these are worth on held-out text."""

    kl_before: list[float] | None = None
    """As in `TunedLens`."""
    kl_after: list[float] | None = None
    heldout_tokens: int = 0


def _ask_tuned_lens(subject: Subject, k: int = 10) -> AskedTunedLens:
    if subject.run is None:
        raise GuppyError(
            "Only a run's checkpoint keeps a tuned lens; call guppy.inspect.tuned_lens.tuned_lens with yours."
        )
    found = find(subject.run, subject.step)
    if found is None:
        command = f"python -m guppy inspect {subject.run.id} --step {subject.step} --what tuned-lens --prompt hi"
        raise GuppyError(f"The tuned lens of step {subject.step} is not trained; `{command}` trains it.")
    lens = with_words(tuned_lens(subject.model, subject.ids, found, k), subject.tokenizer)
    about = {"kl_before": found.kl_before, "kl_after": found.kl_after, "heldout_tokens": found.heldout_tokens}
    return AskedTunedLens(**vars(lens), **about)


QUESTIONS = (
    Question(
        "tuned-lens",
        "The tuned lens: the logit lens after a learned map for each layer; train it first.",
        _ask_tuned_lens,
        hooks=POST.format("*"),
        exactness="approximate: a map learned on the run's own corpus stands for the layers left out",
        options=(Option("k", int, 10, "How many of the most probable tokens to tell."),),
        prepare=make,
    ),
)


if __name__ == "__main__":
    _main(sys.argv[1:])
