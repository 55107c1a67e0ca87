"""Activation patching: what a run on one prompt becomes when parts of it are taken from a run on another prompt."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from guppy.errors import GuppyError
from guppy.hooks import record
from guppy.inspect.asking import Option, Question, Subject
from guppy.inspect.swaps import ATTN_OUT, MLP_OUT, RESID_PRE, Swap, Z, each_part, part_names, swapped
from guppy.model import Guppy
from guppy.tokenizer import Tokenizer

POSITION_SITES = {
    "resid_pre": RESID_PRE,
    "resid_mid": "blocks.{}.hook_resid_mid",
    "attn_out": ATTN_OUT,
    "mlp_out": MLP_OUT,
}
HEAD_SITES = {name: f"blocks.{{}}.attn.hook_{name}" for name in ("z", "q", "k", "v", "pattern")}
PARTS = "parts"
SITES = (*POSITION_SITES, *HEAD_SITES, PARTS)
DIRECTIONS = ("denoise", "noise")
PLACES = ("parting", "prompt", "words")
LONGEST_SHARED = 24
"""Tokens of the replies that are compared to find where they part."""
SMALLEST_CHANGE = 1e-3
"""Logits by which the two prompts must differ for their difference to be a scale."""


@dataclass(frozen=True)
class Answers:
    """What is measured, and where: the next token after `shared`, which both prompts are followed by."""

    shared: tuple[int, ...]
    answer: int
    """The token that belongs to the clean prompt."""
    wrong: int
    """The one that belongs to the corrupted prompt."""


@dataclass(frozen=True)
class Patching:
    """The logit difference, logit[answer] - logit[wrong] after the last position, when one thing at a time is patched.

    One row for each layer. Columns are positions (`POSITION_SITES`), heads at all positions (`HEAD_SITES`), or for
    "parts" the heads at `hook_z`, the whole attention and the MLP, each at all positions."""

    columns: list[str]
    """Names of heads and parts; empty for positions."""
    recovered: Float[Tensor, "layer column"]
    """0: as on the corrupted prompt; 1: as on the clean one. (patched - corrupted) / (clean - corrupted)."""
    logit_diff: Float[Tensor, "layer column"]
    """The logit difference itself."""
    clean_logit_diff: float
    corrupted_logit_diff: float
    direction: str
    """"denoise": the corrupted run is patched from the clean one; "noise": the other way round."""
    hooks: str


@torch.no_grad()
def patch(
    model: Guppy,
    clean: Int64[Tensor, " pos"],
    corrupted: Int64[Tensor, " pos"],
    answer: int,
    wrong: int,
    site: str = "resid_pre",
    direction: str = "denoise",
) -> Patching:
    """Patch one thing at a time from the run on one prompt into the run on the other (after the causal tracing of Meng
    et al. 2022, section 2, with a second prompt for their noise, as Wang et al. 2023 have it), and read the logit
    difference.

    Both runs are of the same model under its surgery. All patches of a layer are rows of one forward pass that starts
    there. Raises GuppyError when the prompts differ in length or are the same, when the answers are the same token, on
    an unknown site or direction, and when the two runs' logit differences are too close for a scale."""
    _check(clean, corrupted, answer, wrong, site, direction)
    layers = range(model.config.n_layers)
    places = (Z, ATTN_OUT, MLP_OUT) if site == PARTS else (({**POSITION_SITES, **HEAD_SITES})[site],)
    names = [place.format(layer) for layer in layers for place in {RESID_PRE, *places}]
    tapes, differences = [], []
    for ids in (clean, corrupted):
        with record(model, names) as tape:
            logits = model(ids[None])[0, -1]
        tapes.append(tape)
        differences.append((logits[answer] - logits[wrong]).item())
    best, worst = differences
    if abs(best - worst) < SMALLEST_CHANGE:
        raise GuppyError(
            f"Both prompts give a logit difference of {best:.3g}, so there is nothing to recover; "
            "choose other prompts or other answers."
        )
    source, base = tapes if direction == "denoise" else reversed(tapes)
    unpatched = worst if direction == "denoise" else best
    # Under the mask both runs are the same before the first token that differs: there is nothing to patch.
    same = int((clean != corrupted).nonzero()[0]) if model.causal and site in POSITION_SITES else 0
    rows = []
    for layer in layers:
        put = {place.format(layer): source[place.format(layer)][0] for place in places}
        if site == PARTS:
            swaps = each_part(model, layer, put)
        else:
            swaps = [Swap(name, _one_each(site, value)[same:], value) for name, value in put.items()]
        stream = base[RESID_PRE.format(layer)]
        found = swapped(model, stream, layer, swaps, lambda x: x[:, -1, answer] - x[:, -1, wrong], last=True)
        rows.append(torch.cat([found.new_full((same,), unpatched), found]))
    logit_diff = torch.stack(rows)
    names = part_names(model)
    return Patching(
        names if site == PARTS else names[: model.config.n_heads] if site in HEAD_SITES else [],
        (logit_diff - worst) / (best - worst),
        logit_diff,
        best,
        worst,
        direction,
        ", ".join(place.format("*") for place in places),
    )


