"""The arithmetic behind one number: its operands as they were recorded, and that they add up to it."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from guppy.errors import GuppyError
from guppy.inspect.anatomy import HEAD, LAYER, POS, Reading, check_head, position, read
from guppy.inspect.asking import Option, Question, Subject
from guppy.inspect.code_lines import code_lines
from guppy.inspect.sums import MADE, NORM_PARTS, STAGES, Element, Form, Reference
from guppy.model import Guppy

TOLERANCE = 1e-4
"""How far the sum may be from what was recorded, relative to it or to 1, before it counts as replaced."""


@dataclass(frozen=True)
class Explanation:
    """One number, and how it was made: the fields of `Element`, of `Sum`, and what they come to."""

    stage: str
    layer: int
    pos: int
    head: int
    index: int
    length: int
    """Numbers in the stage's vector."""
    hook: str
    """Where it was recorded, indexed; empty for a number that passes no hook point."""
    value: float
    """The number as the model had it."""
    computed: float
    """The arithmetic done again from the operands, in float64."""
    replaced: bool
    """Whether something put another number in its place: a surgery or an intervention at the hook point."""
    form: Form
    formula: str
    left: Float[Tensor, " term"] | None
    right: Float[Tensor, " term"] | None
    left_name: str
    right_name: str
    left_from: list[Reference] | Reference
    right_from: Reference
    factor: float
    bias: float | None
    bias_name: str
    scalars: dict[str, float]
    scalars_from: dict[str, Reference]
    code: list[dict[str, Any]]
    """The lines that did it, as `CodeLine`."""


@torch.no_grad()
def explain(
    model: Guppy,
    ids: Int64[Tensor, " pos"],
    stage: str,
    *,
    layer: int = 0,
    pos: int = -1,
    head: int = 0,
    index: int = 0,
) -> Explanation:
    """How one number came about, in the model as it is, under its surgery.

    `stage` is one of `STAGES`; `layer` and `head` count only where it has them. Raises GuppyError when the model has
    no such number, and as `read` does."""
    if stage not in MADE:
        raise GuppyError(f"There is no stage {stage[:40]!r}; choose {', '.join(MADE)}.")
    check_head(model, head)
    element = Element(stage, layer, position(ids, pos), head, index)
    r = read(model, ids, layer)
    vector, hook = _recorded(r, element)
    if not 0 <= index < len(vector):
        raise GuppyError(f"There is no number {index} there; {stage} has {len(vector)}, 0 to {len(vector) - 1}.")
    made, value = MADE[stage](r, element), vector[index].item()
    total = made.total
    parts = {name: getattr(made, name) for name in _KEPT}
    return Explanation(
        **asdict(element),
        **parts,
        length=len(vector),
        hook=hook,
        value=value,
        computed=total,
        replaced=value != total and not abs(value - total) <= TOLERANCE * max(1.0, abs(value)),
        code=[asdict(line) for line in code_lines("entry" if stage == "resid_pre" and layer == 0 else stage)],
    )


_KEPT = (
    *("form", "formula", "left", "right", "left_name", "right_name", "left_from", "right_from"),
    *("factor", "bias", "bias_name", "scalars", "scalars_from"),
)


# -- what was recorded -------------------------------------------------------------------------------------------

_HOOKS = {
    "embed": "hook_embed[{pos}, {index}]",
    "pos_embed": "hook_pos_embed[{pos}, {index}]",
    **{name: f"blocks.{{layer}}.hook_{name}[{{pos}}, {{index}}]" for name in ("resid_pre", "resid_mid", "resid_post")},
    **{name: f"blocks.{{layer}}.hook_{name}[{{pos}}, {{index}}]" for name in ("attn_out", "mlp_out")},
    **{name: f"blocks.{{layer}}.attn.hook_{name}[{{pos}}, {{head}}, {{index}}]" for name in ("q", "k", "v")},
    **{name: f"blocks.{{layer}}.attn.hook_{name}[{{pos}}, {{head}}, {{index}}]" for name in ("z", "result")},
    "masked": "blocks.{layer}.attn.hook_attn_scores[{head}, {pos}, {index}]",
    "pattern": "blocks.{layer}.attn.hook_pattern[{head}, {pos}, {index}]",
    "mlp_pre": "blocks.{layer}.mlp.hook_pre[{pos}, {index}]",
    "mlp_post": "blocks.{layer}.mlp.hook_post[{pos}, {index}]",
}
_NORM_HOOKS = {"scale": "hook_scale[{pos}, 0]", "normalized": "hook_normalized[{pos}, {index}]"}


def _recorded(r: Reading, e: Element) -> tuple[Float[Tensor, " index"], str]:
    """The stage's vector at the position, and the name of the one number."""
    if e.stage in _HOOKS:
        name = _HOOKS[e.stage]
        whole = r[name.split("[")[0]]
        if "[{head}, {pos}" in name:
            vector = whole[e.head, e.pos]
        else:
            vector = whole[e.pos, e.head] if "{head}" in name else whole[e.pos]
        return vector, name.format(**asdict(e))
    norm, _, part = e.stage.rpartition("_")
    if part in NORM_PARTS:
        found = getattr(r.norm(norm, e.pos), part)
        if found is None:
            raise GuppyError("LayerNorm is switched off in this model: there is no mean, scale or normalised vector.")
        path = "ln_final" if norm == "ln_final" else f"blocks.{e.layer}.{norm}"
        hook = f"{path}.{_NORM_HOOKS[part].format(**asdict(e))}" if part in _NORM_HOOKS else ""
        return found.reshape(-1), hook
    if e.stage in ("ln1", "ln2", "ln_final"):
        return r.norm(e.stage, e.pos).out, ""
    if e.stage == "scores":
        return r.scores(e.pos)[e.head], ""
    return (r.logits[e.pos] if e.stage == "logits" else r.logits[e.pos].softmax(-1)), ""


def _ask_explain(subject: Subject, stage: str, layer: int, pos: int, head: int, index: int) -> Explanation:
    return explain(subject.model, subject.ids, stage, layer=layer, pos=pos, head=head, index=index)


QUESTIONS = (
    Question(
        "explain",
        "The arithmetic behind one number of the anatomy: its operands, and what they add up to.",
        _ask_explain,
        hooks="*",
        options=(
            Option("stage", str, "logits", "What kind of number.", STAGES),
            LAYER,
            POS,
            HEAD,
            Option("index", int, 0, "Where in its vector: a dimension, neuron, key's position or token."),
        ),
    ),
)
