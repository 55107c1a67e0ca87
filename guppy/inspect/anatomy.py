"""One token's way through the network: every vector that is made for it, in the order of the code."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor

from guppy.errors import GuppyError
from guppy.hooks import HookPoint, intervene, record
from guppy.inspect.asking import Option, Question, Subject
from guppy.model import Guppy, LayerNorm

TOP = 12


@dataclass(frozen=True)
class Norm:
    """What a LayerNorm did to one vector (Ba et al. 2016, equation 4); the first four None when it is switched off."""

    mean: Tensor | None
    variance: Tensor | None
    scale: Tensor | None
    """The square root of variance + eps."""
    normalized: Float[Tensor, " d_model"] | None
    """(x - mean) / scale."""
    out: Float[Tensor, " d_model"]
    """normalized * gain + bias; when it is switched off, x itself."""


@dataclass(frozen=True)
class Reading:
    """A model's one pass over one text: what passed its hook points, all of them in one layer."""

    model: Guppy
    ids: Int64[Tensor, " pos"]
    layer: int
    tape: dict[str, Tensor]
    logits: Float[Tensor, "pos vocab"]

    def __getitem__(self, hook: str) -> Tensor:
        """What passed a hook point, such as `blocks.{layer}.attn.hook_q` for the layer that was read; no batch."""
        return self.tape[hook.format(layer=self.layer)][0]

    def norm(self, name: str, pos: int) -> Norm:
        """What the LayerNorm `ln1`, `ln2` or `ln_final` did at a position."""
        x, path = self.normed(name)[pos], "ln_final" if name == "ln_final" else f"blocks.{self.layer}.{name}"
        ln: LayerNorm = self.model.get_submodule(path)
        if not ln.on:
            return Norm(None, None, None, None, x)
        normalized, mean = self[f"{path}.hook_normalized"][pos], x.mean(-1)
        variance = (x - mean).pow(2).mean(-1)
        scale = self[f"{path}.hook_scale"][pos, 0]
        return Norm(mean, variance, scale, normalized, normalized * ln.weight + ln.bias)

    def normed(self, name: str) -> Float[Tensor, "pos d_model"]:
        """The stream that a LayerNorm reads."""
        last = f"blocks.{self.model.config.n_layers - 1}.hook_resid_post"
        hooks = {"ln1": "blocks.{layer}.hook_resid_pre", "ln2": "blocks.{layer}.hook_resid_mid", "ln_final": last}
        return self[hooks[name]]

    def scores(self, pos: int) -> Float[Tensor, "head key"]:
        """The query's product with every key, before the mask hides any."""
        q, k = self["blocks.{layer}.attn.hook_q"][pos], self["blocks.{layer}.attn.hook_k"]
        return torch.einsum("hd,khd->hk", q, k) * self.model.blocks[self.layer].attn.scale


def _only_listening(_value: Tensor, _point: HookPoint) -> None:
    """A hook that changes nothing."""


@torch.no_grad()
def read(model: Guppy, ids: Int64[Tensor, " pos"], layer: int) -> Reading:
    """Run the model over a text and keep what passes. Raises GuppyError on a layer that is not there, on a text that
    does not fit the context, and on a model in training mode with dropout, whose numbers are not sums of others."""
    if not 0 <= layer < model.config.n_layers:
        raise GuppyError(f"There is no layer {layer}; the model has layers 0 to {model.config.n_layers - 1}.")
    if model.training and model.config.dropout:
        raise GuppyError("The model is in training mode and drops numbers at random; call model.eval() first.")
    hooks = ["hook_embed", "hook_pos_embed", "blocks.*.hook_resid_*", f"blocks.{layer}.*", "ln_final.*"]
    # All layers are listened to, only one is kept: a number is then the same to the last bit wherever it is met.
    with intervene(model, [("*", _only_listening)]), record(model, hooks) as tape:
        logits = model(ids[None])[0]
    return Reading(model, ids, layer, tape, logits)


