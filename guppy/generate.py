"""Sampling: what a model says next, one token at a time, for many prompts at once."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from guppy.cache import KVCache
from guppy.errors import GuppyError
from guppy.evaluate import evaluating
from guppy.model import Guppy
from guppy.tokenizer import Tokenizer


@dataclass(frozen=True)
class Generation:
    """What was generated from one prompt."""

    text: str
    ids: list[int]
    """The new tokens, the `<|im_end|>` that stopped them left out."""
    slid: bool
    """Whether the context was too short for prompt and text, so that the beginning was dropped on the way."""
    stopped: bool
    """Whether the model ended its turn by itself, rather than at `max_tokens`."""


class StreamedToken(NamedTuple):
    """One token as it is generated."""

    id: int
    text: str
    """What can be read now. Bytes of an unfinished character wait for the token that completes it."""
    probability: float
    """The model's own, before temperature, top-k and top-p."""


def generate(
    model: Guppy,
    tokenizer: Tokenizer,
    prompts: Sequence[Sequence[int]],
    *,
    max_tokens: int = 64,
    temperature: float = 0.0,
    top_k: int | None = None,
    top_p: float | None = None,
    seed: int = 0,
) -> list[Generation]:
    """Continue each prompt (token ids) until `<|im_end|>` or for `max_tokens` tokens.

    `temperature` 0 is greedy; `top_k` and `top_p` as in `next_token_distribution`. A prompt and a seed give the same
    text whatever else is in the batch. A prompt longer than the context keeps its end; when the context fills up on
    the way, its last half is kept and read again. Either makes the result `slid`.
    Raises GuppyError on settings out of range, on a prompt that is empty or not of the model's vocabulary, and on a
    model whose weights are not numbers.
    """
    check_sampling(temperature, top_k, top_p, max_tokens)
    if not prompts:
        return []
    rows = [_Row.start(model, prompt, max_tokens, seed) for prompt in prompts]
    for _ in _decode(model, rows, tokenizer.im_end_id, max_tokens, temperature, top_k, top_p):
        pass
    return [Generation(tokenizer.decode(row.new), row.new, row.slid, row.stopped) for row in rows]


def generate_stream(
    model: Guppy,
    tokenizer: Tokenizer,
    prompt: Sequence[int],
    *,
    max_tokens: int = 64,
    temperature: float = 0.0,
    top_k: int | None = None,
    top_p: float | None = None,
    seed: int = 0,
) -> Iterator[StreamedToken]:
    """Continue one prompt, each token as soon as it is there. The texts joined are `generate`'s text.

    The `<|im_end|>` that stops it is the last token, with its probability. Raises what `generate` raises, at once."""
    check_sampling(temperature, top_k, top_p, max_tokens)
    row = _Row.start(model, prompt, max_tokens, seed)

    def tokens() -> Iterator[StreamedToken]:
        said = 0
        for (token,), logits in _decode(model, [row], tokenizer.im_end_id, max_tokens, temperature, top_k, top_p):
            text = tokenizer.decode(row.new)
            # An unfinished character decodes to one U+FFFD at the very end, which is held back while more can come.
            if not row.stopped and len(row.new) < max_tokens:
                text = text.removesuffix("\N{REPLACEMENT CHARACTER}")
            yield StreamedToken(token, text[said:], logits[0].float().softmax(-1)[token].item())
            said = len(text)

    return tokens()


def next_token_distribution(
    logits: Float[Tensor, "*rows vocab"],
    temperature: float = 1.0,
    top_k: int | None = None,
    top_p: float | None = None,
) -> Float[Tensor, "*rows vocab"]:
    """The probabilities that sampling draws from, in float32.

    Logits are divided by `temperature` (0: all on the largest, the lowest id among equals); then only the `top_k` most
    probable tokens are kept (Fan et al. 2018); then the fewest of these, most probable first, that together reach
    `top_p` (nucleus sampling, Holtzman et al. 2020); then the rest is rescaled to 1. Raises GuppyError out of range.
    """
    check_sampling(temperature, top_k, top_p)
    logits = logits.float()
    if temperature == 0:
        return torch.zeros_like(logits).scatter_(-1, logits.argmax(-1, keepdim=True), 1.0)
    logits = logits / temperature
    if top_k is None and top_p is None:
        return logits.softmax(-1)
    logits, order = logits.sort(dim=-1, descending=True, stable=True)
    if top_k is not None:
        logits[..., top_k:] = -math.inf
    p = logits.softmax(-1)
    if top_p is not None and top_p < 1:
        p = p.masked_fill(p.cumsum(-1) - p >= top_p, 0)  # what comes before it reaches top_p already
        p /= p.sum(-1, keepdim=True)
    return torch.zeros_like(p).scatter_(-1, order, p)


