"""A head's circuits as questions: with the tokens that it has met in training, and their texts."""

from __future__ import annotations

from dataclasses import dataclass

from jaxtyping import Float, Int64
from torch import Tensor

from guppy.errors import GuppyError
from guppy.inspect.asking import Option, Question, Subject
from guppy.inspect.circuits import (
    Copying,
    PositionalQK,
    PositionalReach,
    copying,
    ov_circuit,
    positional_qk,
    positional_reach,
    qk_circuit,
    typical_scale,
)
from guppy.inspect.vocabulary import TOKENS, asked_tokens, token_id, words
from guppy.model import Guppy

FOLDED = "approximate: LayerNorm divides every token by the same number, and not at all before the logits"


@dataclass(frozen=True)
class HeadOnVocabulary:
    """The most extreme pairs of a head's two circuits."""

    qk_ids: Int64[Tensor, "pair 2"]
    """Query and key tokens with the highest scores."""
    qk_score: Float[Tensor, " pair"]
    qk_low_ids: Int64[Tensor, "pair 2"]
    qk_low_score: Float[Tensor, " pair"]
    ov_ids: Int64[Tensor, "pair 2"]
    """Attended and written tokens with the highest logits."""
    ov_logit: Float[Tensor, " pair"]
    ov_low_ids: Int64[Tensor, "pair 2"]
    ov_low_logit: Float[Tensor, " pair"]
    qk_spread: float
    ov_spread: float
    """Standard deviations over all pairs of tokens."""
    scale: float
    """`typical_scale`."""
    considered: int
    """How many tokens the pairs are of."""
    off: bool
    """Whether surgery silences the head; its weights are shown all the same."""
    words: dict[str, str]
    """The text of each id that occurs."""


@dataclass(frozen=True)
class TokenInHead:
    """What a head does with one token."""

    token: int
    attends_ids: Int64[Tensor, " key"]
    """As a query: the keys it scores highest, with `attends_score`."""
    attends_score: Float[Tensor, " key"]
    avoids_ids: Int64[Tensor, " key"]
    avoids_score: Float[Tensor, " key"]
    writes_ids: Int64[Tensor, " written"]
    """When attended to: the tokens whose logits it raises most, with `writes_logit`."""
    writes_logit: Float[Tensor, " written"]
    suppresses_ids: Int64[Tensor, " written"]
    suppresses_logit: Float[Tensor, " written"]
    own_score: float
    """Its score on itself."""
    own_logit: float
    """What attending to it adds to its own logit."""
    off: bool
    words: dict[str, str]


def _ask_circuits(subject: Subject, layer: int, head: int, pairs: int, tokens: str) -> HeadOnVocabulary:
    model, ids = subject.model, asked_tokens(subject, tokens)
    _require_positive("pairs", pairs)
    qk, ov = qk_circuit(model, layer, head, ids), ov_circuit(model, layer, head, ids)
    found = [circuit.extreme(pairs, largest=largest) for circuit in (qk, ov) for largest in (True, False)]
    return HeadOnVocabulary(
        *(part for each in found for part in (each.ids, each.value)),
        qk_spread=qk.spread,
        ov_spread=ov.spread,
        scale=typical_scale(model, ids),
        considered=len(ids),
        off=_is_off(model, layer, head),
        words=words(subject.tokenizer, *(each.ids for each in found)),
    )


def _ask_token(subject: Subject, layer: int, head: int, token: str, top: int, tokens: str) -> TokenInHead:
    _require_positive("top", top)
    model, at = subject.model, token_id(subject.tokenizer, token)
    ids = asked_tokens(subject, tokens, at)
    qk, ov = qk_circuit(model, layer, head, ids), ov_circuit(model, layer, head, ids)
    score, logit = qk.row(at), ov.row(at)
    found = [row.topk(min(top, len(ids)), largest=largest) for row in (score, logit) for largest in (True, False)]
    return TokenInHead(
        at,
        *(part for each in found for part in (ids[each.indices], each.values)),
        own_score=score[qk.place(at)].item(),
        own_logit=logit[ov.place(at)].item(),
        off=_is_off(model, layer, head),
        words=words(subject.tokenizer, [at], *(ids[each.indices] for each in found)),
    )


def _ask_copying(subject: Subject, tokens: str) -> Copying:
    return copying(subject.model, asked_tokens(subject, tokens))


def _ask_positional(subject: Subject, layer: int, head: int) -> PositionalQK:
    return positional_qk(subject.model, layer, head, asked_tokens(subject, "met"))


def _ask_reach(subject: Subject) -> PositionalReach:
    return positional_reach(subject.model, asked_tokens(subject, "met"))


def _is_off(model: Guppy, layer: int, head: int) -> bool:
    return layer in model.surgery.attention_off or (layer, head) in model.surgery.heads_off


def _require_positive(name: str, value: int) -> None:
    if not 1 <= value <= 1000:
        raise GuppyError(f"{name} must be between 1 and 1000, not {value}.")


_HEAD = (Option("layer", int, 0, "The head's layer."), Option("head", int, 0, "The head in its layer."))

QUESTIONS = (
    Question(
        "circuits",
        "The strongest pairs of tokens in a head's QK and OV circuits.",
        _ask_circuits,
        exactness=FOLDED,
        options=(*_HEAD, Option("pairs", int, 30, "How many pairs of each kind."), TOKENS),
        prompt=False,
    ),
    Question(
        "token-circuits",
        "What a head attends to from a token, and what it writes about it.",
        _ask_token,
        exactness=FOLDED,
        options=(
            *_HEAD,
            Option("token", str, "#1", "One token: its text, or # and its id."),
            Option("top", int, 12, "How many tokens of each kind."),
            TOKENS,
        ),
        prompt=False,
    ),
    Question(
        "copying",
        "Which heads write what they attend to.",
        _ask_copying,
        exactness=FOLDED,
        options=(TOKENS,),
        prompt=False,
    ),
    Question(
        "positional-qk",
        "Where a head looks by position alone.",
        _ask_positional,
        exactness=FOLDED,
        options=_HEAD,
        prompt=False,
    ),
    Question(
        "positional-reach",
        "How far back every head looks by position alone.",
        _ask_reach,
        exactness=FOLDED,
        prompt=False,
    ),
)