@dataclass(frozen=True)
class Anatomy:
    """All that one layer makes for one position of a text, what enters the first layer, and what leaves the last.

    Of a LayerNorm that is switched off only what leaves it is there."""

    layer: int
    head: int
    """The head whose keys and values are given."""
    pos: int
    id: int
    """The token at the position."""
    n_layers: int
    n_heads: int
    n: int
    """Tokens in the text."""
    d_vocab: int
    act_fn: str
    embed: Float[Tensor, " d_model"]
    """`hook_embed`: the token's row of the embedding."""
    pos_embed: Float[Tensor, " d_model"]
    """`hook_pos_embed`: the position's row."""
    stream: Float[Tensor, "moment d_model"]
    """The residual stream at the position: entering layer 0, then after each layer's attention and each layer's MLP."""
    resid_pre: Float[Tensor, " d_model"]
    ln1_mean: float | None
    ln1_variance: float | None
    ln1_scale: float | None
    ln1_normalized: Float[Tensor, " d_model"] | None
    ln1_gain: Float[Tensor, " d_model"] | None
    ln1_bias: Float[Tensor, " d_model"] | None
    ln1: Float[Tensor, " d_model"]
    """What attention reads."""
    q: Float[Tensor, "head d_head"]
    k: Float[Tensor, "head d_head"]
    v: Float[Tensor, "head d_head"]
    keys: Float[Tensor, "key d_head"]
    """`hook_k` of `head`, every position."""
    values: Float[Tensor, "key d_head"]
    """`hook_v` of `head`, every position."""
    score_factor: float
    """What q·k is multiplied by: 1/√d_head, or 1 where that is switched off."""
    scores: Float[Tensor, "head key"]
    """q·k times the factor, before the mask."""
    visible: Bool[Tensor, " key"]
    """Which keys the mask leaves."""
    masked: Float[Tensor, "head key"]
    """`hook_attn_scores`: minus infinity where a key is hidden."""
    pattern: Float[Tensor, "head key"]
    """`hook_pattern`: probabilities; each row sums to 1."""
    z: Float[Tensor, "head d_head"]
    """`hook_z`: the values, weighted by the pattern; 0 where a head is switched off."""
    result: Float[Tensor, "head d_model"]
    """`hook_result`: each head's part of attn_out."""
    attn_bias: Float[Tensor, " d_model"]
    """What attn_out is, apart from the heads' results."""
    attn_out: Float[Tensor, " d_model"]
    resid_mid: Float[Tensor, " d_model"]
    ln2_mean: float | None
    ln2_variance: float | None
    ln2_scale: float | None
    ln2_normalized: Float[Tensor, " d_model"] | None
    ln2_gain: Float[Tensor, " d_model"] | None
    ln2_bias: Float[Tensor, " d_model"] | None
    ln2: Float[Tensor, " d_model"]
    """What the MLP reads."""
    mlp_pre: Float[Tensor, " d_mlp"]
    mlp_post: Float[Tensor, " d_mlp"]
    mlp_out: Float[Tensor, " d_model"]
    resid_post: Float[Tensor, " d_model"]
    ln_final_mean: float | None
    ln_final_variance: float | None
    ln_final_scale: float | None
    ln_final_normalized: Float[Tensor, " d_model"] | None
    ln_final_gain: Float[Tensor, " d_model"] | None
    ln_final_bias: Float[Tensor, " d_model"] | None
    ln_final: Float[Tensor, " d_model"]
    """What is held against each token's embedding."""
    logits: Float[Tensor, " vocab"]
    probabilities: Float[Tensor, " vocab"]
    """Softmax of the logits, at temperature 1."""
    listed: Int64[Tensor, " row"]
    """Tokens worth listing: the most probable ones, first the likeliest; then those asked for, and the text's own next
    token, where they are not among them."""
    ranks: Int64[Tensor, " row"]
    """How many tokens are more probable than the listed one."""
    next_id: int | None
    """The token that follows in the text; None at its end."""
    off: list[str]
    """What is switched off here, of: positions, layernorm, causal_mask, scale, attention, mlp, residual."""
    heads_off: list[int]
    """The heads of the layer that are switched off."""


