"""How each number of one pass is made of others: the operands as they were recorded, stage by stage.

Where Σ is written the sum runs over j, the terms; a number's own index is i.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

from guppy.inspect.anatomy import Reading

TERM = "term"
"""In a reference: the number of the term."""

Reference = dict[str, "str | int"]
Form = Literal["products", "sum", "function", "copy"]


@dataclass(frozen=True)
class Element:
    """One number of one pass: of a stage, at a position, in a layer and of a head where the stage has them."""

    stage: str
    layer: int
    pos: int
    head: int
    index: int
    """Where in the stage's vector: a dimension, a neuron, a key's position or a token."""

    def to(self, stage: str, **changes: str | int) -> Reference:
        """Another number, as `explain` is asked for it."""
        return {**asdict(self), "stage": stage, **changes}


@dataclass(frozen=True)
class Sum:
    """How a number is made. form "products": factor * (Σ left * right + bias); "sum": factor * Σ left;
    "function" of `scalars` and, in a softmax, of the row in `left`; "copy" of its only scalar."""

    form: Form
    formula: str
    left: Float[Tensor, " term"] | None = None
    right: Float[Tensor, " term"] | None = None
    left_name: str = ""
    """Which vector, in the code's words."""
    right_name: str = ""
    left_from: list[Reference] | Reference = field(default_factory=dict)
    """Which numbers the operands are: one reference, in which "term" stands for the number of the term, or a list of
    one for each term; empty for a weight."""
    right_from: Reference = field(default_factory=dict)
    factor: float = 1.0
    bias: float | None = None
    bias_name: str = ""
    scalars: dict[str, float] = field(default_factory=dict)
    scalars_from: dict[str, Reference] = field(default_factory=dict)
    result: float | None = None
    """What a function gives; the other forms are added up."""

    @property
    def total(self) -> float:
        """The arithmetic done again, in float64."""
        if self.result is not None:
            return self.result
        if self.left is None:
            return next(iter(self.scalars.values()))
        right = 1.0 if self.right is None else self.right.double()
        return self.factor * ((self.left.double() * right).sum().item() + (self.bias or 0.0))


NORM_PARTS = ("mean", "variance", "scale", "normalized")


# -- how each is made, in the order of the code --------------------------------------------------------------------


def _embed(r: Reading, e: Element) -> Sum:
    token = int(r.ids[e.pos])
    name = f"embed.weight[{token}, {e.index}]"
    return Sum("copy", "embed[i] = W_E[token, i]", scalars={name: r.model.embed.weight[token, e.index].item()})


def _pos_embed(r: Reading, e: Element) -> Sum:
    name = f"pos_embed.weight[{e.pos}, {e.index}]"
    return Sum("copy", "pos_embed[i] = W_pos[pos, i]", scalars={name: r.model.pos_embed.weight[e.pos, e.index].item()})


def _resid_pre(r: Reading, e: Element) -> Sum:
    if e.layer:
        before = r[f"blocks.{e.layer - 1}.hook_resid_post"][e.pos, e.index].item()
        came = {"resid_post": e.to("resid_post", layer=e.layer - 1)}
        return Sum(
            "copy", "resid_pre = resid_post of the layer before", scalars={"resid_post": before}, scalars_from=came
        )
    return _added(
        r, e, "resid_pre[i] = embed[i] + pos_embed[i]", {"embed": "hook_embed", "pos_embed": "hook_pos_embed"}
    )


def _stream(after: str, before: str, out: str) -> Callable[[Reading, Element], Sum]:
    def made(r: Reading, e: Element) -> Sum:
        kept = [before, out] if r.model.blocks[e.layer].residual else [out]
        formula = f"{after}[i] = {' + '.join(f'{name}[i]' for name in kept)}"
        return _added(r, e, formula, {name: f"blocks.{{layer}}.hook_{name}" for name in kept})

    return made


def _added(r: Reading, e: Element, formula: str, hooks: dict[str, str]) -> Sum:
    left = torch.stack([r[hook][e.pos, e.index] for hook in hooks.values()])
    return Sum("sum", formula, left, left_name=" + ".join(hooks), left_from=[e.to(name) for name in hooks])