@torch.no_grad()
def find_answers(
    model: Guppy, clean: Int64[Tensor, " pos"], corrupted: Int64[Tensor, " pos"], stop: int | None = None
) -> Answers:
    """Where and how the two greedy replies first differ: the words both begin with, and each one's next token.

    Up to `LONGEST_SHARED` tokens of the replies are looked at, not beyond the token `stop` or the context. When they
    do not differ there: right after the prompts, the token that tells most for the clean prompt and the one that tells
    most for the corrupted one: the largest terms of KL(clean ‖ corrupted) and of KL(corrupted ‖ clean).
    Raises GuppyError when the prompts differ in length or are the same, or when the model does not tell them apart."""
    _check_prompts(clean, corrupted)
    both = torch.stack([clean, corrupted])
    first, shared = None, []
    for _ in range(min(LONGEST_SHARED, model.config.n_ctx - len(clean) + 1)):
        logits = model(both)[:, -1]
        first = logits if first is None else first
        answer, wrong = logits.argmax(-1).tolist()
        if answer != wrong:
            return Answers(tuple(shared), answer, wrong)
        if answer == stop:
            break
        shared.append(answer)
        both = torch.cat([both, both.new_full((2, 1), answer)], dim=1)
    return _telling(first)


@torch.no_grad()
def answers_after(
    model: Guppy, clean: Int64[Tensor, " pos"], corrupted: Int64[Tensor, " pos"], shared: tuple[int, ...] = ()
) -> Answers:
    """The tokens to tell the prompts apart by after words that are given: each one's most probable next token, or when
    that is the same, those that `find_answers` falls back to. Raises GuppyError as that does."""
    _check_prompts(clean, corrupted)
    both = torch.stack([clean, corrupted])
    logits = model(torch.cat([both, both.new_tensor(shared).expand(2, -1)], dim=1))[:, -1]
    answer, wrong = logits.argmax(-1).tolist()
    found = Answers((), answer, wrong) if answer != wrong else _telling(logits)
    return Answers(shared, found.answer, found.wrong)


def _telling(logits: Float[Tensor, "2 vocab"]) -> Answers:
    log_p = logits.double().log_softmax(-1)
    terms = log_p.exp() * (log_p - log_p.flip(0))
    answer, wrong = terms.argmax(-1).tolist()
    if answer == wrong:
        raise GuppyError("The model says the same after both prompts, so there is nothing to tell apart.")
    return Answers((), answer, wrong)


def _one_each(site: str, value: Tensor) -> Tensor:
    """A row for each position, or for each head, that says where its patch is."""
    if site in POSITION_SITES:
        return torch.eye(len(value), dtype=torch.bool)[:, :, None]  # (row, pos, d_model)
    if site == "pattern":
        return torch.eye(len(value), dtype=torch.bool)[:, :, None, None]  # (row, head, query, key)
    return torch.eye(value.shape[1], dtype=torch.bool)[:, None, :, None]  # (row, pos, head, d_head)


