"""How the next token is chosen: the distribution and what each setting leaves of it, and where choices would lead."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor

from guppy.cache import KVCache
from guppy.errors import GuppyError
from guppy.evaluate import evaluating
from guppy.generate import next_token_distribution, slide
from guppy.inspect.asking import Option, Question, Subject
from guppy.inspect.vocabulary import words
from guppy.model import Guppy

MOST_NODES = 10_000


@dataclass(frozen=True)
class NextToken:
    """The distribution of the token after a text, stage by stage in the order in which `guppy.generate` goes."""

    logits: Float[Tensor, " vocab"]
    probability: Float[Tensor, " vocab"]
    """The model's own: the softmax of the logits."""
    order: Int64[Tensor, " vocab"]
    """Token ids, most probable first; among equals the lowest id."""
    tempered: Float[Tensor, " vocab"]
    """First: after the division by the temperature."""
    kept_by_top_k: Bool[Tensor, " vocab"]
    """Second: whether top-k leaves the token any probability."""
    kept: Bool[Tensor, " vocab"]
    """Third: whether top-p, which counts within what top-k kept, does as well."""
    drawn_from: Float[Tensor, " vocab"]
    """Fourth: what is kept, rescaled to 1. A token is drawn from this."""
    entropy: float
    """Of `probability`, in bits."""
    drawn_entropy: float
    """Of `drawn_from`, in bits."""


@dataclass(frozen=True)
class Tree:
    """The likeliest continuations as a tree: each node is a token, children come after their parents."""

    token: Int64[Tensor, " node"]
    parent: Int64[Tensor, " node"]
    """Index of the node before; -1 where that is the text itself."""
    depth: Int64[Tensor, " node"]
    """1 for the tokens right after the text."""
    probability: Float[Tensor, " node"]
    """The model's own, given the text and the nodes before."""
    path: Float[Tensor, " node"]
    """The product of the probabilities from the text to here."""
    ends: Bool[Tensor, " node"]
    """Whether the token ends the turn: generation stops there, so nothing follows."""


@torch.no_grad()
def next_token(
    model: Guppy,
    ids: Int64[Tensor, " pos"],
    temperature: float = 1.0,
    top_k: int | None = None,
    top_p: float | None = None,
) -> NextToken:
    """What sampling does to the distribution of the token after `ids`.

    Every stage is `guppy.next_token_distribution` with one more of the settings, so it is what `guppy.generate` draws
    from; of too long a text the end is read. Raises GuppyError on a setting out of range or without a text."""
    read = torch.tensor(readable(model, ids.tolist()), device=model.embed.weight.device)
    with evaluating(model):
        logits = model(read[None])[0, -1].float().cpu()
    probability, drawn_from = logits.softmax(-1), next_token_distribution(logits, temperature, top_k, top_p)
    return NextToken(
        logits=logits,
        probability=probability,
        order=logits.sort(descending=True, stable=True).indices,
        tempered=next_token_distribution(logits, temperature),
        kept_by_top_k=next_token_distribution(logits, temperature, top_k) > 0,
        kept=drawn_from > 0,
        drawn_from=drawn_from,
        entropy=entropy_bits(probability).item(),
        drawn_entropy=entropy_bits(drawn_from).item(),
    )


def entropy_bits(p: Float[Tensor, "*rows vocab"]) -> Float[Tensor, "*rows"]:
    """Shannon's entropy in bits: the mean surprise of a token drawn from `p`."""
    return torch.special.entr(p.double()).sum(-1).div(torch.log(torch.tensor(2.0, dtype=torch.float64))).float()