@torch.no_grad()
def anatomy(
    model: Guppy,
    ids: Int64[Tensor, " pos"],
    layer: int = 0,
    pos: int = -1,
    head: int = 0,
    top: int = TOP,
    also: Int64[Tensor, " token"] | None = None,
) -> Anatomy:
    """What the network makes of the token at `pos` (negative: from the end), in the words of guppy/model.py.

    `top` tokens are listed, and those of `also`. The model is read as it is, under its surgery. Raises GuppyError on
    a layer, position or head that is not there, and as `read` does."""
    pos = position(ids, pos)
    check_head(model, head)
    r = read(model, ids, layer)
    block, moments = model.blocks[layer], [r["blocks.0.hook_resid_pre"][pos]]
    for each in range(model.config.n_layers):
        moments += [r[f"blocks.{each}.hook_resid_mid"][pos], r[f"blocks.{each}.hook_resid_post"][pos]]
    logits = r.logits[pos]
    probabilities = logits.softmax(-1)
    listed = _listed(probabilities, ids, pos, top, also)
    masked = r["blocks.{layer}.attn.hook_attn_scores"][:, pos]
    off, heads_off = _off(r, pos)
    at = {name: r[hook][pos] for name, hook in _PLAIN.items()}
    norms = _norm_fields(r, pos)
    return Anatomy(
        **at,
        **norms,
        layer=layer,
        head=head,
        pos=pos,
        id=int(ids[pos]),
        n_layers=model.config.n_layers,
        n_heads=model.config.n_heads,
        n=len(ids),
        d_vocab=model.config.vocab_size,
        act_fn=model.config.act_fn,
        stream=torch.stack(moments),
        keys=r["blocks.{layer}.attn.hook_k"][:, head],
        values=r["blocks.{layer}.attn.hook_v"][:, head],
        score_factor=block.attn.scale,
        scores=r.scores(pos),
        visible=masked[0] > -torch.inf,
        masked=masked,
        pattern=r["blocks.{layer}.attn.hook_pattern"][:, pos],
        attn_bias=block.attn.out.bias.detach(),
        logits=logits,
        probabilities=probabilities,
        listed=listed,
        ranks=(probabilities > probabilities[listed, None]).sum(-1),
        next_id=int(ids[pos + 1]) if pos + 1 < len(ids) else None,
        off=off,
        heads_off=heads_off,
    )


_PLAIN = {
    "embed": "hook_embed",
    "pos_embed": "hook_pos_embed",
    **{name: f"blocks.{{layer}}.hook_{name}" for name in ("resid_pre", "resid_mid", "resid_post")},
    **{name: f"blocks.{{layer}}.attn.hook_{name}" for name in ("q", "k", "v", "z", "result")},
    **{name: f"blocks.{{layer}}.hook_{name}" for name in ("attn_out", "mlp_out")},
    **{f"mlp_{name}": f"blocks.{{layer}}.mlp.hook_{name}" for name in ("pre", "post")},
}
"""Fields that are what passed a hook point, at the position."""


def position(ids: Int64[Tensor, " pos"], pos: int) -> int:
    """The position counted from the text's beginning. Raises GuppyError when the text does not have it."""
    if not -len(ids) <= pos < len(ids):
        raise GuppyError(f"There is no position {pos}; the text has {len(ids)} tokens, 0 to {len(ids) - 1}.")
    return pos % len(ids)


def check_head(model: Guppy, head: int) -> None:
    if not 0 <= head < model.config.n_heads:
        raise GuppyError(f"There is no head {head}; each layer has heads 0 to {model.config.n_heads - 1}.")


def _norm_fields(r: Reading, pos: int) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name in ("ln1", "ln2", "ln_final"):
        norm = r.norm(name, pos)
        ln = r.model.ln_final if name == "ln_final" else getattr(r.model.blocks[r.layer], name)
        found |= {f"{name}_{key}": None if x is None else x.item() for key, x in _scalars(norm).items()}
        found |= {f"{name}_normalized": norm.normalized, name: norm.out}
        found |= {f"{name}_gain": ln.weight.detach() if ln.on else None}
        found |= {f"{name}_bias": ln.bias.detach() if ln.on else None}
    return found


