"""What the residual stream is made of: how long it is at every point, and what each component has added to it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import torch
from einops import einsum, rearrange
from jaxtyping import Bool, Float, Int64
from torch import Tensor

from guppy.hooks import record
from guppy.inspect.asking import Option, Question, Subject
from guppy.model import Guppy

EMBEDDINGS = ("hook_embed", "hook_pos_embed")
MID, POST = "blocks.{}.hook_resid_mid", "blocks.{}.hook_resid_post"
ATTN_OUT, MLP_OUT = "blocks.{}.hook_attn_out", "blocks.{}.hook_mlp_out"
START, Z = "blocks.0.hook_resid_pre", "blocks.{}.attn.hook_z"
STREAM = (*EMBEDDINGS, START, *(name.format("*") for name in (MID, POST, ATTN_OUT, MLP_OUT)))
"""What `stream_of` reads from a tape."""


@dataclass(frozen=True)
class Stream:
    """The residual stream of one text, and its components (Elhage et al. 2021, "A mathematical framework", section
    "The residual stream"): each point is the sum of the components that it carries."""

    points: list[str]
    """Hook names in the order of the code: after the embeddings, after the attention and the MLP of each layer."""
    at: Float[Tensor, "point pos d_model"]
    """The stream at each of them; the last is what the final LayerNorm reads."""
    components: list[str]
    """Hook names of what is added: token and position embedding, then each layer's attention and MLP."""
    added: Float[Tensor, "component pos d_model"]
    carried: Bool[Tensor, "point component"]
    """Which components a point is the sum of: all so far, or only the last one where surgery cut the residual."""


@dataclass(frozen=True)
class Residual:
    """Sizes and directions in the residual stream. A share is a component's projection on the stream divided by the
    stream's length, so the shares of what a point carries sum to 1; negative ones point against the stream."""

    points: list[str]
    """Hook names, as in `Stream`."""
    components: list[str]
    norm: Float[Tensor, "point pos"]
    """Length (L2) of the stream."""
    added_norm: Float[Tensor, "component pos"]
    """Length of what each component adds."""
    cosine: Float[Tensor, "component pos"]
    """Between what is added and the stream that it is added to, -1 to 1; for the embeddings, their sum. 0 where either
    has no length."""
    share: Float[Tensor, "point component pos"]
    """Of the stream at a point; 0 for what it does not carry."""
    error: float
    """Largest difference, over points, positions and dimensions, between the stream and the sum of its components."""
    head_norm: Float[Tensor, "layer head pos"] | None = None
    """Length of what each head adds, if asked for. The bias of the output projection belongs to no head."""
    head_share: Float[Tensor, "layer head pos"] | None = None
    """Its share of the stream before the final LayerNorm; 0 where that does not carry it."""


@torch.no_grad()
def residual(model: Guppy, ids: Int64[Tensor, " pos"], heads: bool = False) -> Residual:
    """Norms, cosines and shares in the residual stream, at every point and position.

    The model reads `ids` as it is, under its surgery. `heads` also splits the attention of each layer into its heads.
    Raises GuppyError when the tokens do not fit its context."""
    with record(model, [*STREAM, Z.format("*")]) as tape:
        model(ids[None])
    stream = stream_of(model, tape)
    parts = einsum(stream.at, stream.added, "point pos d_model, component pos d_model -> point component pos")
    squared = stream.at.pow(2).sum(-1)[:, None]  # (point, 1, pos)
    share = _ratio(parts, squared) * stream.carried[..., None]
    total = einsum(stream.carried.float(), stream.added, "point component, component pos d_model -> point pos d_model")
    found = Residual(
        stream.points,
        stream.components,
        stream.at.norm(dim=-1),
        stream.added.norm(dim=-1),
        _cosines(stream),
        share,
        float((total - stream.at).abs().max()),
    )
    return _with_heads(model, tape, stream, found) if heads else found


def stream_of(model: Guppy, tape: Mapping[str, Tensor]) -> Stream:
    """The stream and its components from a tape with all of `STREAM`, of a batch of one."""
    points, components, carried = [START], list(EMBEDDINGS), [set(EMBEDDINGS)]
    for layer, block in enumerate(model.blocks):
        for point, part in ((MID, ATTN_OUT), (POST, MLP_OUT)):
            points.append(point.format(layer))
            components.append(part.format(layer))
            # Without the residual connection the stream is nothing but what was added last.
            carried.append((carried[-1] if block.residual else set()) | {part.format(layer)})
    return Stream(
        points,
        torch.stack([tape[name][0] for name in points]),
        components,
        torch.stack([tape[name][0] for name in components]),
        torch.tensor([[name in held for name in components] for held in carried], device=tape[START].device),
    )


def head_results(model: Guppy, tape: Mapping[str, Tensor], layer: int) -> Float[Tensor, "pos head d_model"]:
    """What each head of a layer adds to the stream, from a tape with its `hook_z` and `hook_attn_out`.

    Their sum and the output projection's bias are the layer's attn_out (Elhage et al. 2021). Zero where surgery took
    attn_out away."""
    attn = model.blocks[layer].attn
    w_o = rearrange(attn.out.weight, "d_model (head d_head) -> head d_head d_model", head=attn.n_heads)
    result = einsum(tape[Z.format(layer)][0], w_o, "pos head d_head, head d_head d_model -> pos head d_model")
    return result * is_on(tape, ATTN_OUT.format(layer))


def is_on(tape: Mapping[str, Tensor], name: str) -> bool:
    """Whether anything was added at a hook point: surgery that takes a part away leaves zeros there."""
    return bool(tape[name].any())


def _cosines(stream: Stream) -> Float[Tensor, "component pos"]:
    first = len(EMBEDDINGS)
    before = torch.cat([stream.at[:1].expand(first, -1, -1), stream.at[:-1]])  # what each component is added to
    product = (before * stream.added).sum(-1)
    return _ratio(product, before.norm(dim=-1) * stream.added.norm(dim=-1))


def _with_heads(model: Guppy, tape: Mapping[str, Tensor], stream: Stream, found: Residual) -> Residual:
    norms, shares, final = [], [], stream.at[-1]  # (pos, d_model)
    for layer in range(model.config.n_layers):
        result = head_results(model, tape, layer)
        carried = stream.carried[-1, stream.components.index(ATTN_OUT.format(layer))]
        part = einsum(result, final, "pos head d_model, pos d_model -> head pos")
        norms.append(result.norm(dim=-1).T)
        shares.append(_ratio(part, final.pow(2).sum(-1)) * carried)
    return replace(found, head_norm=torch.stack(norms), head_share=torch.stack(shares))


def _ratio(above: Tensor, below: Tensor) -> Tensor:
    """A quotient that is 0 where there is nothing to divide by."""
    return torch.where(below == 0, 0.0, above / below)


def _ask_residual(subject: Subject, heads: bool = False) -> Residual:
    return residual(subject.model, subject.ids, heads)


QUESTIONS = (
    Question(
        "residual",
        "How long the residual stream is at every point, and what each component adds to it.",
        _ask_residual,
        hooks="blocks.*.hook_resid_*",
        options=(Option("heads", bool, False, "Split the attention of each layer into its heads."),),
    ),
)