@torch.no_grad()
def tree(model: Guppy, ids: Int64[Tensor, " pos"], end_id: int, width: int = 3, depth: int = 3) -> Tree:
    """The `width` likeliest tokens after the text, the `width` likeliest after each of these, and so on `depth` deep.

    All nodes of a depth are one batch over a common cache of keys and values; a model without the causal mask reads
    everything again, as does one whose context has to slide. Raises GuppyError without a text, or when there would be
    more than 10,000 nodes."""
    if width < 1 or depth < 1 or sum(width**level for level in range(1, depth + 1)) > MOST_NODES:
        raise GuppyError(f"A tree {width} wide and {depth} deep is none or too large; try 3 and 3.")
    n_ctx, device = model.config.n_ctx, model.embed.weight.device
    contexts = [readable(model, ids.tolist())]
    parents, paths = torch.tensor([-1]), torch.ones(1)
    cache: KVCache | None = None
    found: list[tuple[Tensor, ...]] = []
    total = 0
    with evaluating(model):
        for level in range(1, depth + 1):
            if cache is None or cache.length == n_ctx:
                contexts = [slide(context, n_ctx) for context in contexts]
                cache = KVCache(model.config.n_layers, n_ctx) if model.causal else None
                unread = contexts
            else:
                unread = [context[-1:] for context in contexts]
            logits = model(torch.tensor(unread, device=device), cache)[:, -1].float().cpu()
            order = logits.sort(dim=-1, descending=True, stable=True).indices[:, :width]  # (live, width)
            probability = logits.softmax(-1).gather(-1, order)
            token, parent = order.flatten(), parents.repeat_interleave(order.shape[1])
            path = (probability * paths[:, None]).flatten()
            found.append((token, parent, torch.full_like(token, level), probability.flatten(), path))
            live = (token != end_id).nonzero()[:, 0]
            if not len(live):
                break
            row = live // order.shape[1]  # the context that each goes on from
            contexts = [[*contexts[i], token[j].item()] for i, j in zip(row.tolist(), live.tolist(), strict=True)]
            parents, paths = live + total, path[live]
            total += len(token)
            if cache is not None:
                cache.select(row.to(device))
    token, parent, level_of, probability, path = (torch.cat(parts) for parts in zip(*found, strict=True))
    return Tree(token, parent, level_of, probability, path, token == end_id)


def readable(model: Guppy, ids: Sequence[int]) -> list[int]:
    """What the model reads of a text: the end of one that is too long. Raises GuppyError where there is nothing to
    read, and on tokens that the model does not have."""
    if not ids:
        raise GuppyError("The prompt is empty; give at least one token.")
    if not (min(ids) >= 0 and max(ids) < model.config.vocab_size):
        raise GuppyError(
            f"The text has tokens beyond the model's {model.config.vocab_size}; use the run's own tokenizer."
        )
    return list(ids)[-model.config.n_ctx :]


# -- as questions ------------------------------------------------------------------------------------


@dataclass(frozen=True)
class NamedTree:
    """`Tree` with the text of each token."""

    token: Int64[Tensor, " node"]
    parent: Int64[Tensor, " node"]
    depth: Int64[Tensor, " node"]
    probability: Float[Tensor, " node"]
    path: Float[Tensor, " node"]
    ends: Bool[Tensor, " node"]
    words: dict[str, str]


def continued(subject: Subject, then: str) -> Int64[Tensor, " pos"]:
    """What the model reads when token ids, given as "12,7,40", have followed the subject's text one by one: it slides
    where `guppy.generate` would. Raises GuppyError on anything that is no id."""
    try:
        more = [int(each) for each in then.split(",")] if then.strip() else []
    except ValueError:
        raise GuppyError(f"then must be token ids such as 12,7,40, not {then[:40]!r}.") from None
    context = readable(subject.model, subject.ids.tolist())
    for token in more:
        context = slide([*context, token], subject.model.config.n_ctx)
    return torch.tensor(readable(subject.model, context))


def _ask_next(subject: Subject, then: str, temperature: float, top_k: int | None, top_p: float | None) -> NextToken:
    return next_token(subject.model, continued(subject, then), temperature, top_k, top_p)


def _ask_tree(subject: Subject, then: str, width: int, depth: int) -> NamedTree:
    end_id = subject.tokenizer.im_end_id
    found = tree(subject.model, continued(subject, then), end_id, width, depth)
    return NamedTree(**vars(found), words=words(subject.tokenizer, found.token))


THEN = Option("then", str, "", "Token ids that follow the prompt, such as 12,7,40.")

QUESTIONS = (
    Question(
        "next-token",
        "The distribution of the next token, and what temperature, top-k and top-p leave of it.",
        _ask_next,
        options=(
            THEN,
            Option("temperature", float, 1.0, "0 takes the likeliest token; higher is bolder."),
            Option("top_k", int, None, "Keep only the K likeliest tokens."),
            Option("top_p", float, None, "Keep the fewest tokens that together have probability P."),
        ),
    ),
    Question(
        "tree",
        "The likeliest continuations as a tree, with the probabilities of the paths.",
        _ask_tree,
        options=(
            THEN,
            Option("width", int, 3, "How many tokens after each."),
            Option("depth", int, 3, "How many tokens deep."),
        ),
    ),
)
