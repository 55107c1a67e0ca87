"""What a model and its training keep in memory: every tensor by name, in the order in which a first step asks for it.

Weights, gradients and optimizer state are counted as `guppy.model` and `guppy.optim` make them, what the forward pass
keeps for the backward pass as PyTorch's autograd saves it: each tensor once, whoever reads it. The layout one tensor
after the other is llm.c's (Karpathy 2024, train_gpt2.c, `fill_in_activation_sizes`).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from math import prod
from typing import NamedTuple

import torch
from jaxtyping import Int64
from torch import Tensor

from guppy.config import ModelConfig
from guppy.errors import GuppyError
from guppy.inspect.asking import Option, Question, Subject
from guppy.inspect.sizes import BYTES, Reach, parameters, reach_of, shape, sizes
from guppy.surgery import Surgery

STREAM = ("batch", "context", "d_model")
HIDDEN = ("batch", "context", "d_mlp")
LOGITS = ("batch", "context", "vocab_size")
TOKENS = ("batch", "context")
PATTERN = ("batch", "n_heads", "context", "context")

MOMENTS = {
    "training": {
        "the loss is differentiated": ("weights", "steps", "forward", "loss"),
        "the optimizer has qkv": ("weights", "steps", "backward", "update of qkv"),
        "the optimizer has the MLP": ("weights", "steps", "backward", "update of the MLP"),
    },
    "inference": {
        "a layer attends": ("weights", "cache", "attention"),
        "a layer's MLP runs": ("weights", "cache", "mlp"),
        "the logits are there": ("weights", "cache", "logits"),
    },
}
"""When memory is fullest, and the phases whose tensors are there then; the fullest of them is the peak."""


class Buffer(NamedTuple):
    """One tensor, its shape in words."""

    name: str
    group: str
    phase: str
    layer: int | None
    dtype: str
    dims: tuple[str, ...]


@dataclass(frozen=True)
class Memory:
    """Every tensor of one training step, or of reading a text, in order of allocation. The lists run in parallel."""

    name: list[str]
    """Parameters by their own names; activations by the module that makes them."""
    group: list[str]
    """parameters, gradients, optimizer, activations, cache, or temporary."""
    phase: list[str]
    """How long it is kept. weights: always; steps: from one training step to the next; forward: until the backward
    pass has read it; backward: until the optimizer has; cache: while a text is written; others: for a moment."""
    layer: list[int | None]
    """None: outside the blocks."""
    dtype: list[str]
    dims: list[list[str]]
    """The shape in words, see `guppy.inspect.sizes`."""
    shape: list[list[int]]
    bytes: Int64[Tensor, " tensor"]
    totals: dict[str, int]
    """Bytes of each group."""
    moments: dict[str, list[str]]
    """When memory is fullest, see `MOMENTS`."""
    peak: int
    """Bytes at the fullest of these moments."""
    fullest: str
    """Which one that is."""
    setting: dict[str, str | int]
    """mode, optimizer, dtype, device, and every size."""


def memory(
    config: ModelConfig,
    *,
    batch: int,
    context: int | None = None,
    mode: str = "training",
    optimizer: str = "muon",
    dtype: str = "float32",
    device: str = "cpu",
    surgery: Surgery | None = None,
) -> Memory:
    """The tensors of a training step, or of reading `batch` texts with a key-value cache, of `context` tokens each.

    Parameters, gradients, optimizer state, cache and what is saved for the backward pass are exact to the byte; what
    lives for a moment only (group `temporary`) is what the largest operations need, and the peak is within a few
    percent of what an allocator reports. A library's own workspaces and an allocator's rounding are not counted.

    Args:
        context: tokens of a row, each of them learned from; None for the model's whole context.
        mode: "training" (guppy.train) or "inference" (guppy.generate, float32 always).
        optimizer: "muon" or "adamw", as TrainConfig has it.
        dtype: of the matrix products in training; weights, gradients and moments are float32 always.
        device: "cpu" or "cuda"; a CPU computes attention in bfloat16 by the formulas, which keeps the patterns.

    Raises:
        GuppyError: the context does not fit, or a model that is trained has dropout, whose masks are not counted.
    """
    surgery, context = surgery or Surgery(), config.n_ctx if context is None else context
    if mode not in MOMENTS:
        raise GuppyError(f"There is no mode {mode!r}; choose {' or '.join(MOMENTS)}.")
    if mode == "training" and config.dropout:
        raise GuppyError("The masks of dropout are not counted; ask with the mode inference, or without dropout.")
    size = sizes(config, batch, context)
    if mode == "training":
        buffers = list(_training(config, optimizer, dtype, device == "cpu" and dtype == "bfloat16", surgery))
    else:
        buffers = [*_parameters(config), *_inference()]
    return _table(buffers, size, mode, {"optimizer": optimizer, "dtype": dtype, "device": device})


def _table(buffers: list[Buffer], size: dict[str, int], mode: str, how: dict[str, str]) -> Memory:
    shapes = [shape(buffer.dims, size) for buffer in buffers]
    counts = [prod(each) * BYTES[buffer.dtype] for each, buffer in zip(shapes, buffers, strict=True)]
    totals: dict[str, int] = {}
    phases: dict[str, int] = {}
    for buffer, count in zip(buffers, counts, strict=True):
        totals[buffer.group] = totals.get(buffer.group, 0) + count
        phases[buffer.phase] = phases.get(buffer.phase, 0) + count
    peaks = {moment: sum(phases.get(phase, 0) for phase in there) for moment, there in MOMENTS[mode].items()}
    fullest = max(peaks, key=peaks.__getitem__)
    columns = {name: [getattr(buffer, name) for buffer in buffers] for name in ("name", "group", "phase", "layer")}
    return Memory(
        **columns,
        dtype=[buffer.dtype for buffer in buffers],
        dims=[list(buffer.dims) for buffer in buffers],
        shape=shapes,
        bytes=torch.tensor(counts, dtype=torch.int64),
        totals=totals,
        moments={moment: list(there) for moment, there in MOMENTS[mode].items()},
        peak=peaks[fullest],
        fullest=fullest,
        setting={"mode": mode, **how, **size},
    )


# -- weights, gradients, optimizer ----------------------------------------------------------------------


def _parameters(config: ModelConfig) -> list[Buffer]:
    return [Buffer(name, "parameters", "weights", layer, "float32", dims) for name, layer, dims in parameters(config)]


def _learning(weights: list[Buffer], surgery: Surgery, reach: Reach) -> list[Buffer]:
    """The parameters that get a gradient. A LayerNorm belongs to the part that reads through it."""

    def learns(each: Buffer) -> bool:
        if "ln" in each.name and not surgery.layernorm:
            return False
        if each.layer is not None:
            return reach.learns[each.layer, "attn" if ".ln1." in each.name or ".attn." in each.name else "mlp"]
        return each.name != "pos_embed.weight" or (surgery.positions and reach.from_embedding)

    return [each for each in weights if learns(each)]


def _training(config: ModelConfig, optimizer: str, dtype: str, explicit: bool, surgery: Surgery) -> Iterator[Buffer]:
    reach = reach_of(config, surgery)
    weights = _parameters(config)
    learning = _learning(weights, surgery, reach)
    yield from weights
    yield from _saved(config, dtype, explicit, surgery, reach)
    for name in ("losses.grad", "logits.grad"):
        yield Buffer(name, "temporary", "loss", None, "float32", LOGITS)
    # Module by module from the end; the embedding's is done when the backward pass has been at all its uses.
    outside = [each for each in learning if "embed." in each.name]
    others = list(reversed(learning[len(outside) :]))
    for each in [*others, *outside] if reach.from_embedding else [*outside, *others]:
        yield each._replace(name=f"{each.name}.grad", group="gradients", phase="backward")
    in_blocks = [each for each in learning if optimizer == "muon" and each.layer is not None and len(each.dims) == 2]
    for each in in_blocks:
        yield each._replace(name=f"{each.name}.momentum", group="optimizer", phase="steps")
    for each in (each for each in learning if each not in in_blocks):
        state = each._replace(group="optimizer", phase="steps")
        yield state._replace(name=f"{each.name}.step", dims=())
        yield state._replace(name=f"{each.name}.exp_avg")
        yield state._replace(name=f"{each.name}.exp_avg_sq")
    if in_blocks:
        yield from _orthogonal("bfloat16" if dtype == "bfloat16" else "float32")


def _orthogonal(dtype: str) -> Iterator[Buffer]:
    """What Muon has at the end of its iterations: all layers' matrices of one shape at once. Where qkv and an MLP's
    matrix have one shape, they go together and need the sum."""

    def update(of: str, name: str, *dims: str) -> Buffer:
        return Buffer(f"muon.{name}", "temporary", f"update of {of}", None, dtype, ("n_layers", *dims))

    square = {"qkv": "d_model", "the MLP": "narrow"}
    for of, rows in (("qkv", "3*d_model"), ("the MLP", "d_mlp")):
        for name in ("directions", "stacked", "steps"):
            yield update(of, name, rows, "d_model")
        for name in ("gram", "change", "factor", "scaled"):
            yield update(of, name, square[of], square[of])
    yield update("the MLP", "steps before", "d_mlp", "d_model")


# -- what the forward pass keeps ------------------------------------------------------------------------


def _saved(config: ModelConfig, dtype: str, explicit: bool, surgery: Surgery, reach: Reach) -> Iterator[Buffer]:
    """What autograd keeps of a forward pass, each tensor once, in the order in which it is made."""
    cast = dtype != "float32"

    def keep(name: str, *dims: str, layer: int | None = None, kind: str = dtype) -> Buffer:
        return Buffer(name, "activations", "forward", layer, kind, dims)

    # Additions keep the stream in float32; without them it is what the last product was, unless CUDA's norm widens it.
    narrow = explicit and not surgery.residual

    def read(stream: str, norm: str, weight: str, *matrix: str, layer: int | None, passes: bool) -> Iterator[Buffer]:
        """A linear map's reading of the stream, through a LayerNorm if there is one."""
        if surgery.layernorm:
            wide = not narrow or stream == "blocks.0.resid_pre"
            yield keep(stream, *STREAM, layer=layer, kind="float32" if wide else dtype)
            yield keep(f"{norm}.mean", *TOKENS, layer=layer, kind="float32")
            yield keep(f"{norm}.rstd", *TOKENS, layer=layer, kind="float32")
            yield keep(norm, *STREAM, layer=layer)
        else:
            yield keep(stream, *STREAM, layer=layer)
        if cast and passes:
            yield keep(f"{weight} in {dtype}", *matrix, layer=layer)

    if reach.from_embedding:
        yield keep("ids", *TOKENS, kind="int64")
    if surgery.positions and reach.from_embedding:
        yield keep("positions", *TOKENS, kind="int64")
    if any(learns for (_, part), learns in reach.learns.items() if part == "attn"):
        yield keep("where tokens are", *TOKENS, kind="int64")
    for layer in range(config.n_layers):
        block = f"blocks.{layer}"
        if reach.learns[layer, "attn"]:
            passes = reach.passes[layer, "attn"]
            weight = (f"{block}.attn.qkv.weight", "3*d_model", "d_model")
            yield from read(f"{block}.resid_pre", f"{block}.ln1", *weight, layer=layer, passes=passes)
            for each in _attended(dtype, explicit, any(at == layer for at, _ in surgery.heads_off), surgery):
                yield each._replace(name=f"{block}.attn.{each.name}", layer=layer)
            if cast:
                yield keep(f"{block}.attn.out.weight in {dtype}", "d_model", "d_model", layer=layer)
        if reach.learns[layer, "mlp"]:
            passes = reach.passes[layer, "mlp"]
            weight = (f"{block}.mlp.up.weight", "d_mlp", "d_model")
            yield from read(f"{block}.resid_mid", f"{block}.ln2", *weight, layer=layer, passes=passes)
            if config.act_fn != "relu":  # relu's derivative is read off its result
                yield keep(f"{block}.mlp.pre", *HIDDEN, layer=layer)
            yield keep(f"{block}.mlp.post", *HIDDEN, layer=layer)
            if cast:
                yield keep(f"{block}.mlp.down.weight in {dtype}", "d_model", "d_mlp", layer=layer)
    weight = ("embed.weight", "vocab_size", "d_model")
    yield from read("resid_final", "ln_final", *weight, layer=None, passes=reach.into_output)
    yield keep("log_probs", *LOGITS, kind="float32")
    yield keep("targets", *TOKENS, kind="int64")


