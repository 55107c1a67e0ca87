"""What single neurons of the feed-forward layers do with a text, what they look for, and which tokens they speak for.

A neuron is one of the d_mlp numbers between the two matrices of an MLP: `hook_pre` is what reaches it, `hook_post` what
the activation function makes of that and what its row of the second matrix is multiplied by. It is active where
`hook_post` is above 0, which for relu, gelu and gelu_new alike is where `hook_pre` is.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int64
from torch import Tensor

from guppy.errors import GuppyError
from guppy.hooks import record
from guppy.inspect.asking import Option, Question, Subject
from guppy.model import Guppy

PRE, POST = "blocks.{layer}.mlp.hook_pre", "blocks.{layer}.mlp.hook_post"


@dataclass(frozen=True)
class Activations:
    """What neurons do at every position of a text, as recorded at `PRE` and `POST`."""

    pre: Float[Tensor, "layer pos neuron"]
    post: Float[Tensor, "layer pos neuron"]
    layers: list[int]
    """Which layers these are."""


@dataclass(frozen=True)
class Strongest:
    """The strongest neurons of all layers at one position, the strongest first."""

    layer: Int64[Tensor, " k"]
    neuron: Int64[Tensor, " k"]
    activation: Float[Tensor, " k"]
    """`hook_post`."""
    written: Float[Tensor, " k"]
    """Length of the vector that the neuron adds to its layer's output there; 0 where surgery has taken the MLP off."""
    position: int


@torch.no_grad()
def activations(
    model: Guppy,
    ids: Int64[Tensor, " pos"],
    layers: Sequence[int] | None = None,
    neurons: Sequence[int] | None = None,
) -> Activations:
    """What neurons do with a text: all of them, or those of some layers, or some of each of these layers.

    Raises GuppyError when there is no such layer or neuron, or when the tokens do not fit the context."""
    layers = list(range(model.config.n_layers)) if layers is None else list(layers)
    for layer in layers:
        check(model, layer)
    for neuron in neurons or ():
        check(model, 0, neuron)
    names = {hook: [hook.format(layer=layer) for layer in layers] for hook in (PRE, POST)}
    with record(model, names[PRE] + names[POST]) as tape:
        model(ids[None])
    pre, post = (torch.stack([tape[name][0] for name in names[hook]]) for hook in (PRE, POST))
    if neurons is not None:
        pre, post = pre[..., list(neurons)], post[..., list(neurons)]
    return Activations(pre, post, layers)


@torch.no_grad()
def strongest(
    model: Guppy,
    ids: Int64[Tensor, " pos"],
    position: int = -1,
    k: int = 10,
    by: Literal["activation", "written"] = "activation",
) -> Strongest:
    """The neurons that are most active at a position, or that write most there.

    Raises GuppyError when there is no such position, or as `activations` does."""
    n = len(ids)
    if not -n <= position < n:
        raise GuppyError(f"There is no position {position}; the text has positions 0 to {n - 1}.")
    activation = activations(model, ids).post[:, position]  # (layer, neuron)
    written = activation.abs() * output_norms(model)
    order = (written if by == "written" else activation).flatten().topk(min(k, activation.numel())).indices
    layer, neuron = order // model.config.d_mlp, order % model.config.d_mlp
    return Strongest(layer, neuron, activation[layer, neuron], written[layer, neuron], position % n)


@torch.no_grad()
def output_norms(model: Guppy) -> Float[Tensor, "layer neuron"]:
    """Length of what each neuron writes for each unit of its activation; 0 where surgery has taken the MLP off."""
    norms = torch.stack([block.mlp.down.weight.norm(dim=0) for block in model.blocks])
    norms[list(model.surgery.mlp_off)] = 0
    return norms


@torch.no_grad()
def promotes(model: Guppy, layer: int, neuron: int, tokens: int | None = None) -> Float[Tensor, " token"]:
    """By how much each token's logit rises for each unit of a neuron's activation, on the direct way to the output.

    The neuron's output direction, centred and multiplied with the gain as the final LayerNorm does, times the
    unembedding (Geva et al. 2022, "Transformer feed-forward layers build predictions by promoting concepts", section
    3); less the mean over tokens, which no probability depends on. LayerNorm's division, by a number that depends on
    the text, is left out: it changes the size of all and the order of none.

    Args:
        tokens: how many tokens there are; rows of the embedding beyond are padding. None: all rows.

    Raises GuppyError when there is no such neuron, or when what it writes reaches the output on no direct way."""
    check(model, layer, neuron)
    if layer in model.surgery.mlp_off:
        raise GuppyError(f"The MLP of layer {layer} is off, so its neurons write nothing; choose another layer.")
    last = model.config.n_layers - 1
    if not model.blocks[layer].residual and layer < last:
        raise GuppyError(
            f"Without the residual stream only layer {last} writes to the output directly; choose that one."
        )
    direction = model.blocks[layer].mlp.down.weight[:, neuron]
    if model.ln_final.on:
        direction = (direction - direction.mean()) * model.ln_final.weight
    effect = model.embed.weight[:tokens] @ direction
    return effect - effect.mean()