def _norm(name: str, part: str) -> Callable[[Reading, Element], Sum]:
    """How LayerNorm `name` makes one of its parts; part "": what leaves it."""
    stream = {"ln1": "resid_pre", "ln2": "resid_mid", "ln_final": "resid_post"}[name]

    def made(r: Reading, e: Element) -> Sum:
        norm, x = r.norm(name, e.pos), r.normed(name)[e.pos]
        layer = r.model.config.n_layers - 1 if name == "ln_final" else e.layer
        ln = r.model.ln_final if name == "ln_final" else getattr(r.model.blocks[e.layer], name)
        path = "ln_final" if name == "ln_final" else f"blocks.{e.layer}.{name}"
        read_from, mean = e.to(stream, layer=layer), e.to(f"{name}_mean", index=0)
        if not ln.on:
            return Sum(
                "copy", "LayerNorm is off: x passes", scalars={"x": x[e.index].item()}, scalars_from={"x": read_from}
            )
        if part == "mean":
            every = {**read_from, "index": TERM}
            return Sum("sum", "mean = Σ x[j] / d_model", x, left_name=stream, left_from=every, factor=1 / len(x))
        if part == "variance":
            centred = x - norm.mean
            names = {"left_name": f"{stream} - mean", "right_name": f"{stream} - mean"}
            return Sum(
                "products", "variance = Σ (x[j] - mean)² / d_model", centred, centred, **names, factor=1 / len(x)
            )
        if part == "scale":
            scalars = {"variance": norm.variance.item(), "eps": ln.eps}
            result = (norm.variance.double() + ln.eps).sqrt().item()
            came = {"variance": e.to(f"{name}_variance", index=0)}
            return Sum("function", "scale = √(variance + eps)", scalars=scalars, scalars_from=came, result=result)
        if part == "normalized":
            scalars = {"x": x[e.index].item(), "mean": norm.mean.item(), "scale": norm.scale.item()}
            came = {"x": read_from, "mean": mean, "scale": e.to(f"{name}_scale", index=0)}
            result = (scalars["x"] - scalars["mean"]) / scalars["scale"]
            return Sum(
                "function", "normalized[i] = (x[i] - mean) / scale", scalars=scalars, scalars_from=came, result=result
            )
        return Sum(
            "products",
            f"{name}[i] = normalized[i] · gain[i] + bias[i]",
            norm.normalized[e.index, None],
            ln.weight[e.index, None],
            f"{name}_normalized",
            f"{path}.weight[{e.index}]",
            e.to(f"{name}_normalized"),
            bias=ln.bias[e.index].item(),
            bias_name=f"{path}.bias[{e.index}]",
        )

    return made


def _qkv(which: int, name: str) -> Callable[[Reading, Element], Sum]:
    def made(r: Reading, e: Element) -> Sum:
        config, qkv = r.model.config, r.model.blocks[e.layer].attn.qkv
        row = which * config.d_model + e.head * config.d_head + e.index
        path = f"blocks.{e.layer}.attn.qkv"
        x = r.norm("ln1", e.pos).out
        return _product(
            f"{name}[i] = Σ ln1[j] · W_{name.upper()}[j, i] + b_{name.upper()}[i]", x, qkv, row, path, "ln1", e
        )

    return made


def _product(formula: str, x: Tensor, linear: torch.nn.Linear, row: int, path: str, stage: str, e: Element) -> Sum:
    """One row of a linear layer with the vector of another stage."""
    return Sum(
        "products",
        formula,
        x,
        linear.weight[row],
        stage,
        f"{path}.weight[{row}]",
        e.to(stage, index=TERM),
        bias=linear.bias[row].item(),
        bias_name=f"{path}.bias[{row}]",
    )


def _scores(r: Reading, e: Element) -> Sum:
    attn = r.model.blocks[e.layer].attn
    return Sum(
        "products",
        "score[key] = Σ q[j] · k[key, j]" + (" / √d_head" if attn.scale != 1 else ""),
        r["blocks.{layer}.attn.hook_q"][e.pos, e.head],
        r["blocks.{layer}.attn.hook_k"][e.index, e.head],
        "q",
        f"k[{e.index}]",
        e.to("q", index=TERM),
        e.to("k", pos=e.index, index=TERM),
        factor=attn.scale,
    )


def _masked(r: Reading, e: Element) -> Sum:
    score = r.scores(e.pos)[e.head, e.index].item()
    visible = not r.model.blocks[e.layer].attn.causal or e.index <= e.pos
    return Sum(
        "function",
        "score where key <= query, else -∞" if r.model.blocks[e.layer].attn.causal else "score; there is no mask",
        scalars={"score": score, "key": float(e.index), "query": float(e.pos)},
        scalars_from={"score": e.to("scores")},
        result=score if visible else -torch.inf,
    )


def _softmax(formula: str, name: str, row: Tensor, e: Element) -> Sum:
    """A softmax's number, taken from the largest of the row so that nothing overflows."""
    exponentials = (row.double() - row.max()).exp()
    scalars = {name: row[e.index].item(), "largest": row.max().item(), "sum": exponentials.sum().item()}
    return Sum(
        "function",
        formula,
        row,
        left_name=name,
        left_from=e.to(name, index=TERM),
        scalars=scalars,
        scalars_from={name: e.to(name)},
        result=(exponentials[e.index] / exponentials.sum()).item(),
    )


def _pattern(r: Reading, e: Element) -> Sum:
    row = r["blocks.{layer}.attn.hook_attn_scores"][e.head, e.pos]
    return _softmax("pattern[key] = exp(score[key]) / Σ exp(score[j])", "masked", row, e)