def check_sampling(temperature: float, top_k: int | None, top_p: float | None, max_tokens: int = 1) -> None:
    """Raise GuppyError on a sampling setting out of range."""
    if not (temperature >= 0 and math.isfinite(temperature)):
        raise GuppyError(f"temperature must be 0 (greedy) or above, not {temperature}.")
    if top_k is not None and top_k < 1:
        raise GuppyError(f"top_k must be at least 1, not {top_k}; leave it out to keep every token.")
    if top_p is not None and not 0 < top_p <= 1:
        raise GuppyError(f"top_p must be above 0 and at most 1, not {top_p}; leave it out to keep every token.")
    if max_tokens < 1:
        raise GuppyError(f"max_tokens must be at least 1, not {max_tokens}.")


def slide(context: list[int], n_ctx: int) -> list[int]:
    """What is read of a prompt and its new tokens: all of it while it fits the context, else the last half of that."""
    return context if len(context) <= n_ctx else context[-max(1, n_ctx // 2) :]


@dataclass
class _Row:
    """One prompt on its way."""

    context: list[int]
    """What the model reads: the prompt and the new tokens, or the end of them."""
    draws: Float[Tensor, tokens]
    """A uniform number for each new token."""
    new: list[int] = field(default_factory=list)
    slid: bool = False
    stopped: bool = False

    @classmethod
    def start(cls, model: Guppy, prompt: Sequence[int], max_tokens: int, seed: int) -> _Row:
        prompt, vocabulary = list(map(int, prompt)), model.config.vocab_size
        if not prompt:
            raise GuppyError("The prompt is empty; give at least one token.")
        if not (min(prompt) >= 0 and max(prompt) < vocabulary):
            raise GuppyError(f"The prompt has tokens beyond the model's {vocabulary}; use the run's own tokenizer.")
        n_ctx = model.config.n_ctx
        # The prompt takes part in the seed: prompts sampled together then do not share their luck.
        digest = hashlib.sha256(f"{seed}:{prompt}".encode()).digest()
        generator = torch.Generator().manual_seed(int.from_bytes(digest[:7], "big"))
        draws = torch.rand(max_tokens, generator=generator, dtype=torch.float64)
        return cls(prompt[-n_ctx:], draws, slid=len(prompt) > n_ctx)

    def slide(self, n_ctx: int) -> None:
        kept = slide(self.context, n_ctx)
        self.context, self.slid = kept, self.slid or len(kept) < len(self.context)

    def take(self, token: int, stop_id: int) -> None:
        self.context.append(token)
        self.stopped = self.stopped or token == stop_id
        if not self.stopped:
            self.new.append(token)


@torch.no_grad()
def _decode(
    model: Guppy,
    rows: list[_Row],
    stop_id: int,
    max_tokens: int,
    temperature: float,
    top_k: int | None,
    top_p: float | None,
) -> Iterator[tuple[list[int], Float[Tensor, "row vocab"]]]:
    """Each unfinished row's next token, and the logits it was drawn from, until every row has stopped."""
    # What has been read can be kept only while it never changes: without the causal mask each new token changes
    # what all earlier positions see, and so their keys and values; such a model reads everything again.
    n_ctx, keep = model.config.n_ctx, model.causal
    cache: KVCache | None = None
    live, left_pad = rows, None
    with evaluating(model):
        for step in range(max_tokens):
            if cache is None or cache.length == n_ctx:
                live = [row for row in rows if not row.stopped]
                for row in live:
                    row.slide(n_ctx)
                ids, left_pad = _left_padded([row.context for row in live], model.embed.weight.device)
                cache = KVCache(model.config.n_layers, n_ctx) if keep else None
            else:
                ids = torch.tensor([row.context[-1:] for row in live], device=model.embed.weight.device)
            logits = model(ids, cache, left_pad)[:, -1]  # (row, vocab)
            if not logits.isfinite().all():
                raise GuppyError("The model's weights are no numbers any more; choose an earlier checkpoint.")
            if temperature == 0:
                tokens = logits.argmax(-1).tolist()
            else:
                draws = torch.stack([row.draws[step] for row in live])
                tokens = _draw(next_token_distribution(logits, temperature, top_k, top_p), draws)
            for row, token in zip(live, tokens, strict=True):
                row.take(token, stop_id)
            yield tokens, logits
            if all(row.stopped for row in live):
                return


def _draw(p: Float[Tensor, "row vocab"], draws: Float[Tensor, row]) -> list[int]:
    """Inverse transform sampling: the first token at which the cumulative probability passes the uniform number."""
    cumulative = p.to("cpu", torch.float64).cumsum(-1)
    passed = torch.searchsorted(cumulative, draws[:, None] * cumulative[:, -1:], right=True)
    return passed[:, 0].tolist()


def _left_padded(
    contexts: list[list[int]], device: torch.device
) -> tuple[Int64[Tensor, "row pos"], Int64[Tensor, " row"] | None]:
    """Rows that end together, and how much padding each starts with (None: no row has any)."""
    width = max(map(len, contexts))
    padding = [width - len(context) for context in contexts]
    ids = torch.tensor([[0] * n + context for n, context in zip(padding, contexts, strict=True)], device=device)
    return ids, torch.tensor(padding, device=device) if any(padding) else None