@torch.no_grad()
def looks_for(model: Guppy, layer: int, neuron: int, tokens: int | None = None) -> Float[Tensor, " token"]:
    """How near each token's embedding is to what a neuron looks for: cosines, -1 to 1.

    Both as the LayerNorm before the MLP hands them on: the embedding centred, the neuron's input direction multiplied
    with the gain. So they are in the order of what would reach the neuron from each token's embedding alone.

    Args: `tokens` as in `promotes`.

    Raises GuppyError when there is no such neuron, or when it does not read the embeddings directly."""
    check(model, layer, neuron)
    block = model.blocks[layer]
    if not block.residual:
        raise GuppyError("Without the residual stream an MLP reads what attention gives it, not the embeddings.")
    direction, embedding = block.mlp.up.weight[neuron], model.embed.weight[:tokens]
    if block.ln2.on:
        direction = direction * block.ln2.weight
        direction = direction - direction.mean()
        embedding = embedding - embedding.mean(-1, keepdim=True)
    return F.cosine_similarity(embedding, direction[None])


def check(model: Guppy, layer: int, neuron: int = 0) -> None:
    """Raise GuppyError when the model has no such layer or neuron."""
    config = model.config
    if not 0 <= layer < config.n_layers:
        raise GuppyError(f"There is no layer {layer}; the model has layers 0 to {config.n_layers - 1}.")
    if not 0 <= neuron < config.d_mlp:
        raise GuppyError(f"There is no neuron {neuron}; each layer has neurons 0 to {config.d_mlp - 1}.")


def hook_of(layer: int, neuron: int) -> str:
    """Where a neuron is read."""
    return f"{POST.format(layer=layer)}[{neuron}]"


# -- asked by name ---------------------------------------------------------------------------------------


@dataclass(frozen=True)
class AskedNeurons:
    """What all neurons, or those of one layer, do with a text."""

    activation: Float[Tensor, "layer pos neuron"]
    """`hook_post`."""
    norm: Float[Tensor, "layer neuron"]
    """Length of what each neuron writes for each unit of its activation; 0 where surgery has taken the MLP off."""
    layers: list[int]
    off: list[int]
    """Layers whose MLPs surgery has taken off: their neurons are computed, and write nothing."""


@dataclass(frozen=True)
class AskedNeuron:
    """One neuron: what it does with a text, and which tokens it promotes, suppresses and looks for."""

    activation: Float[Tensor, " pos"]
    """`hook_post`."""
    pre: Float[Tensor, " pos"]
    """`hook_pre`."""
    hooks: str
    layer: int
    neuron: int
    bias: float
    """What reaches it whatever the text is."""
    promoted: list[str] | None
    promoted_effect: Float[Tensor, " k"] | None
    """Logits for each unit of activation, highest first; see `promotes`."""
    suppressed: list[str] | None
    suppressed_effect: Float[Tensor, " k"] | None
    """Lowest first."""
    nearest: list[str] | None
    nearest_cosine: Float[Tensor, " k"] | None
    """Highest first; see `looks_for`."""
    why_no_output: str | None
    """Where surgery leaves nothing to say about promoted and suppressed tokens, the reason."""
    why_no_input: str | None


def _ask_neurons(subject: Subject, layer: int) -> AskedNeurons:
    model = subject.model
    found = activations(model, subject.ids, None if layer < 0 else [layer])
    return AskedNeurons(found.post, output_norms(model)[found.layers], found.layers, list(model.surgery.mlp_off))


def _ask_strongest(subject: Subject, position: int, k: int, by: Literal["activation", "written"]) -> Strongest:
    return strongest(subject.model, subject.ids, position, max(1, k), by)


def _ask_neuron(subject: Subject, layer: int, neuron: int, k: int) -> AskedNeuron:
    model, there = subject.model, subject.tokenizer.vocab_size
    found = activations(model, subject.ids, [layer], [neuron])
    k = min(max(1, k), there)
    output = dict.fromkeys(("promoted", "promoted_effect", "suppressed", "suppressed_effect", "why_no_output"))
    nearest = dict.fromkeys(("nearest", "nearest_cosine", "why_no_input"))
    try:
        effect = promotes(model, layer, neuron, there)
        for name, (values, ids) in {"promoted": effect.topk(k), "suppressed": effect.topk(k, largest=False)}.items():
            output |= {name: subject.tokenizer.token_strings(ids), f"{name}_effect": values}
    except GuppyError as error:
        output["why_no_output"] = str(error)
    try:
        cosine, ids = looks_for(model, layer, neuron, there).topk(k)
        nearest |= {"nearest": subject.tokenizer.token_strings(ids), "nearest_cosine": cosine}
    except GuppyError as error:
        nearest["why_no_input"] = str(error)
    bias = model.blocks[layer].mlp.up.bias[neuron].item()
    tracks, hooks = (found.post[0, :, 0], found.pre[0, :, 0]), hook_of(layer, neuron)
    return AskedNeuron(*tracks, hooks, layer, neuron, bias, **output, **nearest)


LAYER, NEURON = Option("layer", int, 0, "Which layer."), Option("neuron", int, 0, "Which of its neurons.")
_HOOK = POST.format(layer="*")

QUESTIONS = (
    Question(
        "neurons",
        "What every neuron does at every position.",
        _ask_neurons,
        hooks=_HOOK,
        options=(Option("layer", int, -1, "Only this layer; -1: all."),),
    ),
    Question(
        "strongest-neurons",
        "The strongest neurons at one position.",
        _ask_strongest,
        hooks=_HOOK,
        options=(
            Option("position", int, -1, "Which position; -1: the last."),
            Option("k", int, 20, "How many to tell."),
            Option("by", str, "activation", "Strongest in what.", ("activation", "written")),
        ),
    ),
    Question(
        "neuron",
        "One neuron: what it does with the text, and the tokens it promotes, suppresses and looks for.",
        _ask_neuron,
        hooks=_HOOK,
        options=(LAYER, NEURON, Option("k", int, 10, "How many tokens to tell of each kind.")),
    ),
)
