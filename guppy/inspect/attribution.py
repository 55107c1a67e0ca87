"""Who wrote the logit: direct logit attribution, the logit of a token as a sum over everything that was added."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from einops import einsum, rearrange
from jaxtyping import Float, Int64
from torch import Tensor

from guppy.errors import GuppyError
from guppy.hooks import record
from guppy.inspect.asking import Option, Question, Subject
from guppy.inspect.residual import ATTN_OUT, EMBEDDINGS, MLP_OUT, STREAM, Z, is_on, stream_of
from guppy.model import Guppy
from guppy.tokenizer import Tokenizer

SCALE, NEURONS = "ln_final.hook_scale", "blocks.{}.mlp.hook_post"
FROZEN = "exact, with the final LayerNorm's scale frozen"
TOP = 10


@dataclass(frozen=True)
class Attribution:
    """The logit of `token` minus that of `against` at every position, in the parts that add up to it.

    The final LayerNorm divides by the standard deviation of the whole stream. That is held at the value that it had, so
    that what remains is linear: a part is what it writes in the direction that the unembedding reads, and not what the
    logit would lose without it."""

    token: Int64[Tensor, " pos"]
    against: Int64[Tensor, " pos"]
    """-1: nothing was subtracted."""
    logit: Float[Tensor, " pos"]
    """The model's own logit, or difference of two."""
    total: Float[Tensor, " pos"]
    """The sum of all parts: `embed`, `pos_embed`, `heads`, `attn_bias`, `mlp`, `mlp_bias` and `ln_bias`."""
    error: float
    """Largest |total - logit|."""
    scale: Float[Tensor, " pos"]
    """What the final LayerNorm divided by; 1 where there is none."""
    embed: Float[Tensor, " pos"]
    pos_embed: Float[Tensor, " pos"]
    heads: Float[Tensor, "layer head pos"]
    """What each head writes by its z through the output projection (Elhage et al. 2021)."""
    attn_bias: Float[Tensor, "layer pos"]
    """Of the output projection's bias, which belongs to no head."""
    mlp: Float[Tensor, "layer pos"]
    """The sum over the neurons of an MLP."""
    mlp_bias: Float[Tensor, "layer pos"]
    """Of the bias after the neurons."""
    ln_bias: Float[Tensor, " pos"]
    """Of the final LayerNorm's bias; 0 where there is none."""
    neuron_layer: Int64[Tensor, "pos k"]
    """The neurons of all layers with the largest parts of either sign, first first."""
    neuron: Int64[Tensor, "pos k"]
    """Their index in the layer."""
    neuron_part: Float[Tensor, "pos k"]
    neuron_activation: Float[Tensor, "pos k"]
    """After the activation function."""
    top_ids: Int64[Tensor, "pos k"]
    """The model's most probable tokens, to choose from."""
    top_probs: Float[Tensor, "pos k"]
    exactness: str
    """What was held fixed so that the logit is a sum."""
    words: dict[str, str] | None = None
    """The text of every token id that is named here, if a tokenizer was at hand."""