def _z(r: Reading, e: Element) -> Sum:
    return Sum(
        "products",
        "z[i] = Σ pattern[j] · v[j, i]",
        r["blocks.{layer}.attn.hook_pattern"][e.head, e.pos],
        r["blocks.{layer}.attn.hook_v"][:, e.head, e.index],
        "pattern",
        "v",
        e.to("pattern", index=TERM),
        e.to("v", pos=TERM),
    )


def _result(r: Reading, e: Element) -> Sum:
    d_head, first = r.model.config.d_head, e.head * r.model.config.d_head
    return Sum(
        "products",
        "result[i] = Σ z[j] · W_O[j, i]",
        r["blocks.{layer}.attn.hook_z"][e.pos, e.head],
        r.model.blocks[e.layer].attn.out.weight[e.index, first : first + d_head],
        "z",
        f"blocks.{e.layer}.attn.out.weight[{e.index}, {first}:{first + d_head}]",
        e.to("z", index=TERM),
    )


def _attn_out(r: Reading, e: Element) -> Sum:
    result = r["blocks.{layer}.attn.hook_result"][e.pos, :, e.index]
    return Sum(
        "sum",
        "attn_out[i] = Σ result of head j [i] + b_O[i]",
        result,
        left_name="result",
        left_from=e.to("result", head=TERM),
        bias=r.model.blocks[e.layer].attn.out.bias[e.index].item(),
        bias_name=f"blocks.{e.layer}.attn.out.bias[{e.index}]",
    )


def _mlp_pre(r: Reading, e: Element) -> Sum:
    up, x = r.model.blocks[e.layer].mlp.up, r.norm("ln2", e.pos).out
    return _product("pre[i] = Σ ln2[j] · W_up[j, i] + b_up[i]", x, up, e.index, f"blocks.{e.layer}.mlp.up", "ln2", e)


_ACTIVATION = {
    "relu": "post = max(0, pre)",
    "gelu": "post = pre · Φ(pre)",
    "gelu_new": "post = pre · (1 + tanh(√(2/π) · (pre + 0.044715 pre³))) / 2",
}


def _mlp_post(r: Reading, e: Element) -> Sum:
    pre = r["blocks.{layer}.mlp.hook_pre"][e.pos, e.index]
    result = r.model.blocks[e.layer].mlp.act(pre.double()).item()
    formula, came = _ACTIVATION[r.model.config.act_fn], {"pre": e.to("mlp_pre")}
    return Sum("function", formula, scalars={"pre": pre.item()}, scalars_from=came, result=result)


def _mlp_out(r: Reading, e: Element) -> Sum:
    down, x = r.model.blocks[e.layer].mlp.down, r["blocks.{layer}.mlp.hook_post"][e.pos]
    path = f"blocks.{e.layer}.mlp.down"
    return _product("mlp_out[i] = Σ post[j] · W_down[j, i] + b_down[i]", x, down, e.index, path, "mlp_post", e)


def _logits(r: Reading, e: Element) -> Sum:
    return Sum(
        "products",
        "logit[token] = Σ ln_final[j] · W_E[token, j]",
        r.norm("ln_final", e.pos).out,
        r.model.embed.weight[e.index],
        "ln_final",
        f"embed.weight[{e.index}]",
        e.to("ln_final", index=TERM),
    )


def _probabilities(r: Reading, e: Element) -> Sum:
    return _softmax("probability[token] = exp(logit[token]) / Σ exp(logit[j])", "logits", r.logits[e.pos], e)


_NORM_STAGES = {
    f"{name}{'_' if part else ''}{part}": _norm(name, part)
    for name in ("ln1", "ln2", "ln_final")
    for part in (*NORM_PARTS, "")
}
MADE: dict[str, Callable[[Reading, Element], Sum]] = {
    "embed": _embed,
    "pos_embed": _pos_embed,
    "resid_pre": _resid_pre,
    **{name: made for name, made in _NORM_STAGES.items() if name.startswith("ln1")},
    **{name: _qkv(which, name) for which, name in enumerate("qkv")},
    "scores": _scores,
    "masked": _masked,
    "pattern": _pattern,
    "z": _z,
    "result": _result,
    "attn_out": _attn_out,
    "resid_mid": _stream("resid_mid", "resid_pre", "attn_out"),
    **{name: made for name, made in _NORM_STAGES.items() if name.startswith("ln2")},
    "mlp_pre": _mlp_pre,
    "mlp_post": _mlp_post,
    "mlp_out": _mlp_out,
    "resid_post": _stream("resid_post", "resid_mid", "mlp_out"),
    **{name: made for name, made in _NORM_STAGES.items() if name.startswith("ln_final")},
    "logits": _logits,
    "probabilities": _probabilities,
}
STAGES = tuple(MADE)
"""Every kind of number that can be explained, in the order of the code."""