def _check(clean: Tensor, corrupted: Tensor, answer: int, wrong: int, site: str, direction: str) -> None:
    _check_prompts(clean, corrupted)
    if site not in SITES:
        raise GuppyError(f"There is no place {site!r} to patch; choose {', '.join(SITES)}.")
    if direction not in DIRECTIONS:
        raise GuppyError(f"There is no direction {direction!r}; choose {' or '.join(DIRECTIONS)}.")
    if answer == wrong:
        raise GuppyError("The two answers are the same token; choose two that differ.")


def _check_prompts(clean: Tensor, corrupted: Tensor) -> None:
    if len(clean) != len(corrupted):
        raise GuppyError(
            f"The clean prompt has {len(clean)} tokens and the corrupted one {len(corrupted)}; "
            "patching needs as many in both."
        )
    if torch.equal(clean, corrupted):
        raise GuppyError("The two prompts are the same; change a word in one of them.")


@dataclass(frozen=True)
class PatchedPrompts(Patching):
    """`Patching` of two prompts, with what was found out about them first."""

    clean_tokens: list[str]
    """Both prompts as text, one string for each position, with the words after which the answer is read."""
    corrupted_tokens: list[str]
    shared: str
    """Those words: a beginning that both replies have in common; may be empty."""
    answers: list[str]
    """The two tokens as text: the clean prompt's, the corrupted one's."""
    answer_ids: list[int]


def _ask(
    subject: Subject, corrupted: str, site: str, direction: str, at: str, words: str, answer: str, wrong: str
) -> PatchedPrompts:
    model, tokenizer, clean = subject.model, subject.tokenizer, subject.ids
    encode = tokenizer.encode_chat if subject.run is None else subject.run.encode_prompt
    other = clean.new_tensor(encode(corrupted)[-model.config.n_ctx :])
    if at == "parting":
        found = find_answers(model, clean, other, tokenizer.im_end_id)
    else:
        found = answers_after(model, clean, other, tuple(tokenizer.encode(words)) if at == "words" else ())
    answers = [_token(tokenizer, text, chosen) for text, chosen in ((answer, found.answer), (wrong, found.wrong))]
    clean, other = (torch.cat([ids, ids.new_tensor(found.shared)]) for ids in (clean, other))
    patched = patch(model, clean, other, *answers, site, direction)
    return PatchedPrompts(
        **vars(patched),
        clean_tokens=tokenizer.token_strings(clean.tolist()),
        corrupted_tokens=tokenizer.token_strings(other.tolist()),
        shared=tokenizer.decode(found.shared),
        answers=tokenizer.token_strings(answers),
        answer_ids=answers,
    )


def _token(tokenizer: Tokenizer, text: str, otherwise: int) -> int:
    """The one token that a text is. Raises GuppyError when it is several."""
    if not text:
        return otherwise
    ids = tokenizer.encode(text)
    if len(ids) != 1:
        raise GuppyError(
            f"{text[:40]!r} is {len(ids)} tokens here ({' | '.join(tokenizer.token_strings(ids[:8]))}); "
            "an answer is one token, such as the first of them."
        )
    return ids[0]


QUESTIONS = (
    Question(
        "patching",
        "What of a run on this prompt brings its answer into a run on another prompt.",
        _ask,
        hooks="blocks.*.hook_resid_pre",
        options=(
            Option("corrupted", str, "", "the other prompt; it needs as many tokens"),
            Option("site", str, "resid_pre", "what is patched", SITES),
            Option("direction", str, "denoise", "which of the two runs is patched from the other", DIRECTIONS),
            Option(
                "at",
                str,
                "parting",
                "where the answer is read: where the replies part, after the prompt, or after words",
                PLACES,
            ),
            Option("words", str, "", "the words that both replies begin with, for at=words"),
            Option("answer", str, "", "the clean prompt's next token; empty: found by itself"),
            Option("wrong", str, "", "the corrupted prompt's next token; empty: found by itself"),
        ),
    ),
)
