"""What breaks when a part is taken out: zero, mean and resample ablation of any part, and of every part in turn."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from guppy.errors import GuppyError
from guppy.hooks import Hook, HookPoint, find, intervene, record
from guppy.inspect.asking import Question, Subject
from guppy.inspect.fills import OPTIONS, at_positions, by_query, fills, reference_of
from guppy.inspect.swaps import ATTN_OUT, MLP_OUT, RESID_PRE, Z, each_part, part_names, swapped
from guppy.model import Guppy

_HAVE_HEADS = ("hook_q", "hook_k", "hook_v", "hook_z", "hook_result", "hook_attn_scores", "hook_pattern")


class Part(NamedTuple):
    """A hook point, or one head of it; its heads are ablated at `hook_z`, before the output projection."""

    hook: str
    head: int | None = None

    @classmethod
    def named(cls, model: Guppy, name: str) -> Part:
        """Read `blocks.2.hook_mlp_out` or `blocks.2.attn.hook_z[3]`. Raises GuppyError when it is not there."""
        match = re.fullmatch(r"([\w.]+)(?:\[(\d{1,4})])?", name)
        if match is None:
            raise GuppyError(f"{name[:60]!r} is no part; name a hook point, or a head as blocks.0.attn.hook_z[1].")
        hook, head = match[1], None if match[2] is None else int(match[2])
        find(model, hook)
        if head is not None and not hook.endswith(_HAVE_HEADS):
            raise GuppyError(f"{hook} has no heads of its own; leave out [{head}].")
        if head is not None and head >= model.config.n_heads:
            raise GuppyError(f"There is no head {head} at {hook}; it has heads 0 to {model.config.n_heads - 1}.")
        return cls(hook, head)


@dataclass(frozen=True)
class Ablations:
    """What taking out each part does, one at a time. Parts stand in a row for each layer: its heads (at
    `blocks.*.attn.hook_z`), its whole attention with the output bias (`hook_attn_out`), its MLP (`hook_mlp_out`)."""

    parts: list[str]
    """Names of the columns: "H0", …, "attention", "MLP"."""
    loss: Float[Tensor, "layer part"]
    """Change of the loss on the text, in nats per token; above 0 it predicts the text worse. NaN for one token."""
    logit: Float[Tensor, "layer part"]
    """Change of the logit of the token that was most probable next after the whole text."""
    probability: Float[Tensor, "layer part"]
    """Change of that token's probability."""
    kl: Float[Tensor, "layer part"]
    """KL(as it is ‖ without the part) of the next token after the text, in nats."""
    order: Int64[Tensor, " layer_part"]
    """The parts, as layer * len(parts) + part, by how much the loss rises (KL for one token), most first."""
    whole_loss: float
    """Loss of the model as it is on the text, in nats per token."""
    top: int
    """The most probable next token as it is."""
    top_probability: float


class Damage(NamedTuple):
    """What one ablation does; the fields are those of `Ablations`, one number each."""

    loss: float
    logit: float
    probability: float
    kl: float


@torch.no_grad()
def ablate_all(
    model: Guppy,
    ids: Int64[Tensor, " pos"],
    how: str = "zero",
    reference: Sequence[Int64[Tensor, " pos"]] = (),
    seed: int = 0,
) -> Ablations:
    """Take out every head, every attention layer and every MLP, each by itself; `how` as in `fills.fills`.

    All parts of a layer are rows of one forward pass that starts at that layer. On top of the model's own surgery: what
    that took away already changes nothing. Raises GuppyError as `fills` does, or when the tokens do not fit."""
    layers = range(model.config.n_layers)
    hooks = [name.format(layer) for layer in layers for name in (Z, ATTN_OUT, MLP_OUT)]
    put = fills(model, hooks, how, reference, seed)
    put = {name: at_positions(fill, 0, len(ids)) for name, fill in put.items()}
    with record(model, [RESID_PRE.format(layer) for layer in layers]) as tape:
        whole = model(ids[None])
    rows = torch.stack(
        [
            swapped(
                model,
                tape[RESID_PRE.format(layer)],
                layer,
                each_part(model, layer, put),
                lambda logits: _damage(logits, whole, ids),
            )
            for layer in layers
        ]
    )  # (layer, part, 4)
    loss, logit, probability, kl = rows.unbind(-1)
    top = whole[0, -1].argmax()
    return Ablations(
        part_names(model),
        loss,
        logit,
        probability,
        kl,
        (loss if len(ids) > 1 else kl).flatten().argsort(descending=True, stable=True),
        text_loss(whole, ids).item(),
        int(top),
        whole[0, -1].softmax(-1)[top].item(),
    )


