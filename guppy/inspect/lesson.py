"""A lesson of one sentence: a copy of the model learns it in one optimizer step or a few. What does that move?"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int64
from torch import Tensor

from guppy.errors import GuppyError
from guppy.evaluate import token_loss
from guppy.generate import generate
from guppy.inspect.asking import Option, Question, Subject
from guppy.inspect.surprise import surprise
from guppy.model import Guppy
from guppy.optim import Together, build_optimizer, load_optimizer
from guppy.ratios import Watch
from guppy.runs import Run
from guppy.runs.write import trainer_state
from guppy.tokenizer import Tokenizer

MOST_STEPS = 10
REPLY_TOKENS = 32


@dataclass(frozen=True)
class Lesson:
    """A model before and after it learned one text."""

    ids: Int64[Tensor, " pos"]
    before: Float[Tensor, " pos"]
    """Probability of each token given those before it; NaN for the first."""
    after: Float[Tensor, " pos"]
    matrices: list[str]
    """The names of the weight matrices."""
    update: Float[Tensor, " matrix"]
    """Norm of each matrix's whole change, over its norm before."""
    kl: Float[Tensor, " probe"]
    """How far the expectation of what follows each probe prompt has moved: KL(before || after), in nats."""
    probes: list[str]
    replies_before: list[str]
    replies_after: list[str]
    """What the probe prompts are answered, greedily."""
    tokens: list[str]
    loss_before: float
    loss_after: float
    """Of the text, nats per token."""
    rate: float
    """The learning rate of each step."""
    moments: bool
    """Whether the optimizer went on from the run's own moments, or began afresh."""


def learn(
    model: Guppy,
    ids: Int64[Tensor, " pos"],
    optimizer: Together,
    steps: int = 1,
) -> Float[Tensor, ""]:
    """Take optimizer steps on one text, in place; returns the loss before the first, nats per token.

    As training does: cross-entropy over all its tokens. Raises GuppyError on a text that is too short or too long."""
    if not 2 <= len(ids) <= model.config.n_ctx + 1:
        raise GuppyError(f"A lesson has 2 to {model.config.n_ctx + 1} tokens, and this text {len(ids)}; change it.")
    first = None
    for _ in range(steps):
        loss = token_loss(model(ids[None, :-1]), ids[None, 1:]) / (len(ids) - 1)
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        first = loss.detach() if first is None else first
    return first


def lesson(
    run: Run, step: int, ids: Int64[Tensor, " pos"], probes: Sequence[str], *, steps: int = 1, share: float = 0.1
) -> Lesson:
    """Teach a copy of a checkpoint one text, with the run's own optimizer at a share of its highest rate.

    Raises GuppyError as `learn`, or when a setting is out of range."""
    if not 1 <= steps <= MOST_STEPS:
        raise GuppyError(f"A lesson takes 1 to {MOST_STEPS} steps, not {steps}.")
    if not 0 < share <= 10:
        raise GuppyError(f"The rate is a share of the run's own, above 0 and at most 10, not {share}.")
    before, after = run.model(step), run.model(step)
    config = run.train_config.for_model(run.model_config)
    optimizer = build_optimizer(after, config)
    moments = _load_moments(run, step, after, optimizer)
    optimizer.set_rate(share * config.lr)
    watch = Watch(after)
    watch.see_gradients()
    loss = learn(after, ids, optimizer, steps)
    ratios = watch.ratios(step)
    if ratios is None:
        raise GuppyError("The lesson was too much: the weights are no numbers any more; lower the rate.")
    with torch.no_grad():
        loss_after = token_loss(after(ids[None, :-1]), ids[None, 1:]) / (len(ids) - 1)
    prompts = [run.encode_prompt(probe)[-run.model_config.n_ctx :] for probe in probes]
    return Lesson(
        ids=ids,
        before=surprise(before, ids).probability,
        after=surprise(after, ids).probability,
        matrices=list(ratios.update),
        update=torch.tensor(list(ratios.update.values())),
        kl=torch.tensor([_moved(before, after, torch.tensor(prompt)) for prompt in prompts]),
        probes=list(probes),
        replies_before=_replies(before, run.tokenizer, prompts),
        replies_after=_replies(after, run.tokenizer, prompts),
        tokens=run.tokenizer.token_strings(ids.tolist()),
        loss_before=float(loss),
        loss_after=float(loss_after),
        rate=share * config.lr,
        moments=moments,
    )


def _load_moments(run: Run, step: int, model: Guppy, optimizer: Together) -> bool:
    """Go on from the optimizer state that the checkpoint kept; whether it kept any."""
    try:
        tensors = trainer_state(run, step).tensors
    except GuppyError:
        return False
    load_optimizer(model, optimizer, tensors)
    return bool(tensors)


@torch.no_grad()
def _moved(before: Guppy, after: Guppy, ids: Tensor) -> float:
    """KL divergence between what the two expect next."""
    one, other = (model(ids[None])[0, -1].log_softmax(-1) for model in (before, after))
    return float(F.kl_div(other, one, log_target=True, reduction="sum"))


def _replies(model: Guppy, tokenizer: Tokenizer, prompts: list[list[int]]) -> list[str]:
    return [each.text for each in generate(model, tokenizer, prompts, max_tokens=REPLY_TOKENS)]


def _ask(subject: Subject, reply: str, updates: int, share: float) -> Lesson:
    run, tokenizer = subject.run, subject.tokenizer
    if run.is_chat and not reply.strip():
        raise GuppyError("Say what the reply should be: that is what the lesson teaches.")
    said = [*tokenizer.encode(reply), tokenizer.im_end_id] if run.is_chat else tokenizer.encode(reply)
    ids = torch.tensor([*subject.ids.tolist(), *said])
    return lesson(run, subject.step, ids, _probes(run), steps=updates, share=share)


def _probes(run: Run) -> list[str]:
    """The prompts that the run itself was asked at every checkpoint."""
    samples = run.samples
    probes = samples[samples["group"].isna()] if "group" in samples else samples
    return list(dict.fromkeys(probes["prompt"]))


QUESTIONS = (
    Question(
        "lesson",
        "Teach a copy of the model one sentence: what becomes likelier, and what else changes.",
        _ask,
        options=(
            Option("reply", str, "", "What is to be said after the prompt."),
            Option("updates", int, 1, f"Optimizer steps, 1 to {MOST_STEPS}."),
            Option("share", float, 0.1, "Learning rate as a share of the run's highest."),
        ),
        whole=True,
    ),
)