def _scalars(norm: Norm) -> dict[str, Tensor | None]:
    return {"mean": norm.mean, "variance": norm.variance, "scale": norm.scale}


def _listed(
    probabilities: Float[Tensor, " vocab"],
    ids: Int64[Tensor, " pos"],
    pos: int,
    top: int,
    also: Int64[Tensor, " token"] | None,
) -> Int64[Tensor, " row"]:
    if top < 1:
        raise GuppyError(f"top must be at least 1, not {top}.")
    best = probabilities.topk(min(top, len(probabilities))).indices.tolist()
    asked = [] if also is None else also.tolist()
    if asked and not 0 <= min(asked) <= max(asked) < len(probabilities):
        raise GuppyError(f"A token that is asked for is not one of the model's {len(probabilities)}.")
    return torch.tensor(list(dict.fromkeys([*best, *asked, *ids[pos + 1 : pos + 2].tolist()])), device=ids.device)


def _off(r: Reading, pos: int) -> tuple[list[str], list[int]]:
    """What the model does without at this layer: its switches, and what is zero though the code before it is not."""
    block, model = r.model.blocks[r.layer], r.model
    pattern, v = r["blocks.{layer}.attn.hook_pattern"][:, pos], r["blocks.{layer}.attn.hook_v"]
    z, result = r["blocks.{layer}.attn.hook_z"][pos], r["blocks.{layer}.attn.hook_result"][pos]
    made = {
        "positions": (r["hook_pos_embed"][pos], model.pos_embed.weight[pos]),
        "attention": (r["blocks.{layer}.hook_attn_out"][pos], result.sum(0) + block.attn.out.bias),
        "mlp": (r["blocks.{layer}.hook_mlp_out"][pos], block.mlp.down(r["blocks.{layer}.mlp.hook_post"][pos])),
    }
    switches = {
        "layernorm": block.ln1.on,
        "causal_mask": block.attn.causal,
        "scale": block.attn.scale != 1.0 or model.config.d_head == 1,
        "residual": block.residual,
    }
    off = [name for name, on in switches.items() if not on]
    off += [name for name, (found, expected) in made.items() if not found.any() and expected.any()]
    mixed = torch.einsum("hk,khd->hd", pattern, v)
    return off, [head for head in range(len(z)) if not z[head].any() and mixed[head].any()]


@dataclass(frozen=True)
class AnatomyInWords(Anatomy):
    """An anatomy with the text of its tokens."""

    token: str
    listed_tokens: list[str]
    hooks: str
    """Which hook points were read."""


@dataclass(frozen=True)
class Vocabulary:
    vocabulary: list[str]
    """Every token's text, by id, rows of the embedding that no token has included."""


def _ask_anatomy(subject: Subject, layer: int, pos: int, head: int, top: int, also: str) -> AnatomyInWords:
    asked = torch.tensor(subject.tokenizer.encode(also), dtype=torch.int64) if also else None
    found = anatomy(subject.model, subject.ids, layer, pos, head, top, asked)
    known = {field.name: getattr(found, field.name) for field in fields(Anatomy)}
    listed = subject.tokenizer.token_strings(found.listed.tolist())
    token, hooks = subject.tokens[found.pos], f"blocks.{found.layer}.*"
    return AnatomyInWords(**known, token=token, listed_tokens=listed, hooks=hooks)


def _ask_vocabulary(subject: Subject) -> Vocabulary:
    return Vocabulary(subject.tokenizer.token_strings(range(subject.model.config.vocab_size)))


LAYER = Option("layer", int, 0, "The layer that is looked at.")
POS = Option("pos", int, -1, "The token's position; negative ones count from the end.")
HEAD = Option("head", int, 0, "The attention head that is looked at.")

QUESTIONS = (
    Question(
        "anatomy",
        "One token's way through the network: every vector of one layer, and the logits.",
        _ask_anatomy,
        hooks="*",
        options=(
            LAYER,
            POS,
            HEAD,
            Option("top", int, TOP, "How many of the most probable tokens are listed."),
            Option("also", str, "", "A text whose tokens are listed as well."),
        ),
    ),
    Question("vocabulary", "Every token's text.", _ask_vocabulary, prompt=False),
)