def _attended(dtype: str, explicit: bool, headless: bool, surgery: Surgery) -> Iterator[Buffer]:
    """What one layer's attention keeps: with the fused kernel, and by the formulas as written. Outside of it, training
    has all tokens in one row (guppy.packing)."""

    def keep(name: str, *dims: str, kind: str = dtype) -> Buffer:
        return Buffer(name, "activations", "forward", None, kind, dims)

    yield keep("qkv in one row", "batch", "context", "3*d_model")
    masked = ("context", "context") if surgery.causal_mask else TOKENS
    if explicit:
        yield keep("q", *STREAM)
        yield keep("k", *STREAM)
        yield keep("mask", *masked, kind="bool")
        yield keep("pattern", *PATTERN)
        yield keep("v", *STREAM)
    else:
        yield keep("qkv", "batch", "context", "3*d_model")
        if not surgery.causal_mask:
            yield keep("mask", *masked)
        yield keep("z", *STREAM)
        yield keep("logsumexp", "batch", "n_heads", "context", kind="float32")
    if headless:
        yield keep("heads kept", "n_heads")
    yield keep("z in one row", *STREAM)


# -- reading a text ------------------------------------------------------------------------------------


def _inference() -> Iterator[Buffer]:
    """The cache, and what is there at once in the fullest moments of reading a whole text in one go."""
    cache = ("2", "n_layers", "batch", "n_ctx", "n_heads", "d_head")
    yield Buffer("cache", "cache", "cache", None, "float32", cache)
    qkv = ("batch", "context", "3*d_model")
    moments = {
        "attention": {"resid_pre": STREAM, "ln1": STREAM, "attn.qkv": qkv, "attn.z": STREAM},
        "mlp": {"resid_pre": STREAM, "resid_mid": STREAM, "ln2": STREAM, "mlp.pre": HIDDEN, "mlp.post": HIDDEN},
        "logits": {"resid_final": STREAM, "ln_final": STREAM, "logits": LOGITS},
    }
    for moment, tensors in moments.items():
        for name, dims in tensors.items():
            yield Buffer(name, "temporary", moment, None, "float32", dims)


# -- the question --------------------------------------------------------------------------------------


def _ask_memory(subject: Subject, batch: int, context: int, mode: str) -> Memory:
    manifest = subject.run.manifest if subject.run is not None else {}
    config, trained = subject.model.config, subject.run.train_config if subject.run is not None else None
    return memory(
        config,
        batch=batch or (trained.for_model(config).batch_size if trained else 32),
        context=context or None,
        mode=mode,
        optimizer=trained.optimizer if trained else "muon",
        dtype=manifest.get("dtype", "float32"),
        device=manifest.get("device", "cpu").split(":")[0],
        surgery=subject.model.surgery,
    )


QUESTIONS = (
    Question(
        "memory",
        "Parameters, gradients, optimizer state and activations: every tensor with its shape and its bytes.",
        _ask_memory,
        exactness="exact, but for what lives only for a moment: within a few percent",
        options=(
            Option("batch", int, 0, "Rows; 0: those of the run's training."),
            Option("context", int, 0, "Tokens of a row; 0: the whole context."),
            Option("mode", str, "training", "A training step, or reading a text.", tuple(MOMENTS)),
        ),
        prompt=False,
    ),
)