@torch.no_grad()
def attribution(
    model: Guppy,
    ids: Int64[Tensor, " pos"],
    token: int | None = None,
    against: int | None = None,
    *,
    difference: bool = True,
    neurons: int = 20,
) -> Attribution:
    """Direct logit attribution at every position (Wang et al. 2022, "Interpretability in the wild", section 3.1; Elhage
    et al. 2021), with the scale of the final LayerNorm frozen.

    The model reads `ids` as it is, under its surgery: what surgery took away has a part of 0, and so has, without the
    residual connection, all that is not carried to the end.

    Args:
        token: whose logit; None: the most probable one at each position (other than `against`).
        against: whose logit is subtracted; None: the most probable other one.
        difference: False: nothing is subtracted.
        neurons: how many are named at each position.

    Raises:
        GuppyError: the tokens do not fit the context, there is no such token, or `neurons` is negative.
    """
    if neurons < 0:
        raise GuppyError(f"{neurons} neurons cannot be named; ask for 0 or more.")
    names = [*STREAM, Z.format("*"), NEURONS.format("*")]
    with record(model, [*names, SCALE]) as tape:
        logits = model(ids[None])[0]  # (pos, vocab)
    chosen, other = _pair(logits, token, against, difference)
    unembed = model.embed.weight[chosen]  # (pos, d_model)
    logit = logits.gather(-1, chosen[:, None])[:, 0]
    if other is not None:
        unembed = unembed - model.embed.weight[other]
        logit = logit - logits.gather(-1, other[:, None])[:, 0]
    direction, ln_bias, scale = _read_by(model, unembed, tape.get(SCALE))
    stream = stream_of(model, tape)
    # Nothing of a component counts that the end of the stream does not carry, as it is without the residual.
    carried = dict(zip(stream.components, stream.carried[-1].tolist(), strict=True))
    embed, pos_embed = ((tape[name][0] * direction).sum(-1) * carried[name] for name in EMBEDDINGS)
    heads, attn_bias, mlp, mlp_bias, named = [], [], [], [], []
    for layer, block in enumerate(model.blocks):
        attends = carried[ATTN_OUT.format(layer)] and is_on(tape, ATTN_OUT.format(layer))
        thinks = carried[MLP_OUT.format(layer)] and is_on(tape, MLP_OUT.format(layer))
        reads = rearrange(
            direction @ block.attn.out.weight, "pos (head d_head) -> pos head d_head", head=block.attn.n_heads
        )
        heads.append(einsum(tape[Z.format(layer)][0], reads, "pos head d_head, pos head d_head -> head pos") * attends)
        attn_bias.append(direction @ block.attn.out.bias * attends)
        written = tape[NEURONS.format(layer)][0] * (direction @ block.mlp.down.weight) * thinks  # (pos, d_mlp)
        mlp.append(written.sum(-1))
        mlp_bias.append(direction @ block.mlp.down.bias * thinks)
        named.append(_largest(written, tape[NEURONS.format(layer)][0], layer, neurons))
    heads, attn_bias, mlp, mlp_bias = (torch.stack(parts) for parts in (heads, attn_bias, mlp, mlp_bias))
    total = embed + pos_embed + heads.sum((0, 1)) + (attn_bias + mlp + mlp_bias).sum(0) + ln_bias
    top = logits.softmax(-1).topk(min(TOP, logits.shape[-1]), dim=-1)
    return Attribution(
        token=chosen,
        against=torch.full_like(chosen, -1) if other is None else other,
        logit=logit,
        total=total,
        error=float((total - logit).abs().max()),
        scale=scale,
        embed=embed,
        pos_embed=pos_embed,
        heads=heads,
        attn_bias=attn_bias,
        mlp=mlp,
        mlp_bias=mlp_bias,
        ln_bias=ln_bias,
        **_largest_of_all(named, neurons),
        top_ids=top.indices,
        top_probs=top.values,
        exactness=FROZEN if SCALE in tape else "exact",
    )


def _pair(
    logits: Float[Tensor, "pos vocab"], token: int | None, against: int | None, difference: bool
) -> tuple[Int64[Tensor, " pos"], Int64[Tensor, " pos"] | None]:
    """The tokens whose logits are compared, for each position; the second is None when nothing is subtracted."""
    vocab = logits.shape[-1]
    for each in (token, against):
        if each is not None and not 0 <= each < vocab:
            raise GuppyError(f"There is no token {each}; the vocabulary has 0 to {vocab - 1}.")
    if token is not None and token == against:
        raise GuppyError("Both tokens are the same, so their logits do not differ; choose two.")
    best = logits.topk(min(2, vocab), dim=-1).indices  # (pos, 2)

    def leading(but: int | None) -> Int64[Tensor, " pos"]:
        return best[:, 0] if but is None else torch.where(best[:, 0] == but, best[:, -1], best[:, 0])

    chosen = leading(against if difference else None) if token is None else torch.full_like(best[:, 0], token)
    if not difference:
        return chosen, None
    if against is not None:
        return chosen, torch.full_like(chosen, against)
    return chosen, best[:, -1] if token is None else leading(token)


