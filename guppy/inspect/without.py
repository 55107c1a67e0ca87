"""What a model says next, and replies, with a part taken out, beside what it says with it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from copy import copy
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from guppy.errors import GuppyError
from guppy.generate import generate
from guppy.hooks import Hook, intervene
from guppy.inspect.ablation import Part, taking_out, text_loss
from guppy.inspect.asking import Option, Question, Subject
from guppy.inspect.fills import OPTIONS, by_query, reference_of
from guppy.model import Guppy
from guppy.tokenizer import Tokenizer

MOST = 10
REPLY_TOKENS = 48


@dataclass(frozen=True)
class Without:
    """Everything twice: first with the model as it is, then with the part taken out."""

    hooks: str
    """What was taken out: a hook point, with [head] when it is one of its heads."""
    next_ids: Int64[Tensor, "2 rank"]
    """The most probable next tokens after the text, most probable first."""
    probability: Float[Tensor, "2 rank"]
    """Their probabilities in that model."""
    other: Float[Tensor, "2 rank"]
    """Their probabilities in the other one."""
    next_tokens: list[list[str]]
    """Them as text, 2 lists of `rank`."""
    replies: list[str]
    """What it says, always the most probable token, for at most `REPLY_TOKENS` tokens."""
    stopped: list[bool]
    """Whether it ended its turn by itself."""
    loss: list[float]
    """On the text, in nats per token."""
    kl: float
    """KL(as it is ‖ without the part) of the next token, in nats."""


@torch.no_grad()
def compared(
    model: Guppy,
    tokenizer: Tokenizer,
    ids: Int64[Tensor, " pos"],
    changes: Mapping[str, Hook],
    name: str = "",
    most: int = MOST,
) -> Without:
    """A model beside itself under an intervention, such as `ablation.taking_out` makes: next token and greedy reply.

    `name` says what was taken out. Raises GuppyError when the tokens do not fit the context."""
    logits, said = [], []
    for hooks in ({}, changes):
        # Copies, because a change may count the positions that it has seen.
        with intervene(model, {name: copy(hook) for name, hook in hooks.items()}):
            logits.append(model(ids[None])[0])
        with intervene(model, {name: copy(hook) for name, hook in hooks.items()}):
            said += generate(model, tokenizer, [ids.tolist()], max_tokens=REPLY_TOKENS)
    log_p = torch.stack([each[-1].float().log_softmax(-1) for each in logits])  # (2, vocab)
    top = log_p.topk(min(most, log_p.shape[1])).indices
    return Without(
        name,
        top,
        log_p.exp().gather(1, top),
        log_p.flip(0).exp().gather(1, top),
        [tokenizer.token_strings(row) for row in top.tolist()],
        [reply.text for reply in said],
        [reply.stopped for reply in said],
        [text_loss(each[None], ids).item() for each in logits],
        float((log_p[0].exp() * (log_p[0] - log_p[1])).sum().clamp(min=0)),
    )


def without(
    model: Guppy,
    tokenizer: Tokenizer,
    ids: Int64[Tensor, " pos"],
    part: Part,
    how: str = "zero",
    reference: Sequence[Int64[Tensor, " pos"]] = (),
    seed: int = 0,
) -> Without:
    """A model beside itself with a part taken out; `how` as in `fills.fills`. Raises GuppyError as `taking_out` does,
    and for attention scores and patterns, which change their size while the reply grows."""
    if by_query(part.hook):
        raise GuppyError(f"{part.hook} grows with the reply; take the head out at hook_z.")
    name = part.hook if part.head is None else f"{part.hook}[{part.head}]"
    return compared(model, tokenizer, ids, taking_out(model, ids, part, how, reference, seed), name)


def _ask(subject: Subject, part: str, how: str, seed: int) -> Without:
    model = subject.model
    chosen = Part.named(model, part)
    return without(model, subject.tokenizer, subject.ids, chosen, how, reference_of(subject, how), seed)


QUESTIONS = (
    Question(
        "without",
        "The next token and the greedy reply with a part taken out, beside those with it.",
        _ask,
        hooks="blocks.*.attn.hook_z, hook_attn_out, hook_mlp_out",
        options=(
            Option("part", str, "blocks.0.hook_mlp_out", "a hook point, or a head such as blocks.0.attn.hook_z[1]"),
            *OPTIONS,
        ),
    ),
)