@torch.no_grad()
def ablate(
    model: Guppy,
    ids: Int64[Tensor, " pos"],
    part: Part,
    how: str = "zero",
    reference: Sequence[Int64[Tensor, " pos"]] = (),
    seed: int = 0,
) -> Damage:
    """Take out one part, any hook point or a head of it. Raises GuppyError as `taking_out` does."""
    whole = model(ids[None])
    with intervene(model, taking_out(model, ids, part, how, reference, seed)):
        without = model(ids[None])
    return Damage(*_damage(without, whole, ids)[0].tolist())


def taking_out(
    model: Guppy,
    ids: Int64[Tensor, " pos"],
    part: Part,
    how: str = "zero",
    reference: Sequence[Int64[Tensor, " pos"]] = (),
    seed: int = 0,
) -> dict[str, Hook]:
    """The ablation as `guppy.intervene` takes it, for a single text that may be read on with a cache.

    Raises GuppyError as `fills` does, when nothing passes the hook point on `ids` (as at a LayerNorm that surgery
    switched off), or when reference texts at scores or patterns are not as long as the text."""
    with record(model, part.hook) as tape:
        model(ids[None])
    if part.hook not in tape:
        raise GuppyError(f"Nothing passes {part.hook} under this surgery, so nothing can be taken out there.")
    fill = fills(model, [part.hook], how, reference, seed)[part.hook]
    if by_query(part.hook) and fill.ndim and fill.shape[-1] != len(ids):
        raise GuppyError(
            f"At {part.hook} reference texts must be as long as the text: "
            f"they have {fill.shape[-1]} tokens and it has {len(ids)}."
        )
    return {part.hook: _Replacing(part, fill)}


def text_loss(logits: Float[Tensor, "row pos vocab"], ids: Int64[Tensor, " pos"]) -> Float[Tensor, " row"]:
    """Cross-entropy of a text's tokens after its first, in nats per token; NaN when there are none."""
    logits = logits[:, :-1].float()
    said = logits.gather(-1, ids[1:, None].expand(len(logits), -1, 1))[..., 0]
    return (logits.logsumexp(-1) - said).mean(-1)


class _Replacing:
    """Puts a fill in the place of a part, wherever in the text the model has got to."""

    def __init__(self, part: Part, fill: Tensor) -> None:
        self.part, self.fill, self.start = part, fill, 0

    def __call__(self, value: Tensor, _point: HookPoint) -> Tensor:
        head, queries = self.part.head, by_query(self.part.hook)
        if queries:
            fill = self.fill
        else:
            # One position more each time is a text read on with a cache; anything longer begins a text.
            start = self.start if value.shape[1] == 1 else 0
            fill = at_positions(self.fill, start, value.shape[1])
            self.start = start + value.shape[1]
        new = fill.to(value.dtype).expand(value.shape)
        if head is None:
            return new
        value = value.clone()
        where = (slice(None), head) if queries else (slice(None), slice(None), head)
        value[where] = new[where]
        return value


def _damage(
    logits: Float[Tensor, "row pos vocab"], whole: Float[Tensor, "1 pos vocab"], ids: Int64[Tensor, " pos"]
) -> Float[Tensor, "row 4"]:
    """The fields of `Damage`."""
    top = whole[0, -1].argmax()
    before, after = (x[:, -1].float().log_softmax(-1) for x in (whole, logits))
    return torch.stack(
        [
            text_loss(logits, ids) - text_loss(whole, ids),
            logits[:, -1, top] - whole[:, -1, top],
            after[:, top].exp() - before[:, top].exp(),
            (before.exp() * (before - after)).sum(-1).clamp(min=0),
        ],
        dim=-1,
    )


def _ask(subject: Subject, how: str, seed: int) -> Ablations:
    return ablate_all(subject.model, subject.ids, how, reference_of(subject, how), seed)


QUESTIONS = (
    Question(
        "ablation",
        "What breaks when each head, attention layer and MLP is taken out, one at a time.",
        _ask,
        hooks="blocks.*.attn.hook_z, hook_attn_out, hook_mlp_out",
        options=OPTIONS,
    ),
)
