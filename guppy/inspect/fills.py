"""What is put in the place of what is taken out: zeros, a mean over other texts, or what other texts have there."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Int64
from torch import Tensor

from guppy.errors import GuppyError
from guppy.hooks import find, record
from guppy.inspect.asking import Option, Subject
from guppy.model import Guppy

HOW = ("zero", "mean", "resample")
REFERENCE_LENGTH = 128
"""Tokens of each reference text that a run's own samples make."""
_BY_QUERY = ("hook_attn_scores", "hook_pattern")
OPTIONS = (
    Option("how", str, "zero", "what is put in its place: nothing, a mean over other texts, or another text's", HOW),
    Option("seed", int, 0, "which texts resample takes; each seed takes others"),
)


@torch.no_grad()
def fills(
    model: Guppy,
    hooks: Sequence[str],
    how: str,
    reference: Sequence[Int64[Tensor, " pos"]] = (),
    seed: int = 0,
) -> dict[str, Tensor]:
    """What to put at each hook point, as it broadcasts against a batch of one there. Hook names may be globs.

    - "zero": 0.
    - "mean": the mean over all positions of all reference texts, one value for every position.
    - "resample": at each position what one of the reference texts has at that position, drawn anew for each position
      with `seed` and the same at all hook points: interchange with other texts (Chan et al. 2022, "Causal scrubbing").
      With a single reference text it is that text. As long as the longest of them; a position that a text does not
      have is drawn from the others.

    Scores and patterns belong to positions: there both keep every position, and all reference texts are as long as the
    text that is changed. Raises GuppyError on an unknown `how`, without reference texts, and where zeros make no sense.
    """
    if how not in HOW:
        raise GuppyError(f"There is no ablation {how!r}; choose {', '.join(HOW)}.")
    names = list(find(model, hooks))
    if how == "zero":
        if odd := [name for name in names if name.endswith(("hook_attn_scores", "hook_scale"))]:
            raise GuppyError(f"Zeros at {odd[0]} would lift the mask or divide by zero; choose mean or resample.")
        return dict.fromkeys(names, torch.zeros((), device=model.embed.weight.device))
    if not len(reference):
        raise GuppyError(f"{how.capitalize()} ablation needs reference texts; give some, or choose zero.")
    read = {name: [] for name in names}
    for ids in reference:
        with record(model, names) as tape:
            model(ids[None].to(model.embed.weight.device))
        if missing := [name for name in names if name not in tape]:
            raise GuppyError(f"Nothing passes {missing[0]} under this surgery; choose another hook point.")
        for name in names:
            read[name].append(tape[name][0])
    if how == "mean":
        return {name: _mean(name, values) for name, values in read.items()}
    return {name: _resampled(name, values, seed) for name, values in read.items()}


def at_positions(fill: Tensor, start: int, count: int) -> Tensor:
    """A fill for `count` positions from `start`: a resampled one starts over where its texts end."""
    if fill.ndim < 2 or fill.shape[0] == 1:
        return fill
    return fill[torch.arange(start, start + count, device=fill.device) % len(fill)]


def reference_of(subject: Subject, how: str) -> list[Int64[Tensor, " pos"]]:
    """Reference texts from the run's own samples: the prompts that it was asked all along, with its last replies.

    One text begins with each of them and goes on with those after it, up to `REFERENCE_LENGTH` tokens or the context.
    The same at every step. Empty when `how` needs none; raises GuppyError when the run has no samples."""
    if how == "zero":
        return []
    samples = None if subject.run is None else subject.run.samples
    if samples is None or not len(samples):
        raise GuppyError("This run has kept no samples to take other values from; choose zero.")
    last = samples[samples["step"] == samples["step"].max()]
    said = list(zip(last["prompt"], last["text"], strict=True))
    length = min(REFERENCE_LENGTH, subject.model.config.n_ctx)
    texts = []
    for first in range(len(said)):
        around = said[first:] + said[:first]
        if subject.run.is_chat:
            turns = [(role, text) for pair in around for role, text in zip(("user", "assistant"), pair, strict=True)]
            ids = subject.tokenizer.encode_chat(turns, reply=False)
        else:
            ids = subject.tokenizer.encode("\n".join(prompt + text for prompt, text in around))
        texts.append(torch.tensor(ids[:length], dtype=torch.int64))
    return texts


def by_query(name: str) -> bool:
    """Whether what passes there is (batch, head, query, key)."""
    return name.endswith(_BY_QUERY)


def _mean(name: str, values: list[Tensor]) -> Tensor:
    if by_query(name):
        return _same_length(name, values).mean(0)
    return torch.cat(values).mean(0, keepdim=True)


def _resampled(name: str, values: list[Tensor], seed: int) -> Tensor:
    if by_query(name):
        stacked = _same_length(name, values)  # (text, head, query, key)
        chosen = _draw([stacked.shape[2]] * len(values), seed)
        return stacked[chosen, :, torch.arange(stacked.shape[2])].transpose(0, 1)
    chosen = _draw([len(value) for value in values], seed)
    return torch.stack([values[text][position] for position, text in enumerate(chosen.tolist())])


def _draw(lengths: list[int], seed: int) -> Int64[Tensor, " pos"]:
    """For each position one of the texts that have it."""
    generator = torch.Generator().manual_seed(seed)
    luck = torch.rand(max(lengths), len(lengths), generator=generator)
    there = torch.arange(max(lengths))[:, None] < torch.tensor(lengths)
    return luck.masked_fill(~there, -1).argmax(1)


def _same_length(name: str, values: list[Tensor]) -> Tensor:
    lengths = sorted({value.shape[-1] for value in values})
    if len(lengths) > 1:
        raise GuppyError(f"At {name} all reference texts must be as long; these have {lengths[0]} to {lengths[-1]}.")
    return torch.stack(values)