def _read_by(
    model: Guppy, unembed: Float[Tensor, "pos d_model"], scale: Float[Tensor, "batch pos 1"] | None
) -> tuple[Float[Tensor, "pos d_model"], Float[Tensor, " pos"], Float[Tensor, " pos"]]:
    """The direction of the stream that makes the logit once the final LayerNorm's scale is fixed, what that
    LayerNorm's bias adds, and the scale."""
    norm = model.ln_final
    if scale is None:
        nothing = torch.zeros_like(unembed[:, 0])
        return unembed, nothing, torch.ones_like(nothing)
    gained = unembed * norm.weight
    # Centring the stream is the same as centring what reads it.
    return (gained - gained.mean(-1, keepdim=True)) / scale[0], unembed @ norm.bias, scale[0, :, 0]


def _largest(
    written: Float[Tensor, "pos d_mlp"], activations: Float[Tensor, "pos d_mlp"], layer: int, k: int
) -> dict[str, Tensor]:
    """The neurons of one layer that write most: a whole model's neurons at every position would fill the memory."""
    top = written.abs().topk(min(k, written.shape[-1]), dim=-1).indices  # (pos, k)
    return {
        "neuron_layer": torch.full_like(top, layer),
        "neuron": top,
        "neuron_part": written.gather(-1, top),
        "neuron_activation": activations.gather(-1, top),
    }


def _largest_of_all(named: list[dict[str, Tensor]], k: int) -> dict[str, Tensor]:
    together = {name: torch.cat([layer[name] for layer in named], dim=-1) for name in named[0]}
    part = together["neuron_part"]
    top = part.abs().topk(min(k, part.shape[-1]), dim=-1).indices
    return {name: values.gather(-1, top) for name, values in together.items()}


def token_named(tokenizer: Tokenizer, text: str) -> int | None:
    """The token that a person means: `#17` is the one of that id, anything else the text of one; empty: None.

    Raises GuppyError when the text is not exactly one token."""
    if not text:
        return None
    if text[0] == "#" and text[1:].isdecimal():
        return int(text[1:])
    ids = tokenizer.encode(text, specials=True)
    if len(ids) != 1:
        pieces = ", ".join(f"{piece!r}" for piece in tokenizer.token_strings(ids[:8]))
        raise GuppyError(f"{text[:40]!r} is {len(ids)} tokens ({pieces}); name one of them, or an id such as #17.")
    return ids[0]


def _ask_attribution(
    subject: Subject, token: str = "", against: str = "", difference: bool = True, neurons: int = 20
) -> Attribution:
    pair = token_named(subject.tokenizer, token), token_named(subject.tokenizer, against)
    found = attribution(subject.model, subject.ids, *pair, difference=difference, neurons=neurons)
    named = set(found.top_ids.flatten().tolist()) | set(found.token.tolist()) | set(found.against.tolist()) - {-1}
    texts = subject.tokenizer.token_strings(sorted(named))
    return replace(found, words=dict(zip(map(str, sorted(named)), texts, strict=True)))


QUESTIONS = (
    Question(
        "attribution",
        "Direct logit attribution: which parts of the model wrote the logit of a token, or the difference of two.",
        _ask_attribution,
        hooks="blocks.*.hook_*_out",
        exactness=FROZEN,
        options=(
            Option("token", str, "", "Its text, or #id; nothing: the most probable one at each position."),
            Option("against", str, "", "The token whose logit is subtracted; nothing: the most probable other one."),
            Option("difference", bool, True, "Subtract the other token's logit."),
            Option("neurons", int, 20, "How many neurons to name at each position."),
        ),
    ),
)
