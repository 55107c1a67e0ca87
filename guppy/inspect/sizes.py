"""Shapes in words: products of a model's sizes, so that one list of tensors serves every model and every slider.

A dimension is a string such as "d_model" or "3*d_model": names of `sizes` and whole numbers with `*` between them.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from guppy.config import ModelConfig
from guppy.errors import GuppyError
from guppy.surgery import Surgery

BYTES = {"float32": 4, "bfloat16": 2, "float16": 2, "int64": 8, "bool": 1}
"""Bytes of a number."""


def sizes(config: ModelConfig, batch: int, context: int) -> dict[str, int]:
    """Every size that a dimension may name.

    `batch` is rows, `context` tokens a row; `pairs` are the queries and keys of a row, `seen_pairs` those of them that
    a causal mask leaves; `narrow` is the smaller of d_model and d_mlp. Raises GuppyError when the rows do not fit."""
    if batch < 1 or context < 1:
        raise GuppyError(f"batch and context must be at least 1, not {batch} and {context}.")
    if context > config.n_ctx:
        raise GuppyError(f"{context} tokens do not fit the context of {config.n_ctx}; ask for fewer.")
    return {
        "batch": batch,
        "context": context,
        "pairs": context * context,
        "seen_pairs": context * (context + 1) // 2,
        "n_ctx": config.n_ctx,
        "n_layers": config.n_layers,
        "n_heads": config.n_heads,
        "d_model": config.d_model,
        "d_head": config.d_head,
        "d_mlp": config.d_mlp,
        "narrow": min(config.d_model, config.d_mlp),
        "vocab_size": config.vocab_size,
    }


def shape(dims: Sequence[str], size: Mapping[str, int]) -> list[int]:
    """Dimensions in words as numbers."""
    return [math.prod(int(word) if word.isdigit() else size[word] for word in dim.split("*")) for dim in dims]


class Weight(NamedTuple):
    """A parameter: its name, its layer (None: outside the blocks) and its shape in words."""

    name: str
    layer: int | None
    dims: tuple[str, ...]


def parameters(config: ModelConfig) -> Iterator[Weight]:
    """Every parameter of a model, in the order of `model.named_parameters()`."""
    matrices = {
        "attn.qkv": ("3*d_model", "d_model"),
        "attn.out": ("d_model", "d_model"),
        "mlp.up": ("d_mlp", "d_model"),
        "mlp.down": ("d_model", "d_mlp"),
    }
    yield Weight("embed.weight", None, ("vocab_size", "d_model"))
    yield Weight("pos_embed.weight", None, ("n_ctx", "d_model"))
    for layer in range(config.n_layers):
        for norm, names in (("ln1", ("attn.qkv", "attn.out")), ("ln2", ("mlp.up", "mlp.down"))):
            yield Weight(f"blocks.{layer}.{norm}.weight", layer, ("d_model",))
            yield Weight(f"blocks.{layer}.{norm}.bias", layer, ("d_model",))
            for name in names:
                yield Weight(f"blocks.{layer}.{name}.weight", layer, matrices[name])
                yield Weight(f"blocks.{layer}.{name}.bias", layer, matrices[name][:1])
    yield Weight("ln_final.weight", None, ("d_model",))
    yield Weight("ln_final.bias", None, ("d_model",))


Place = tuple[int, str]


@dataclass(frozen=True)
class Reach:
    """What of a model the loss can reach: a part that surgery cut away keeps nothing and learns nothing."""

    learns: dict[Place, bool]
    """For each (layer, "attn" or "mlp"), whether its weights get a gradient."""
    passes: dict[Place, bool]
    """Whether it hands a gradient on to what it reads."""
    from_embedding: bool
    """Whether the loss reaches the beginning of the stream. The embedding learns anyway, as the output's matrix."""
    into_output: bool
    """Whether the output's matrix hands a gradient on."""


def reach_of(config: ModelConfig, surgery: Surgery) -> Reach:
    """Follow the residual stream back from the loss, then forward from the embedding.

    A part that is off is replaced by zeros without a past; without the residual connection nothing leads around it."""
    places = [(layer, part) for layer in range(config.n_layers) for part in ("attn", "mlp")]
    off = {(layer, "attn") for layer in surgery.attention_off} | {(layer, "mlp") for layer in surgery.mlp_off}
    learns: dict[Place, bool] = {}
    reached = True
    for place in reversed(places):
        learns[place] = reached and place not in off
        reached = reached and (surgery.residual or place not in off)
    passes: dict[Place, bool] = {}
    past = True
    for place in places:
        passes[place] = learns[place] and (past or surgery.layernorm)
        past = place not in off or (past and surgery.residual)
    return Reach(learns, passes, reached, past or surgery.layernorm)
